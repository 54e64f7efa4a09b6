"""The metrics of all members of a stack on one part of the data, by one reading.

Shape legend: F members, B examples of a batch, C classes, K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from trainers.family import Family
from trainers.loop.micro_batches import rank_batches
from trainers.stacking.program import StackedProgram, take_member
from trainers.tasks import MetricSet, TaskRules
from trainers.tasks.classification import Classification, require_finite_loss, roc_areas
from trainers.tasks.group_sums import GroupSums
from trainers.tasks.outputs import output_tensor
from trainers.tasks.reconstruction import Reconstruction, reconstruction_target
from trainers.tasks.regression import (
    Regression,
    RegressionMetrics,
    error_metrics_of_members,
    not_finite_error,
    spread_from_moments,
)
from trainers.tasks.scores import count_metrics_of_members
from trainers.types import Batch, ExampleSource, Outputs, Ranks, State

Measure: TypeAlias = "Callable[[], dict[str, float]]"


def judges_plainly(family: Family) -> bool:
    """Whether the family is judged by the outputs that its loss sees, as a stack can do it for all."""
    return type(family).judge is Family.judge


def evaluate_stack(
    program: StackedProgram,
    tensors: Sequence[Tensor],
    rows: Sequence[int],
    source: ExampleSource,
    state: State,
    *,
    family: Family,
    batch_size: int,
    alive: Callable[[], object],
) -> list[Measure]:
    """What gives each row's metrics, or raises what is wrong with them.

    Args:
        program: the module that stands for all; in training mode again afterwards.
        tensors: [F, …] each.
        rows: whose metrics are wanted.
        source: the part.
        state: the data's.
        family: of all members.
        batch_size: examples at once.
        alive: called after each batch.
    """
    rules = family.rules(state)
    gathered = _GATHERERS.get(type(rules), _GatheredOneByOne)(rules, rows, tensors[0].device)
    program.module.eval()
    with torch.no_grad():
        for indices in rank_batches(len(source), batch_size, Ranks()):
            batch = source.gather(torch.arange(indices.start, indices.stop))
            gathered.update(program.outputs(tensors, batch), batch)
            alive()
    program.module.train()
    return gathered.finish()


class _GatheredOneByOne:
    """Each member's metrics see its own outputs."""

    def __init__(self, rules: TaskRules, rows: Sequence[int], device: torch.device) -> None:
        self.rules, self.rows, self._device = rules, list(rows), device

    @cached_property
    def sets(self) -> list[MetricSet]:
        """One for each member, where each is asked by itself."""
        return [self.rules.metric_set(self._device) for _ in self.rows]

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Adds a batch's outputs, [F, B, …]."""
        for metrics, row in zip(self.sets, self.rows, strict=True):
            metrics.update(take_member(outputs, row), batch)

    def finish(self) -> list[Measure]:
        """All batches were seen: what gives each member's metrics, or raises what is wrong with them."""
        return [metrics.compute for metrics in self.sets]

    def _fill(self, sums: Sequence[Tensor]) -> None:
        """Each member's part of what adds up, [F, …], in the order of `MetricSet.sums`."""
        for row, metrics in enumerate(self.sets):
            for own, all_members in zip(metrics.sums(), sums, strict=True):
                own.copy_(all_members[row])


class _GatheredClasses(_GatheredOneByOne):
    """Counts, losses and probabilities of all members at once, as `ClassificationMetrics` has them."""

    def __init__(self, rules: TaskRules, rows: Sequence[int], device: torch.device) -> None:
        super().__init__(rules, rows, device)
        assert isinstance(rules, Classification)
        like = rules.metric_set(device)
        cells, loss, *_ = like.sums()
        self._picture, self._named = like.confusion() is not None, rules.named
        self._cells = cells.new_zeros(len(rows), len(cells))
        self._loss = loss.new_zeros(len(rows))
        self._by_group = GroupSums(rules.groups, 1, device, (len(rows),))
        self._keep = bool(like.rows())
        self._chances: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Adds logits [F, B, C] and the targets that all share."""
        logits, target = output_tensor(outputs, "logits")[self.rows].float(), batch["target"]
        members, examples, classes = logits.shape
        everyone = target.expand(members, examples)
        losses = functional.cross_entropy(logits.flatten(0, 1), everyone.reshape(-1), reduction="none")
        self._loss += losses.view(members, examples).sum(1)
        guess = logits.argmax(-1)
        self._by_group.add((guess == everyone).double().unsqueeze(1), batch)
        ones = target.new_ones(guess.shape)
        if self._picture:
            self._cells.scatter_add_(1, everyone * classes + guess, ones)
        else:
            self._cells.scatter_add_(1, everyone, (guess == everyone).long())
            self._cells.scatter_add_(1, everyone + classes, ones)
            self._cells.scatter_add_(1, guess + 2 * classes, ones)
        if self._keep:
            self._chances.append(logits.softmax(-1))
            self._targets.append(target)

    def finish(self) -> list[Measure]:
        """As its base says; all at once, but where groups are told apart or outputs are not numbers."""
        areas = self._areas()
        if areas is None or self._by_group.sums():
            self._fill([self._cells, self._loss, *self._by_group.sums()])
            if self._keep and self._chances:
                chances, target = torch.cat(self._chances, dim=1), torch.cat(self._targets)
                for row, metrics in enumerate(self.sets):
                    metrics.set_rows([chances[row], target])
            return super().finish()
        cells = self._cells.cpu().numpy()
        if self._picture:
            size = math.isqrt(cells.shape[1])
            matrix = cells.reshape(len(cells), size, size)
            hits, actual, predicted = matrix.diagonal(axis1=1, axis2=2), matrix[0].sum(1), matrix.sum(1)
        else:
            hits, (actual, *_), predicted = np.split(cells, 3, axis=1)
        total = int(actual.sum())
        return [
            partial(_with_loss, {**own, **({"auc": area} if areas else {})}, loss / max(1, total))
            for own, area, loss in zip(
                count_metrics_of_members(self._named, hits, actual, predicted),
                areas or [0.0] * len(cells),
                self._loss.tolist(),
                strict=True,
            )
        ]

    def _areas(self) -> list[float] | None:
        """Each member's `auc`; empty where it is not defined, None where each must say what is wrong."""
        if not self._keep or not self._chances:
            return []
        chances, target = torch.cat(self._chances, dim=1), torch.cat(self._targets)
        present = torch.bincount(target).nonzero()[:, 0]
        if not torch.isfinite(chances).all():
            return None
        if len(present) < 2:
            return []
        classes = present[1:] if chances.shape[2] == 2 else present
        scores = chances[:, :, classes].permute(1, 0, 2).flatten(1)
        positive = (target[:, None] == classes).repeat(1, len(self.rows))
        areas: list[float] = roc_areas(scores, positive).view(len(self.rows), -1).mean(dim=1).tolist()
        return areas


def _with_loss(metrics: dict[str, float], loss: float) -> dict[str, float]:
    return {**metrics, "loss": require_finite_loss(loss)} if metrics else {}


class _GatheredNumbers(_GatheredOneByOne):
    """Sums of errors, as `RegressionMetrics` has them."""

    def __init__(self, rules: TaskRules, rows: Sequence[int], device: torch.device) -> None:
        super().__init__(rules, rows, device)
        assert isinstance(rules, Regression)
        self._unit, self._count = rules.std, 0
        self._by_group = GroupSums(rules.groups, 2, device, (len(rows),))
        self._errors: Tensor | float = 0.0  # [F, 2, K]
        self._moments: Tensor | float = 0.0  # [2, K]

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Adds predictions [F, B, K] and the targets that all share."""
        target = batch["target"].double()
        target = target.reshape(len(target), math.prod(target.shape[1:]))
        error = output_tensor(outputs, "prediction")[self.rows].double()
        error = error.reshape(len(self.rows), *target.shape) - target
        self._errors = self._errors + torch.stack([error.square().sum(1), error.abs().sum(1)], dim=1)
        self._moments = self._moments + torch.stack([target.sum(0), target.square().sum(0)])
        self._count += len(target)
        if self._by_group.sums():
            own = self.sets[0]
            assert isinstance(own, RegressionMetrics)
            self._by_group.add(own.group_scores(error), batch)

    def finish(self) -> list[Measure]:
        """As its base says, all at once."""
        errors, moments = self._errors, self._moments
        if not isinstance(errors, Tensor) or not isinstance(moments, Tensor):
            return super().finish()
        if self._by_group.sums():
            totals = torch.cat([errors, moments.expand(len(errors), *moments.shape)], dim=1)
            counts = torch.full((len(errors),), self._count, device=errors.device)
            self._fill([counts, totals, *self._by_group.sums()])
            return super().finish()
        (squares, absolutes), (first, second) = errors.unbind(1), moments.cpu().numpy()
        sums = squares.cpu().numpy(), absolutes.cpu().numpy()
        spread = spread_from_moments(self._count, first, second)
        with np.errstate(all="ignore"):  # of members whose own numbers are refused below
            found = error_metrics_of_members(self._count, *sums, spread, self._unit)
        return [partial(_check_squares, own, *row) for own, row in zip(found, sums[0][:, None], strict=True)]


def _check_squares(metrics: dict[str, float], squares: npt.NDArray[np.float64]) -> dict[str, float]:
    if not np.isfinite(squares).all():
        raise not_finite_error(squares)
    return metrics


class _GatheredOriginals(_GatheredOneByOne):
    """Squared errors, as `ReconstructionMetrics` has them."""

    def __init__(self, rules: TaskRules, rows: Sequence[int], device: torch.device) -> None:
        super().__init__(rules, rows, device)
        assert isinstance(rules, Reconstruction)
        self._unit, self._count = rules.unit, 0
        self._squares = torch.zeros(len(rows), dtype=torch.float64, device=device)

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Adds what was made, [F, B, …], of the originals that all share."""
        made = output_tensor(outputs, "reconstruction")[self.rows].double().flatten(1)
        wanted = reconstruction_target(batch, self._unit).reshape(1, -1).double()
        self._squares += (made - wanted).square_().sum(1)
        self._count += wanted.numel()

    def finish(self) -> list[Measure]:
        """As its base says."""
        self._fill([self._squares, torch.full((len(self.rows),), self._count)])
        return super().finish()


_GATHERERS: Mapping[type, type[_GatheredOneByOne]] = {
    Classification: _GatheredClasses,
    Regression: _GatheredNumbers,
    Reconstruction: _GatheredOriginals,
}
