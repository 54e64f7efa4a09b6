"""What each example adds to the metrics that are means over examples: what a test of two models needs.

Shape legend: B examples of a batch, N examples of a part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trainers.tasks.classification import Classification
from trainers.tasks.language import LanguageModel
from trainers.tasks.outputs import IGNORED, output_tensor
from trainers.tasks.question_answering import QuestionAnswering, text_scores
from trainers.tasks.recommendation import Recommendation
from trainers.tasks.reconstruction import Reconstruction, reconstruction_target
from trainers.tasks.regression import Regression

if TYPE_CHECKING:
    import torch

    from trainers.tasks import TaskRules
    from trainers.types import Outputs

_CLOSE = 1e-6
_USER = "user"


class ExampleScores:
    """Every example's own value of a task's metrics, by the metric's name; empty for rules not known here.

    Of recommendation an example is a user, whose interactions' shares are added up.
    """

    def __init__(self, rules: TaskRules, device: torch.device | str) -> None:
        self._rules, self._device = rules, device
        self.names = score_names(rules)
        self._kept: dict[str, list[torch.Tensor]] = {name: [] for name in self.names}
        if isinstance(rules, Recommendation):
            self._kept[_USER] = []

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds one batch."""
        if self.names:
            for name, values in score_examples(self._rules, outputs, batch).items():
                self._kept[name].append(values)
            if _USER in self._kept:
                self._kept[_USER].append(batch["user"].double())

    def compute(self, metrics: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """[N] float64 on the CPU by name, of those whose mean is the metric (texts of different lengths
        weigh differently in a loss a token, so that no text has a share of its own)."""
        found = dict(zip(self._kept, self.rows(), strict=True))
        if (users := found.pop(_USER, None)) is not None:
            found = {name: _add_up(values, users) for name, values in found.items()}
        return {
            name: values.cpu()
            for name, values in found.items()
            if len(values)
            and name in metrics
            and math.isclose(float(values.mean()), metrics[name], rel_tol=_CLOSE, abs_tol=_CLOSE)
        }

    def sums(self) -> list[torch.Tensor]:
        """None: nothing is added up."""
        return []

    def rows(self) -> list[torch.Tensor]:
        """One tensor [N] a name, in the order of `names`; of recommendation then the users."""
        import torch

        empty = torch.zeros(0, dtype=torch.float64, device=self._device)
        return [torch.cat([empty, *self._kept[name]]) for name in self._kept]

    def set_rows(self, rows: Sequence[torch.Tensor]) -> None:
        """As `MetricSet.set_rows`."""
        self._kept = {name: [values] for name, values in zip(self._kept, rows, strict=True)}


def _add_up(shares: torch.Tensor, users: torch.Tensor) -> torch.Tensor:
    """The sum of each known user's shares, in the users' order."""
    import torch

    known = users >= 0
    names, place = torch.unique(users[known], return_inverse=True)
    return shares.new_zeros(len(names)).index_add_(0, place, shares[known])


def score_names(rules: TaskRules) -> tuple[str, ...]:
    """The metrics of which each example has a share, known before any example is: ranks must agree."""
    if isinstance(rules, Classification):
        return ("accuracy", "loss")
    if isinstance(rules, Regression):
        return ("mae", "mse")
    if isinstance(rules, Reconstruction):
        return ("mse",)
    if isinstance(rules, QuestionAnswering):
        return ("exact_match", "f1")
    if isinstance(rules, Recommendation):
        return rules.metrics
    return ("loss",) if isinstance(rules, LanguageModel) else ()


def score_examples(
    rules: TaskRules, outputs: Outputs, batch: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """One batch's examples singly, [B] float64 by name, in the metric's own units."""
    if isinstance(rules, Classification):
        return _score_classification(outputs, batch)
    if isinstance(rules, Regression):
        return _score_regression(rules, outputs, batch)
    if isinstance(rules, Reconstruction):
        made = output_tensor(outputs, "reconstruction").detach().double()
        error = (made - reconstruction_target(batch, rules.unit).reshape(made.shape).double()).square()
        return {"mse": error.flatten(1).mean(1)}
    if isinstance(rules, QuestionAnswering):
        return _score_answers(rules, outputs, batch)
    if isinstance(rules, Recommendation):
        return rules.shares(outputs, batch)
    return _score_language(outputs, batch)


def _score_classification(outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    import torch

    logits, target = output_tensor(outputs, "logits").detach().float(), batch["target"]
    loss = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    return {"accuracy": (logits.argmax(-1) == target).double(), "loss": loss.double()}


def _score_regression(
    rules: Regression, outputs: Outputs, batch: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    target = batch["target"].detach().double()
    target = target.reshape(len(target), math.prod(target.shape[1:]))
    error = output_tensor(outputs, "prediction").detach().double().reshape(target.shape) - target
    error = error * error.new_tensor(rules.std)
    return {"mae": error.abs().mean(1), "mse": error.square().mean(1)}


def _score_answers(
    rules: QuestionAnswering, outputs: Outputs, batch: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    import torch

    exact, shared = text_scores(outputs, batch, rules.longest)
    device = batch["target"].device
    named = {"exact_match": exact, "f1": shared}
    return {name: torch.tensor(v, dtype=torch.float64, device=device) for name, v in named.items()}


def _score_language(outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    import torch

    logits, target = output_tensor(outputs, "logits").detach().float(), batch["target"]
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, -1), target, ignore_index=IGNORED, reduction="none"
    )
    counts = (target != IGNORED).sum(-1).clamp(min=1)
    return {"loss": losses.double().sum(-1) / counts}
