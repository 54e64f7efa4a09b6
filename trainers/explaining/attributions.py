"""What captum is asked: integrated gradients, and occlusion, over groups of numbers that stand for a feature.

M. Sundararajan, A. Taly and Q. Yan, "Axiomatic Attribution for Deep Networks", ICML 2017 (arXiv 1703.01365);
M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.

Shape legend: B examples, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainers.errors import InputError

if TYPE_CHECKING:
    import torch

Method = Literal["integrated-gradients", "occlusion", "shap"]

STEPS, MOST_STEPS = 64, 1024
COMPLETE = 0.01  # of the score: integrated gradients that miss more are computed in finer steps
NUMBERS_AT_ONCE = 1 << 21


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredInputs:
    """A batch whose answers are to be explained.

    Attributes:
        values: floats that vary on the way from the baseline, [B, …] each.
        baselines: what each is compared with, [1, …] or [B, …].
        given: what stays as it is, [B, …] each: ids, masks, the index of the answer.
        features: number of the feature that each place of `values` belongs to, [1, …], from 0.
        count: F.
        score: (values, then given) → the score that is explained, [B].
    """

    values: tuple[torch.Tensor, ...]
    baselines: tuple[torch.Tensor, ...]
    given: tuple[torch.Tensor, ...]
    features: tuple[torch.Tensor, ...]
    count: int
    score: Callable[..., torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Importances float64 [B, F], and the scores [B] of the examples and of their baselines."""

    importances: torch.Tensor
    scores: torch.Tensor
    baseline_scores: torch.Tensor

    @property
    def gaps(self) -> torch.Tensor:
        """What the importances lack of the score's distance from the baseline's, as a share of the score."""
        import torch

        moved = self.scores - self.baseline_scores
        size = torch.maximum(self.scores.abs(), moved.abs()).clamp(min=1e-9)
        return (self.importances.sum(dim=1) - moved).abs() / size


def attribute(inputs: ScoredInputs, method: Method) -> Attribution:
    """The importance of each feature for each example's score."""
    import torch

    require_captum()
    with torch.no_grad():
        scores = inputs.score(*inputs.values, *inputs.given).double()
        compared = tuple(b.expand_as(v) for b, v in zip(inputs.baselines, inputs.values, strict=True))
        baseline_scores = inputs.score(*compared, *inputs.given).double()
    if method == "occlusion":
        made = _fold(_occlude(inputs), inputs, mean=True)
        return Attribution(importances=made, scores=scores, baseline_scores=baseline_scores)
    steps = STEPS
    while True:
        made = _fold(_integrate(inputs, steps), inputs, mean=False)
        found = Attribution(importances=made, scores=scores, baseline_scores=baseline_scores)
        if steps >= MOST_STEPS or not bool((found.gaps > COMPLETE / 2).any()):
            return found
        steps *= 4


def require_captum() -> None:
    """Says how to get captum where it is not."""
    try:
        import captum.attr  # noqa: F401
    except ImportError as error:
        raise InputError(
            "explanations of this model need captum", str(error), "pip install 'velodrome[explain]'"
        ) from error


def rows_at_once(inputs: int) -> int:
    """Examples that are computed together, of so many numbers each."""
    return max(8, min(1024, NUMBERS_AT_ONCE // max(1, inputs)))


def _numbers(inputs: ScoredInputs) -> int:
    return sum(value[0].numel() for value in inputs.values)


def _integrate(inputs: ScoredInputs, steps: int) -> tuple[torch.Tensor, ...]:
    import torch
    from captum.attr import IntegratedGradients

    rows = len(inputs.values[0])
    with torch.backends.cudnn.flags(enabled=False):  # its recurrent layers have no gradients in use
        found: tuple[torch.Tensor, ...] = IntegratedGradients(inputs.score).attribute(
            inputs.values, inputs.baselines, additional_forward_args=inputs.given, n_steps=steps,
            internal_batch_size=max(rows, rows_at_once(_numbers(inputs))),
        )  # fmt: skip
    return found


def _occlude(inputs: ScoredInputs) -> tuple[torch.Tensor, ...]:
    import torch
    from captum.attr import FeatureAblation

    together = max(1, rows_at_once(_numbers(inputs)) // len(inputs.values[0]))
    with torch.no_grad():
        found: tuple[torch.Tensor, ...] = FeatureAblation(inputs.score).attribute(
            inputs.values, inputs.baselines, additional_forward_args=inputs.given,
            feature_mask=inputs.features, perturbations_per_eval=together,
        )  # fmt: skip
    return found


def _fold(parts: tuple[torch.Tensor, ...], inputs: ScoredInputs, *, mean: bool) -> torch.Tensor:
    """Numbers a place as numbers a feature; occlusion gives each place its feature's whole."""
    import torch

    rows = len(parts[0])
    sums = torch.zeros(rows, inputs.count, dtype=torch.float64, device=parts[0].device)
    sizes = torch.zeros(inputs.count, dtype=torch.float64, device=parts[0].device)
    for part, feature in zip(parts, inputs.features, strict=True):
        where = feature.expand_as(part[:1]).reshape(-1)
        sums.index_add_(1, where, part.detach().double().reshape(rows, -1))
        sizes.index_add_(0, where, torch.ones_like(where, dtype=torch.float64))
    return sums / sizes.clamp(min=1) if mean else sums
