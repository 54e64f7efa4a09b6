"""A loaded model that says where its answers come from.

Trees are explained by LightGBM's own SHAP values: S. M. Lundberg et al., "From local explanations to global
understanding with explainable AI for trees", Nature Machine Intelligence 2, 2020.

Shape legend: B rows, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from trainers.bundle.predictor import FamilyRunner, Predictor
from trainers.errors import InputError
from trainers.explaining.attributions import Attribution, Method, attribute
from trainers.explaining.readings import ImageReading, Reading, TableReading, table_columns
from trainers.explaining.scores import Answers, AnswerScores, answer_scores
from trainers.explaining.text_readings import TextReading, text_reading
from trainers.explaining.words import Word
from trainers.inputs.clips import CLIP

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.modules.boosted_trees import BoostedTrees
    from trainers.types import Array, Batch

RowKind = Literal["table", "image", "text"]
METHODS: tuple[Method, ...] = ("integrated-gradients", "occlusion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Some rows' explanations.

    Attributes:
        answers: the class, the target or the text that is explained, of each row.
        scores, baseline_scores: of that answer, float64 [B].
        importances: float64 [B, F], of images [B, H, W], of texts by word, one array a row.
        gaps: what the importances lack of the difference of the two scores, as a share [B]; None where they
            do not add up by their nature.
        texts, words: of texts, what was read of each row, and where each word of it stands.
        attention: of texts that are read by attention, from word to word, [layers, words, words] each.
    """

    answers: list[str]
    scores: npt.NDArray[np.float64]
    baseline_scores: npt.NDArray[np.float64]
    importances: Array | list[Array]
    gaps: npt.NDArray[np.float64] | None
    texts: list[str] | None = None
    words: list[list[Word]] | None = None
    attention: list[Array | None] | None = None


class Explainer:
    """Explains what a predictor answers.

    Attributes:
        kind: of rows.
        method: how importances are found.
        unit: what scores and importances are measured in: `logit`, `log-odds`, `log-probability`, or
            `prediction`, the target's.
        baseline: what rows are compared with, in words.
        columns: of a table, in the order of the importances.
    """

    def __init__(
        self, predictor: Predictor, *, method: Method | None = None, answer: str | None = None
    ) -> None:
        """Finds out how the model can be explained.

        Args:
            method: by default SHAP for trees, else integrated gradients.
            answer: a class or a target to explain in every row, by default the one that a row gets.

        Raises:
            InputError: a kind of model or a method that is not explained, or no such answer.
        """
        self._runner = _family_runner(predictor)
        state = self._runner.state
        self._scores = answer_scores(state, answer)
        self.unit = self._scores.unit
        self._trees = _boosted_trees(self._runner)
        self.method = _choose_method(method, trees=self._trees is not None)
        self.kind = _kind_of(self._runner)
        self.columns = table_columns(state["table"]) if self.kind == "table" else []
        self._reading = None if self._trees is not None else self._make_reading()
        self.baseline = self._reading.baseline if self._reading else "the mean answer over the training rows"

    def read_images(self, rows: pd.DataFrame) -> Array:
        """Images as the model reads them, uint8 [B, H, W, C]."""
        return self._runner.family.from_user(rows, self._runner.state)["inputs"]

    def as_looked_at(self, picture: Array) -> Array:
        """An image [H, W, …] as people look at it: a spectrogram has time to the right, high pitch on top."""
        return np.rot90(picture) if CLIP in self._runner.state else picture

    def explain(self, rows: pd.DataFrame) -> Explained:
        """The rows' answers, and where they come from.

        Args:
            rows: raw rows with the model's columns, few enough to be computed together.
        """
        import torch

        arrays = self._runner.family.from_user(rows, self._runner.state)
        batch = {
            name: torch.from_numpy(np.ascontiguousarray(a)).to(self._runner.device)
            for name, a in arrays.items()
        }
        from trainers.explaining.attention_maps import AttentionRecorder

        with torch.no_grad(), AttentionRecorder() as seen:
            answers = self._scores.answers(self._runner, batch)
        if self._reading is None:
            found = self._ask_trees(batch, answers.given)
        else:
            found = attribute(self._reading.inputs(batch, answers.given, self.method), self.method)
        return self._as_people_read(found, answers, rows, seen.maps)

    def _make_reading(self) -> Reading:
        if self.kind == "table":
            return TableReading(self._runner, self._scores)
        if self.kind == "image":
            return ImageReading(self._runner, self._scores)
        return text_reading(self._runner, self._scores)

    def _ask_trees(self, batch: Batch, answer_B: torch.Tensor) -> Attribution:
        import torch

        assert self._trees is not None
        assert isinstance(self._scores, AnswerScores)
        parts = torch.from_numpy(self._trees.contributions(batch["numbers"], batch["categories"]))
        if self.unit == "log-odds":  # one number, the second class's; the first's is its opposite
            signs = answer_B.double() * 2 - 1
            chosen = parts[:, 0] * signs[:, None]
        else:
            chosen = parts[torch.arange(len(parts)), answer_B]
        factors, shifts = (torch.tensor(values, dtype=torch.float64)[answer_B] for values in
                           (self._scores.factors, self._scores.shifts))  # fmt: skip
        chosen = chosen * factors[:, None]
        return Attribution(
            importances=chosen[:, :-1], scores=chosen.sum(dim=1) + shifts,
            baseline_scores=chosen[:, -1] + shifts,
        )  # fmt: skip

    def _as_people_read(
        self, found: Attribution, answers: Answers, rows: pd.DataFrame, maps: Sequence[torch.Tensor]
    ) -> Explained:
        from trainers.explaining.attention_maps import attention_of_words

        importances: Array | list[Array] = found.importances.cpu().numpy()
        texts = words = attention = None
        if isinstance(self._reading, ImageReading):
            importances = np.asarray(importances)[:, self._reading.patches(self.method)]
        if isinstance(self._reading, TextReading):
            texts, words = self._reading.texts(rows), self._reading.words(rows)
            importances = _sum_pieces(np.asarray(importances), words)
            if maps and self._reading.attends:
                attention = [attention_of_words(maps, at, some) for at, some in enumerate(words)]
        return Explained(
            answers=answers.texts,
            scores=found.scores.cpu().numpy(), baseline_scores=found.baseline_scores.cpu().numpy(),
            importances=importances, texts=texts, words=words, attention=attention,
            gaps=None if self.method == "occlusion" else found.gaps.cpu().numpy(),
        )  # fmt: skip


def _sum_pieces(importances: Array, words: Sequence[Sequence[Word]]) -> list[Array]:
    return [
        np.array([row[slice(*word.tokens)].sum() for word in some])
        for row, some in zip(importances, words, strict=True)
    ]


def _family_runner(predictor: Predictor) -> FamilyRunner:
    runner = predictor.runner
    if not isinstance(runner, FamilyRunner):
        raise InputError(
            "an explained model must be of a family", "a plain function's model",
            "its own `predict` alone knows how it reads rows; make it a Family class",
        )  # fmt: skip
    if runner.whole:
        raise InputError(
            "rows must be explained one by one", "a model of a series, which answers from the rows before",
            "explain a model that reads rows by themselves",
        )  # fmt: skip
    return runner


def _boosted_trees(runner: FamilyRunner) -> BoostedTrees | None:
    from trainers.modules.boosted_trees import BoostedTrees

    return runner.module if isinstance(runner.module, BoostedTrees) else None


def _choose_method(method: Method | None, *, trees: bool) -> Method:
    known: tuple[Method, ...] = ("shap",) if trees else METHODS
    if method is not None and method not in known:
        what = "boosted trees" if trees else "a module of torch"
        raise InputError(f"{what} must be explained by {' or '.join(known)}", method)
    return method or known[0]


def _kind_of(runner: FamilyRunner) -> RowKind:
    state = runner.state
    if "table" in state:
        return "table"
    if "shape" in state:
        return "image"
    if "tokenizer" in state and "length" in state:
        return "text"
    raise InputError(
        "explained rows must be of a table, images or texts", f"a state of {', '.join(sorted(state))}",
        "explain one of Velodrome's own families",
    )  # fmt: skip
