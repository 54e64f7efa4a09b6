"""What a first sweep file says of its search, by what the data is, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainers.metric_names import USUAL

if TYPE_CHECKING:
    from trainers.data_profile import DataProfile

BATCH = 64  # about what spaces draw
ROUND = (8, 10, 15, 20, 30, 40, 60, 80, 100)
ROUND_OF_OTHERS = (5, 6, 8, 10, 15, 20, 30)
STEPS_OF_TABLES = 4000  # of an optimizer, in a whole trial
EXAMPLES_OF_OTHERS = 40_000  # of a whole trial: one takes 0.5 to 3 ms of a core, by spaces that are small
STEPS_OF_LARGE, REPORTS_OF_LARGE = 1_000, 8  # where a few epochs alone are more than that
FEW_EPOCHS = 10
FEW_TRIALS, MANY_TRIALS = 20, 40  # many where a trial takes seconds, as those of tables do
TRIALS_OF_OTHERS = 12
MINUTES_OF_OTHERS = 30
UNBALANCED = 0.8  # the share of the commonest class from which on accuracy says little
_AUGMENTED = "stretches of time and of frequency are left out, in training alone"
_OF_CLIPS = "augment: {type: categorical, choices: [null, {time_mask: 0.2, frequency_mask: 0.2}]}"
_SMALL = "small, for a first sweep of minutes without a GPU; without these lines the family's own"
_SMALL_SPACES = {
    "rnn": ("hidden: {type: categorical, choices: [64, 128]}", "layers: 1"),
    "transformer": (
        "width: {type: categorical, choices: [64, 128]}",
        "heads: 4",
        "layers: {type: int, low: 1, high: 2}",
        "feed_forward: {type: categorical, choices: [128, 256]}",
    ),
    "t5": (
        "width: 128",
        "heads: 4",
        "layers: {type: int, low: 1, high: 2}",
        "feed_forward: {type: categorical, choices: [256, 512]}",
    ),
}
# Where words are learned; figures are in docs/log.md.
_OF_WORDS = (
    "learning_rate: {type: float, low: 5e-4, high: 1e-2, log: true}",
    "optimizer: {type: categorical, choices: [adam, rmsprop]}   # sgd wants ten times these rates",
)
_WORD_KINDS = ("text", "pairs")
MANY_ROWS, WIDE_ROWS = 20_000, 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstChoices:
    """The search of a first sweep file.

    Attributes:
        metric: the objective; None where there is no task.
        minutes: after which the sweep stops; None: never.
        spaces: family → lines that change its space.
        reasons: key → why.
    """

    metric: str | None
    trials: int
    length: TrialLength
    minutes: int | None = None
    spaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The file's keys `objective`, `budget` and `search`."""
        lines = []
        if self.metric:
            lines.append(f"objective: {{metric: {self.metric}}}   # {self.reasons['metric']}")
        return [
            *lines,
            f"budget:{'' if self.minutes else '   # minutes: 30 sets a limit'}",
            f"  trials: {self.trials}   # {self.reasons['trials']}",
            *self.length.lines(),
            *([f"  minutes: {self.minutes}   # {_WHY_MINUTES}"] if self.minutes else ()),
            "search:",
            "  sampler: tpe   # or random, qmc, gp, grid",
            f"  pruner: {self.length.pruner}   # {_WHY_FEW if self.length.is_short else _WHY_RUNG}",
        ]


_WHY_MINUTES = "then it stops; with more minutes `velodrome sweep` carries it on"
_OTHERS = "or median, hyperband, none"
_WHY_RUNG = f"earlier a curve tells little; {_OTHERS}"
_WHY_FEW = f"of few epochs the first tell little; {_OTHERS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLength:
    """How long a trial is.

    Attributes:
        epochs: or reports, where `steps` are given.
        steps: of a whole trial; None: by epochs.
        why: the reason.
        has_long_epochs: each of them, even of few, has enough steps to tell by.
    """

    epochs: int
    steps: int | None = None
    why: str = ""
    has_long_epochs: bool = False

    @property
    def is_short(self) -> bool:
        """Whether trials have so few epochs that stopping early saves little and costs good ones."""
        return self.epochs <= FEW_EPOCHS and not self.has_long_epochs

    @property
    def rung(self) -> int:
        """The first epoch at which a trial may be stopped."""
        return (self.epochs + 1) // 2 if self.is_short else max(2, self.epochs // 4)

    @property
    def pruner(self) -> str:
        """The key `search.pruner` in YAML."""
        fewer = ", reduction: 2" if self.is_short else ""
        return f"{{name: asha, min_epochs: {self.rung}{fewer}}}"

    @property
    def patience(self) -> int:
        """Epochs without an improvement that end a trial."""
        return max(4, self.epochs // 4)

    def keys(self) -> dict[str, int]:
        """The keys of a budget."""
        if self.steps is None:
            return {"epochs": self.epochs}
        return {"steps": self.steps, "report_every": self.steps // self.epochs}

    def lines(self) -> list[str]:
        """The keys of a budget with their reasons, a line each."""
        reasons = {"report_every": "steps; a report counts as an epoch"}
        what = "epochs" if self.steps is None else "reports"
        return [
            *(f"  {key}: {value}   # {reasons.get(key, self.why)}" for key, value in self.keys().items()),
            f"  patience: {self.patience}   # {what} without an improvement that end a trial",
        ]


def first_choices(seen: DataProfile, families: Sequence[str]) -> FirstChoices:
    """What suits the data.

    Args:
        families: that will be searched.
    """
    from search_spaces.files import open_space

    rows = max(1, seen.parts.get("train", 0))
    metric, why = _objective(seen)
    if seen.kind == "table":
        parameters = max(len(open_space(name, None, ()).mapping()) for name in families)
        return FirstChoices(
            metric=metric,
            trials=min(MANY_TRIALS, max(FEW_TRIALS, 4 * parameters)),
            length=_table_length(rows),
            spaces=_spaces(rows, families),
            reasons={"metric": why, "trials": f"a family; the largest space has {parameters} parameters"},
        )
    return FirstChoices(
        metric=metric,
        trials=TRIALS_OF_OTHERS,
        length=example_length(rows),
        minutes=MINUTES_OF_OTHERS,
        spaces=_small_spaces(seen.kind, families),
        reasons={"metric": why, "trials": "a family; `plan` says how long all of them take here"},
    )


def _small_spaces(kind: str, families: Sequence[str]) -> dict[str, tuple[str, ...]]:
    words = _OF_WORDS if kind in _WORD_KINDS else ()
    changes = {name: (*_SMALL_SPACES.get(name, ()), *words) for name in families}
    spaces = {name: _space_lines(name, own, _SMALL) for name, own in changes.items() if own}
    if kind == "audio" and "image_cnn" in families:
        spaces["image_cnn"] = _space_lines("image_cnn", [_OF_CLIPS], _AUGMENTED)
    return spaces


def _table_length(rows: int) -> TrialLength:
    epochs = _round_up(STEPS_OF_TABLES * BATCH / rows, ROUND)
    return TrialLength(epochs=epochs, why=_why_epochs(rows), has_long_epochs=True)


def example_length(rows: int) -> TrialLength:
    """Of texts, pictures and the like, whose examples take milliseconds: by how many a trial sees."""
    wanted = EXAMPLES_OF_OTHERS / rows
    if wanted >= ROUND_OF_OTHERS[0] / 2:
        return TrialLength(epochs=_round_up(wanted, ROUND_OF_OTHERS), why=_why_epochs(rows))
    why = f"of {rows:,} rows: an epoch alone has {_epoch_steps(rows):,} steps of {BATCH}"
    return TrialLength(epochs=REPORTS_OF_LARGE, steps=STEPS_OF_LARGE, why=why)


def _round_up(wanted: float, round_numbers: Sequence[int]) -> int:
    return next((n for n in round_numbers if n >= wanted), round_numbers[-1])


def _epoch_steps(rows: int) -> int:
    return max(1, round(rows / BATCH))


def _why_epochs(rows: int) -> str:
    return f"of {rows:,} rows, about {_epoch_steps(rows):,} steps each"


def _objective(seen: DataProfile) -> tuple[str | None, str]:
    metric = next((name for task, name in USUAL.items() if task == seen.task), None)
    if seen.task == "classification" and seen.classes:
        label, most = max(seen.classes.items(), key=lambda entry: entry[1])
        share = most / sum(seen.classes.values())
        if share >= UNBALANCED:
            said = label if label.isprintable() and len(label) <= 40 else ascii(label[:40])
            why = f"on the validation split; {share:.0%} are {said}: accuracy would hardly see the others"
            return "balanced_accuracy", why
    return metric, "on the validation split"


def _spaces(rows: int, families: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Larger batches and wider layers for more rows; boosted trees have neither."""
    changes = []
    if rows >= MANY_ROWS:
        changes.append("batch_size: {type: int, low: 64, high: 512, log: true}")
    found = {
        name: tuple(changes) for name in families if name in ("linear_regression", "logistic_regression")
    }
    if rows >= WIDE_ROWS:
        changes.append("hidden: {type: categorical, choices: [[64], [128], [256], [128, 64], [256, 128]]}")
    found |= {name: tuple(changes) for name in families if name == "mlp"}
    why = f"for {rows:,} rows"
    return {name: _space_lines(name, own, why) for name, own in found.items() if own}


def _space_lines(family: str, changes: Sequence[str], why: str) -> tuple[str, ...]:
    return (f"space:   # {why}", f"  extends: {family}", *(f"  {change}" for change in changes))
