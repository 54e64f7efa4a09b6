"""Reconstruction: how far an output is from the input that it was made of.

Shape legend: B examples of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainers.errors import NotFinite
from trainers.metric_names import PER_TASK
from trainers.tasks.outputs import output_tensor
from trainers.tasks.summed_metrics import SummedMetrics

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import Array, Outputs, Params, State


def reconstruction_target(batch: Mapping[str, torch.Tensor], unit: float) -> torch.Tensor:
    """What was to be given back: `target`, or the inputs where there is none, in units of the outputs."""
    wanted = batch["target"] if "target" in batch else batch["inputs"]
    return wanted.float() / unit if unit != 1.0 else wanted


class Reconstruction:
    """The rules of one state.

    `unit` is what inputs are divided by to be compared with outputs (255 for bytes of images); `features`
    names the columns of a table's rows, and `shift` and `factor`, a number each, are how they were scaled:
    (value - shift) x factor.
    """

    metrics = PER_TASK["reconstruction"]

    def __init__(self, state: State) -> None:
        self._features: Sequence[str] = state.get("features", ())
        self.unit = float(state.get("unit", 1.0))
        self._shift = np.asarray(state.get("shift", 0.0), np.float64)
        self._factor = np.asarray(state.get("factor", 1.0), np.float64)

    def loss(self, outputs: Outputs, batch: Mapping[str, torch.Tensor], params: Params) -> torch.Tensor:
        """Mean squared error to `batch["target"]`, or to `batch["inputs"]` where there is no target."""
        import torch

        made = output_tensor(outputs, "reconstruction")
        wanted = reconstruction_target(batch, self.unit)
        return torch.nn.functional.mse_loss(made, wanted.reshape(made.shape).to(made.dtype))

    def metric_set(self, device: torch.device | str, *, scores: bool = True) -> ReconstructionMetrics:
        """An empty set."""
        return ReconstructionMetrics(device, self.unit)

    def to_user(self, outputs: Outputs) -> pd.DataFrame:
        """The table's columns again, in their own units, where the state names them; else a column
        `reconstruction` of nested lists, whole numbers from 0 to 255 for images."""
        import pandas as pd

        made = output_tensor(outputs, "reconstruction").detach().float().cpu().numpy()
        if self._features and made.ndim == 2 and made.shape[1] == len(self._features):
            return pd.DataFrame(made / self._factor + self._shift, columns=list(self._features))
        if self.unit != 1.0:
            made = np.clip(np.round(made * self.unit), 0, self.unit).astype(np.int64)
        return pd.DataFrame({"reconstruction": [row.tolist() for row in made]})

    def trivial(self, train: Array, validation: Array) -> dict[str, float]:
        """Always the mean of `train`."""
        if not len(train) or not len(validation):
            return {}
        guess = np.asarray(train, dtype=np.float64).mean(axis=0)
        mse = float(np.square(np.asarray(validation, dtype=np.float64) - guess).mean())
        return {"mse": mse, "loss": mse}


class ReconstructionMetrics(SummedMetrics):
    """The summed squared error in float64, on the device."""

    def __init__(self, device: torch.device | str, unit: float = 1.0) -> None:
        import torch

        self._unit = unit
        self._squares = torch.zeros((), dtype=torch.float64, device=device)
        self._count = torch.zeros((), dtype=torch.int64, device=device)

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds outputs and their originals, [B, …]."""
        made = output_tensor(outputs, "reconstruction").detach().double()
        self._squares += (
            (made - reconstruction_target(batch, self._unit).reshape(made.shape).double()).square().sum()
        )
        self._count += made.numel()

    def compute(self) -> dict[str, float]:
        """As `MetricSet.compute`."""
        if not int(self._count):
            return {}
        mse = float(self._squares) / int(self._count)
        if not math.isfinite(mse):
            raise NotFinite("outputs must be finite numbers", f"a squared error of {mse}")
        return {"mse": mse, "loss": mse}

    def sums(self) -> list[torch.Tensor]:
        """As `MetricSet.sums`."""
        return [self._squares, self._count]
