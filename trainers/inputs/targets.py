"""What a model learns to give back: a data set's target as an array, and what undoes its scaling."""

from __future__ import annotations

import numpy as np

from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.types import ArrayWriter, State


def write_target(dataset: Dataset, writer: ArrayWriter) -> State:
    """Writes `target` and returns the part of a family's state that `trainers.tasks.rules_for` reads.

    Classification: class indices, int64 [N], -1 where missing; `classes`. Regression: float32 [N], scaled to
    mean 0 and deviation 1 on the training split; `target_mean`, `target_std` (1 for a constant).

    Raises:
        InputError: there is no target, or fewer than two classes.
    """
    if dataset.target is None:
        raise InputError(
            "learning needs a target", f"none in {dataset.source}", "name it under data.columns.target"
        )
    if dataset.task == "classification":
        return _write_classes(dataset, writer)
    values = np.asarray(dataset.target.values, dtype=np.float64)
    trained = values[dataset.splits["train"]]
    mean, std = float(np.nanmean(trained)), float(np.nanstd(trained))
    std = std if std > 1e-12 * max(1.0, abs(mean)) else 1.0
    writer.put("target", ((values - mean) / std).astype(np.float32))
    return {"task": "regression", "target_mean": mean, "target_std": std}


def _write_classes(dataset: Dataset, writer: ArrayWriter) -> State:
    if len(dataset.classes) < 2:
        raise InputError(
            "classification needs at least two classes", f"{list(dataset.classes)} in {dataset.source}"
        )
    writer.put("target", dataset.labels())
    return {"task": "classification", "classes": list(dataset.classes)}


def output_size(state: State) -> int:
    """Numbers that a model gives for one example: one a class, or one."""
    return len(state.get("classes", ())) or 1
