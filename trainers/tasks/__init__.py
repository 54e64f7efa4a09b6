"""What each task means: its usual loss, its metrics by name, the trivial guess and the shape of answers.

Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from trainers.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import Array, Outputs, Params, State


class MetricSink(Protocol):
    """What takes batches: the metrics of a pass, or more beside them."""

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds one batch, of any size."""


class MetricSet(MetricSink, Protocol):
    """The metrics of one pass over one part of the data: sums on the device, numbers at the end.

    Nothing here talks to other processes. Where ranks share a pass, `trainers.tasks.merging.merge_ranks`
    puts their sums together, and only when it is called.
    """

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds one batch, of any size."""

    def compute(self) -> dict[str, float]:
        """Every metric that is defined for what was seen, by its name without a prefix.

        Raises:
            NotFinite: the outputs were not finite numbers.
        """

    def sums(self) -> list[torch.Tensor]:
        """The state that adds up over ranks (and halves of a data set): to be changed in place."""

    def rows(self) -> list[torch.Tensor]:
        """The state that is put end to end along the first dimension, of its own length on each rank."""

    def set_rows(self, rows: Sequence[torch.Tensor]) -> None:
        """Replaces what `rows` returned by the rows of all ranks."""

    def confusion(self) -> Array | None:
        """Counts [true class, predicted class], where the task has classes (few enough for a picture)."""


class TaskRules(Protocol):
    """One task's rules, made for one fitted state."""

    metrics: tuple[str, ...]  # names without a prefix, the usual objective first

    def loss(self, outputs: Outputs, batch: Mapping[str, torch.Tensor], params: Params) -> torch.Tensor:
        """The mean loss of a batch, to be minimised in training."""

    def metric_set(self, device: torch.device | str, *, scores: bool = True) -> MetricSet:
        """An empty set of metrics whose state lives on the device.

        Args:
            scores: also what needs every example's scores at the end (`auc`), or generated text.
        """

    def to_user(self, outputs: Outputs) -> pd.DataFrame:
        """Predictions in a person's terms, one row an example."""

    def trivial(self, train: Array, validation: Array) -> dict[str, float]:
        """What is scored on `validation` by one answer for all, chosen on `train`: the bar for any model.

        Args:
            train, validation: targets as the data set has them: class indices, numbers in their own units,
                token ids.
        """


@runtime_checkable
class TermCounter(Protocol):
    """Rules whose loss is a mean over something else than examples (tokens): a batch that is cut up must be
    weighted by it, or short texts would count more in some cuts than in others."""

    def count_terms(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """How many a batch has, int64 []."""


def rules_for(state: State) -> TaskRules:
    """The rules of the task that a family's state was made for.

    What is read of the state: `task`; `classes` and `class_weights` (classification); `target_mean` and
    `target_std`, numbers or lists (regression, where the target was scaled); `vocabulary`, a list of the
    tokens by id, or `tokenizer`, JSON of the tokenizers library, `target_` before either where the two
    sides differ, and `joiner` (what goes between tokens, default a blank); `features`, `shift`,
    `factor` and `unit` (reconstruction); `max_answer` (question answering); `special_ids` (masked words);
    `items` and `liked` (recommendation).

    Raises:
        InputError: the state names no task that there are rules for.
    """
    task = state.get("task")
    if task == "classification":
        from trainers.tasks.classification import Classification

        return Classification(state)
    if task == "regression":
        from trainers.tasks.regression import Regression

        return Regression(state)
    if task == "language-model":
        from trainers.tasks.language import LanguageModel

        return LanguageModel(state)
    if task == "masked-words":
        from trainers.tasks.masked_words import MaskedWordPrediction

        return MaskedWordPrediction(state)
    if task == "seq2seq":
        from trainers.tasks.seq2seq import Seq2Seq

        return Seq2Seq(state)
    if task == "question-answering":
        from trainers.tasks.question_answering import QuestionAnswering

        return QuestionAnswering(state)
    if task == "generation":
        from trainers.tasks.generation import Generation

        return Generation(state)
    if task == "reconstruction":
        from trainers.tasks.reconstruction import Reconstruction

        return Reconstruction(state)
    if task == "recommendation":
        from trainers.tasks.recommendation import Recommendation

        return Recommendation(state)
    raise InputError("a family's state must name its task", repr(task))
