"""What `velodrome inspect` found."""

from __future__ import annotations

from dataclasses import dataclass

from flows.terminal.json_results import PlainResult
from trainers.types import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspectRow(PlainResult):
    """A row whose label models that did not see it contradict.

    Attributes:
        row: the hash of what it holds, target included, as `data.drop_rows` names it.
        part: `train` or `validation`.
        given, suggested: its label, and the likeliest to those models.
        p_given, p_suggested: how likely each is to them.
        content: the row in short; of an image its picture's place below the folder.
    """

    also = ("reason",)

    row: str
    part: str
    given: str
    suggested: str
    p_given: float
    p_suggested: float
    content: str

    @property
    def reason(self) -> str:
        """In words."""
        return (
            f"labelled {self.given}, {self.suggested} to models that did not see it "
            f"({self.p_suggested:.3f} against {self.p_given:.3f})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Suspect rows of a sweep's data, the worst first.

    Attributes:
        number: of the trial whose configuration was trained.
        accuracy: of each fold's model on the rows that it did not see, by their labels as they are.
        informed: whether the models give rows their own labels more often than they give them anyway.
        trained: how many of these models were trained now; the others' answers were kept.
        unjudged: rows whose label the model that judges them never saw: it stands in one fold alone.
        rows: that were looked at: train and validation; the test part is never read.
        out: the folder: `suspects.csv`, `index.html`, of images `pictures/`.
    """

    sweep: str
    family: str
    number: int
    accuracy: tuple[float, ...]
    informed: bool
    trained: int
    unjudged: int
    rows: int
    suspects: tuple[SuspectRow, ...]
    out: str
    seconds: float

    @property
    def warning(self) -> str:
        """Why the suspects say nothing of the labels; empty where they do."""
        if self.informed:
            return ""
        mean = sum(self.accuracy) / len(self.accuracy)
        return (
            f"the models (accuracy {mean:.4g}) give rows their own labels no more often than any other: what "
            "they contradict says nothing of the labels; inspect a trial that has learned them"
        )

    def to_json(self) -> JsonObject:
        """All of it, with the warning."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        suspects = [suspect.to_json() for suspect in self.suspects]
        return {
            **plain,
            "accuracy": list(self.accuracy),
            "suspects": suspects,
            "warning": self.warning or None,
        }
