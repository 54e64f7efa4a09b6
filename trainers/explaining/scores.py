"""Which number of a model's outputs an explanation is of.

Of two classes it is the log-odds of the answer (its logit less the other's, which decide together), of more
its logit, of numbers the prediction in the target's own unit, of what was written, or found in a context, its
log-probability.

Shape legend: B examples, K outputs, T tokens written, V tokens of the vocabulary, C tokens of a context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trainers.errors import InputError
from trainers.tasks.outputs import IGNORED, output_tensor
from trainers.tasks.question_answering import LONGEST, best_span
from trainers.types import Batch, Outputs, State

if TYPE_CHECKING:
    import torch

    from trainers.bundle.predictor import FamilyRunner

EXPLAINED = ("classification", "regression", "seq2seq", "question-answering")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What is explained of a batch.

    Attributes:
        given: int64 [B, …]: what `ExplainedScores.pick` takes.
        texts: as people read it, one a row.
    """

    given: torch.Tensor
    texts: list[str]


class ExplainedScores(Protocol):
    """How the answers of one task are scored.

    Attributes:
        unit: what a score is.
    """

    @property
    def unit(self) -> str:
        """As people call it."""

    def answers(self, runner: FamilyRunner, batch: Batch) -> Answers:
        """The answers that are explained."""

    def more_inputs(self, given: torch.Tensor) -> Batch:
        """What a batch must have beside what people give, for the outputs to hold the answers' scores."""

    def pick(self, outputs: Outputs, given: torch.Tensor) -> torch.Tensor:
        """The scores [B] of the answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScores:
    """The outputs of one model as scores.

    Attributes:
        names: of the K answers: classes, or targets.
        factors, shifts: K numbers that bring a regression's outputs into the target's unit.
        chosen: the answer that is explained in every row; None: in each row the one that it gets.
        unit: what a score is.
    """

    names: tuple[str, ...]
    factors: tuple[float, ...]
    shifts: tuple[float, ...]
    chosen: int | None
    unit: str

    def logits(self, outputs: Outputs) -> torch.Tensor:
        """Outputs [B, K] in their unit, of two classes each one's log-odds."""
        classes = self.unit != "prediction"
        found = output_tensor(outputs, "logits" if classes else "prediction")
        found = found.reshape(len(found), -1)
        if self.unit == "log-odds":
            return found - found.flip(1)
        return found * found.new_tensor(self.factors) + found.new_tensor(self.shifts)

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """The index of the answer that is explained, int64 [B]."""
        import torch

        if self.chosen is None:
            return logits.argmax(dim=1)
        return torch.full((len(logits),), self.chosen, dtype=torch.int64, device=logits.device)

    def answers(self, runner: FamilyRunner, batch: Batch) -> Answers:
        """As `ExplainedScores`: int64 [B]."""
        given = self.choose(self.logits(runner.family.outputs(runner.module, batch)))
        return Answers(given=given, texts=[self.names[i] for i in given.tolist()])

    def more_inputs(self, given: torch.Tensor) -> Batch:
        """Nothing."""
        return {}

    def pick(self, outputs: Outputs, given: torch.Tensor) -> torch.Tensor:
        """The scores [B] of the answers."""
        return self.logits(outputs).gather(1, given[:, None])[:, 0]


class WrittenScores:
    """The log-probability of the text that the model writes by itself, its end among its tokens."""

    unit = "log-probability"

    def answers(self, runner: FamilyRunner, batch: Batch) -> Answers:
        """As `ExplainedScores`: int64 [B, T], -100 behind each end."""
        outputs = runner.family.answers(runner.module, batch, runner.state)
        tokens = output_tensor(outputs, "tokens")[:, 0]
        ends = (tokens == runner.state["end_id"]).cumsum(dim=1)
        behind = (ends > 0) & ~((ends == 1) & (tokens == runner.state["end_id"]))
        texts = runner.family.to_user({"tokens": tokens[:, None]}, runner.state)["output"]
        return Answers(given=tokens.masked_fill(behind, IGNORED), texts=[str(text) for text in texts])

    def more_inputs(self, given: torch.Tensor) -> Batch:
        """The text itself: each word is read by the model that writes the next."""
        return {"target": given}

    def pick(self, outputs: Outputs, given: torch.Tensor) -> torch.Tensor:
        """The sum over tokens, [B]."""
        chances = output_tensor(outputs, "logits").float().log_softmax(dim=2)
        found = chances.gather(2, given.clamp(min=0)[:, :, None])[:, :, 0]
        return found.masked_fill(given == IGNORED, 0.0).sum(dim=1)


class SpanScores:
    """The log-probability that the answer begins and ends where the model says."""

    unit = "log-probability"

    def answers(self, runner: FamilyRunner, batch: Batch) -> Answers:
        """As `ExplainedScores`: int64 [B, 2], the places of the first and the last token.

        Raises:
            InputError: a context without a word.
        """
        import torch

        outputs = runner.family.answers(runner.module, batch, runner.state)
        longest = int(runner.state.get("max_answer", LONGEST))
        first, last, chances = best_span(output_tensor(outputs, "scores"), longest)
        if not bool(chances.all()):
            row = int((chances == 0).nonzero()[0, 0])
            raise InputError("an explained context must have words", f"none in row {row + 1} of these")
        texts = runner.family.to_user(outputs, runner.state)["answer"]
        return Answers(given=1 + torch.stack([first, last], dim=1), texts=[str(text) for text in texts])

    def more_inputs(self, given: torch.Tensor) -> Batch:
        """Nothing."""
        return {}

    def pick(self, outputs: Outputs, given: torch.Tensor) -> torch.Tensor:
        """The sum of both, [B]."""
        return output_tensor(outputs, "scores").gather(1, given[:, None, :])[:, 0].sum(dim=1)


def answer_scores(state: State, answer: str | None) -> ExplainedScores:
    """The scores of a state's task.

    Args:
        answer: a class or a target to explain in every row.
    """
    task = state.get("task")
    if task not in EXPLAINED:
        raise InputError(
            "explained answers must be classes, numbers, written texts or answers to questions",
            f"a model whose task is {task}", f"explain a model of {', '.join(EXPLAINED)}",
        )  # fmt: skip
    if task in ("seq2seq", "question-answering"):
        if answer is not None:
            raise InputError(
                f"--answer must be left out of {task}", repr(answer), "the model's own is explained"
            )
        return WrittenScores() if task == "seq2seq" else SpanScores()
    if task == "classification":
        names = tuple(map(str, state["classes"]))
        unit = "log-odds" if len(names) == 2 else "logit"
        ones, zeros = (1.0,) * len(names), (0.0,) * len(names)
        chosen = None if answer is None else _index(names, answer)
        return AnswerScores(names=names, factors=ones, shifts=zeros, chosen=chosen, unit=unit)
    names = tuple(map(str, state.get("targets") or ("prediction",)))
    if answer is None and len(names) > 1:
        raise InputError(
            "an explanation must be of one of a row's numbers", f"a model of {', '.join(names)}",
            f"name one: --answer {names[0]}",
        )  # fmt: skip
    std, mean = (np.broadcast_to(state.get(key, usual), len(names)) for key, usual in
                 (("target_std", 1.0), ("target_mean", 0.0)))  # fmt: skip
    return AnswerScores(
        names=names, factors=tuple(map(float, std)), shifts=tuple(map(float, mean)),
        chosen=0 if answer is None else _index(names, answer), unit="prediction",
    )  # fmt: skip


def _index(names: tuple[str, ...], answer: str) -> int:
    if answer not in names:
        raise InputError("--answer must be one that the model gives", repr(answer), ", ".join(names[:20]))
    return names.index(answer)
