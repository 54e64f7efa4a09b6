"""Which number of a model's outputs an explanation is of.

Of two classes it is the log-odds of the answer (its logit less the other's, which decide together), of more
its logit, of numbers the prediction in the target's own unit.

Shape legend: B examples, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.errors import InputError
from trainers.tasks.outputs import output_tensor
from trainers.types import Outputs, State

if TYPE_CHECKING:
    import torch

EXPLAINED = ("classification", "regression")


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

    def pick(self, outputs: Outputs, answer_B: torch.Tensor) -> torch.Tensor:
        """The scores [B] of the answers."""
        return self.logits(outputs).gather(1, answer_B[:, None])[:, 0]


def answer_scores(state: State, answer: str | None) -> AnswerScores:
    """The scores of a state's task.

    Args:
        answer: a class or a target to explain in every row.

    Raises:
        InputError: a task whose answers are not explained, or no such answer.
    """
    task = state.get("task")
    if task not in EXPLAINED:
        raise InputError(
            "explained answers must be classes or numbers", f"a model whose task is {task}",
            "explain a model of classification or regression",
        )  # fmt: skip
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
