"""Regression: squared error in training, errors in the target's own units for people.

Shape legend: B examples of a batch, K numbers a target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from trainers.errors import NotFinite
from trainers.metric_names import PER_TASK, group_metric
from trainers.tasks.distillation import TEACHER, blend_numbers
from trainers.tasks.group_sums import GroupSums, groups_of
from trainers.tasks.outputs import output_tensor
from trainers.tasks.summed_metrics import SummedMetrics

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import Array, Outputs, Params, State

Numbers: TypeAlias = "npt.NDArray[np.float64]"


class Regression:
    """The rules of one state; `target_mean` and `target_std` undo the target's scaling."""

    metrics = PER_TASK["regression"]

    def __init__(self, state: State) -> None:
        self.mean = np.atleast_1d(np.asarray(state.get("target_mean", 0.0), dtype=np.float64))
        self.std = np.atleast_1d(np.asarray(state.get("target_std", 1.0), dtype=np.float64))
        self.names: Sequence[str] = state.get("targets", ())
        self.groups = groups_of(state)
        if self.names and len(self.std) == 1:
            self.std = np.repeat(self.std, len(self.names))

    def loss(self, outputs: Outputs, batch: Mapping[str, torch.Tensor], params: Params) -> torch.Tensor:
        """Mean squared error of outputs [B], [B, 1] or [B, K], in the units that the target was scaled to;
        beside a teacher also the distance from what it answers."""
        import torch

        target = batch["target"]
        guess = output_tensor(outputs, "prediction").reshape(target.shape)
        loss = torch.nn.functional.mse_loss(guess, target.to(guess.dtype))
        return blend_numbers(loss, guess, batch, params) if TEACHER in batch else loss

    def metric_set(self, device: torch.device | str, *, scores: bool = True) -> RegressionMetrics:
        """An empty set, for errors in the target's own units."""
        return RegressionMetrics(self.std, device, self.groups)

    def to_user(self, outputs: Outputs) -> pd.DataFrame:
        """A column `prediction`, or `prediction_<name>` for each number of a target with several."""
        import pandas as pd

        guess = output_tensor(outputs, "prediction").detach().double().cpu().numpy()
        values = guess.reshape(len(guess), math.prod(guess.shape[1:])) * self.std + self.mean
        if values.shape[1] == 1:
            return pd.DataFrame({"prediction": values[:, 0]})
        names = self.names or [str(i) for i in range(values.shape[1])]
        return pd.DataFrame({f"prediction_{name}": values[:, i] for i, name in enumerate(names)})

    def trivial(self, train: Array, validation: Array) -> dict[str, float]:
        """Always the mean of `train`; targets in their own units, [N] or [N, K]."""
        known = _valid_columns(validation)
        if not len(known):
            return {}
        guess = _valid_columns(train).mean(axis=0)
        error, spread = known - guess, known - known.mean(axis=0)
        totals = [np.square(error).sum(0), np.abs(error).sum(0), np.square(spread).sum(0)]
        return metrics_from_sums(len(known), *totals, scale=self.std)


class RegressionMetrics(SummedMetrics):
    """Sums of errors and of the target's moments, in float64 on the device; each output on its own.

    The moments are about zero, not about a running mean, so that they add up over ranks; a target that was
    not scaled loses no more than float64's 1e-16 of its square by it.
    """

    def __init__(
        self,
        std: npt.NDArray[np.float64],
        device: torch.device | str,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Empty.

        Args:
            std: what a unit of the outputs is in the target's own units.
            groups: of each sensitive column.
        """
        import torch

        self._by_group = GroupSums(groups or {}, 2, device)
        self._std = std
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._totals = torch.zeros(4, len(std), dtype=torch.float64, device=device)

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds outputs and `batch["target"]`, both [B], [B, 1] or [B, K]."""
        import torch

        target = batch["target"].detach().double()
        target = target.reshape(len(target), math.prod(target.shape[1:]))
        error = output_tensor(outputs, "prediction").detach().double().reshape(target.shape) - target
        batch_totals = [error.square().sum(0), error.abs().sum(0), target.sum(0), target.square().sum(0)]
        if self._totals.shape[1] != target.shape[1]:  # the state did not say how many numbers a target has
            self._totals = self._totals.expand(4, target.shape[1]).clone()
        self._totals += torch.stack(batch_totals)
        self._count += len(target)
        self._by_group.add(self.group_scores(error), batch)

    def group_scores(self, error: torch.Tensor) -> torch.Tensor:
        """Errors [..., B, K] as what groups add up, in the target's own units: [..., 2, B]."""
        import torch

        own = error * error.new_tensor(self._std)
        return torch.stack([own.abs().mean(-1), own.square().mean(-1)], dim=-2)

    def compute(self) -> dict[str, float]:
        """As `MetricSet.compute`; several outputs are averaged; without `r2` where no target varies."""
        count = int(self._count)
        if count == 0:
            return {}
        squares, absolutes, first, second = self._totals.cpu().numpy()
        if not np.isfinite(squares).all():
            raise not_finite_error(squares)
        spread = spread_from_moments(count, first, second)
        values = error_metrics_of_members(count, squares[None], absolutes[None], spread, self._std)[0]
        return values | errors_by_group(self._by_group)

    def sums(self) -> list[torch.Tensor]:
        """As `MetricSet.sums`."""
        return [self._count, self._totals, *self._by_group.sums()]


def errors_by_group(by_group: GroupSums) -> dict[str, float]:
    """Each group's mean absolute and root mean squared error; empty without groups."""
    values: dict[str, float] = {}
    for one in by_group.means():
        values[group_metric("mae", one.column, one.group)] = one.means[0]
        values[group_metric("rmse", one.column, one.group)] = math.sqrt(one.means[1])
    return values


def not_finite_error(squares: Numbers) -> NotFinite:
    """What is wrong with a model whose squared errors are not numbers."""
    return NotFinite("outputs must be finite numbers", f"a squared error of {squares.sum()}")


def spread_from_moments(count: int, first: Numbers, second: Numbers) -> Numbers:
    """Squared distances from the mean, from sums of targets and of their squares, [K]."""
    spread: Numbers = np.maximum(second - np.square(first) / count, 0.0)
    spread[spread <= 1e-14 * second] = 0.0  # rounding of targets that are all equal
    return spread


def error_metrics_of_members(
    count: int, squares: Numbers, absolutes: Numbers, spread: Numbers, unit: Numbers
) -> list[dict[str, float]]:
    """The metrics of several models on the same `count` examples, at once; in `unit`s of the sums given.

    Args:
        squares, absolutes: [F, K], of each model's errors; `spread` [K] and `unit` [K] are the target's.
    """
    scaled = (squares * unit**2, absolutes * unit, spread * unit**2)
    return _metrics_of_scaled(count, *scaled, scale=unit)


def metrics_from_sums(
    count: int, squares: Numbers, absolutes: Numbers, spread: Numbers, *, scale: Numbers
) -> dict[str, float]:
    """The metrics of `count` examples, averaged over outputs; `loss` in units of `scale`.

    `r2` is 1 - squares / spread (scikit-learn's, averaged uniformly), left out where no output varies.
    """
    return _metrics_of_scaled(count, squares[None], absolutes[None], spread, scale=scale)[0]


def _metrics_of_scaled(
    count: int, squares: Numbers, absolutes: Numbers, spread: Numbers, *, scale: Numbers
) -> list[dict[str, float]]:
    mse = (squares.mean(axis=1) / count).tolist()
    mae = (absolutes.mean(axis=1) / count).tolist()
    loss = ((squares / np.square(scale)).mean(axis=1) / count).tolist()
    varies = spread > 0
    r2: list[float | None] = [None] * len(mse)
    if count > 1 and varies.any():
        r2 = (1 - squares.compress(varies, axis=1) / spread[varies]).mean(axis=1).tolist()
    return [
        {"mse": m, "rmse": math.sqrt(m), "mae": a, **({} if r is None else {"r2": r}), "loss": own}
        for m, a, r, own in zip(mse, mae, r2, loss, strict=True)
    ]


def _valid_columns(values: Array) -> npt.NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    columns = numbers.reshape(len(numbers), math.prod(numbers.shape[1:]))
    kept: npt.NDArray[np.float64] = columns[~np.isnan(columns).any(axis=1)]
    return kept
