"""The metrics of all members of a stack on one part of the data, by one reading.

Shape legend: F members, B examples of a batch, C classes, K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from trainers.family import Family
from trainers.loop.micro_batches import rank_batches
from trainers.stacking.program import StackedProgram, take_member
from trainers.tasks import MetricSet, TaskRules
from trainers.tasks.classification import Classification, ClassificationMetrics, roc_areas
from trainers.tasks.group_sums import GroupSums
from trainers.tasks.outputs import output_tensor
from trainers.tasks.reconstruction import Reconstruction, reconstruction_target
from trainers.tasks.regression import Regression, RegressionMetrics
from trainers.types import Batch, ExampleSource, Outputs, Ranks, State


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
) -> list[Callable[[], dict[str, float]]]:
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
    sets = [rules.metric_set(tensors[0].device) for _ in rows]
    gathered = _GATHERERS.get(type(rules), _GatheredOneByOne)(rules, sets, rows)
    program.module.eval()
    with torch.no_grad():
        for indices in rank_batches(len(source), batch_size, Ranks()):
            batch = source.gather(torch.arange(indices.start, indices.stop))
            gathered.update(program.outputs(tensors, batch), batch)
            alive()
    program.module.train()
    gathered.finish()
    return [metrics.compute for metrics in sets]


class _GatheredOneByOne:
    """Each member's metrics see its own outputs."""

    def __init__(self, rules: TaskRules, sets: Sequence[MetricSet], rows: Sequence[int]) -> None:
        self.rules, self.sets, self.rows = rules, sets, list(rows)

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Adds a batch's outputs, [F, B, …]."""
        for metrics, row in zip(self.sets, self.rows, strict=True):
            metrics.update(take_member(outputs, row), batch)

    def finish(self) -> None:
        """All batches were seen."""

    def _fill(self, sums: Sequence[Tensor]) -> None:
        """Each member's part of what adds up, [F, …], in the order of `MetricSet.sums`."""
        for row, metrics in enumerate(self.sets):
            for own, all_members in zip(metrics.sums(), sums, strict=True):
                own.copy_(all_members[row])


class _GatheredClasses(_GatheredOneByOne):
    """Counts, losses and probabilities of all members at once, as `ClassificationMetrics` has them."""

    def __init__(self, rules: TaskRules, sets: Sequence[MetricSet], rows: Sequence[int]) -> None:
        super().__init__(rules, sets, rows)
        assert isinstance(rules, Classification)
        cells, loss, *_ = sets[0].sums()
        self._picture = sets[0].confusion() is not None
        self._cells = cells.new_zeros(len(rows), len(cells))
        self._loss = loss.new_zeros(len(rows))
        self._by_group = GroupSums(rules.groups, 1, cells.device, (len(rows),))
        self._keep = bool(sets[0].rows())
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

    def finish(self) -> None:
        """Deals out what was gathered."""
        self._fill([self._cells, self._loss, *self._by_group.sums()])
        if not self._keep or not self._chances:
            return
        chances, target = torch.cat(self._chances, dim=1), torch.cat(self._targets)
        present = torch.bincount(target).nonzero()[:, 0]
        if len(present) < 2 or not torch.isfinite(chances).all():  # each says what it makes of it
            for row, metrics in enumerate(self.sets):
                metrics.set_rows([chances[row], target])
            return
        classes = present[1:] if chances.shape[2] == 2 else present
        scores = chances[:, :, classes].permute(1, 0, 2).flatten(1)
        positive = (target[:, None] == classes).repeat(1, len(self.sets))
        areas = roc_areas(scores, positive).view(len(self.sets), -1).mean(dim=1).tolist()
        for metrics, area in zip(self.sets, areas, strict=True):
            assert isinstance(metrics, ClassificationMetrics)
            metrics.set_area(area)


class _GatheredNumbers(_GatheredOneByOne):
    """Sums of errors, as `RegressionMetrics` has them."""

    def __init__(self, rules: TaskRules, sets: Sequence[MetricSet], rows: Sequence[int]) -> None:
        super().__init__(rules, sets, rows)
        assert isinstance(rules, Regression)
        count, *_ = sets[0].sums()
        self._by_group = GroupSums(rules.groups, 2, count.device, (len(rows),))
        self._count = 0
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
        own = self.sets[0]
        assert isinstance(own, RegressionMetrics)
        self._by_group.add(own.group_scores(error), batch)

    def finish(self) -> None:
        """Deals out what was gathered."""
        errors, moments = self._errors, self._moments
        if isinstance(errors, Tensor) and isinstance(moments, Tensor):
            totals = torch.cat([errors, moments.expand(len(errors), *moments.shape)], dim=1)
            counts = torch.full((len(errors),), self._count, device=errors.device)
            self._fill([counts, totals, *self._by_group.sums()])


class _GatheredOriginals(_GatheredOneByOne):
    """Squared errors, as `ReconstructionMetrics` has them."""

    def __init__(self, rules: TaskRules, sets: Sequence[MetricSet], rows: Sequence[int]) -> None:
        super().__init__(rules, sets, rows)
        assert isinstance(rules, Reconstruction)
        self._unit, self._count = rules.unit, 0
        self._squares = sets[0].sums()[0].new_zeros(len(rows))

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Adds what was made, [F, B, …], of the originals that all share."""
        made = output_tensor(outputs, "reconstruction")[self.rows].double().flatten(1)
        wanted = reconstruction_target(batch, self._unit).reshape(1, -1).double()
        self._squares += (made - wanted).square_().sum(1)
        self._count += wanted.numel()

    def finish(self) -> None:
        """Deals out what was gathered."""
        self._fill([self._squares, torch.full((len(self.rows),), self._count)])


_GATHERERS: Mapping[type, type[_GatheredOneByOne]] = {
    Classification: _GatheredClasses,
    Regression: _GatheredNumbers,
    Reconstruction: _GatheredOriginals,
}
