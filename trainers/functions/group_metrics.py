"""What people's own code scores in each group of the sensitive columns, from its answers alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from trainers.data.batches import GROUPS
from trainers.data.dataset import Dataset
from trainers.errors import TrialError
from trainers.tasks.classification import accuracies_by_group
from trainers.tasks.group_sums import GroupSums
from trainers.tasks.regression import errors_by_group

_HINT = "give one answer for each of trial.data.splits['validation'], in that order"


def compute_group_metrics(dataset: Dataset | None, answers: Iterable[object]) -> dict[str, float]:
    """Metrics of the validation rows by their groups, under the names that a family of Velodrome's reports.

    Args:
        answers: one a validation row, in the split's order: classes by name, or by place in
            `dataset.classes`; for numbers the predictions in the target's own units.
    """
    if dataset is None or dataset.target is None:
        raise TrialError("metrics by groups need the sweep's own data", "data: none, or no target")
    if not dataset.groups:
        return {}
    rows = dataset.splits["validation"]
    given = np.asarray(getattr(answers, "tolist", lambda: list(answers))())
    if given.shape != (len(rows),):
        raise TrialError("answers must be one a validation row", f"{given.shape} for {len(rows)} rows", _HINT)
    if dataset.task == "classification":
        names = np.array([str(dataset.target.values[row]) for row in rows])
        return _sum_groups(dataset, rows, [_name_classes(dataset, given) == names])
    if given.dtype.kind not in "fiu":
        raise TrialError("answers must be numbers where numbers are learned", f"{given[0]!r}")
    target = np.asarray(dataset.target.values, dtype=np.float64)[rows]
    errors = given.astype(np.float64) - target
    return _sum_groups(dataset, rows, [np.abs(errors), np.square(errors)])


def _name_classes(dataset: Dataset, given: npt.NDArray[np.generic]) -> npt.NDArray[np.str_]:
    """The class of each answer by its name."""
    classes = np.array(dataset.classes)
    if given.dtype.kind in "iu":
        if len(given) and not (int(given.min()) >= 0 and int(given.max()) < len(classes)):
            found = f"{int(given.min())} to {int(given.max())}, and {len(classes)} classes"
            raise TrialError(
                "whole numbers must be places in trial.data.classes", found, "give names instead"
            )
        return classes[given.astype(np.int64)]
    unknown = sorted({str(name) for name in given} - set(dataset.classes))
    if unknown:
        must = "answers must be classes, by name or by place in trial.data.classes"
        raise TrialError(must, f"{unknown[0]!r} among {', '.join(map(repr, dataset.classes[:10]))}", _HINT)
    return given.astype(np.str_)


def _sum_groups(
    dataset: Dataset, rows: npt.NDArray[np.int64], scores: Sequence[npt.NDArray[np.generic]]
) -> dict[str, float]:
    import torch

    codes = np.stack([column.codes[rows] for column in dataset.groups.values()], axis=1)
    sums = GroupSums({name: column.names for name, column in dataset.groups.items()}, len(scores), "cpu")
    sums.add(torch.from_numpy(np.stack(scores).astype(np.float64)), {GROUPS: torch.from_numpy(codes)})
    found = (accuracies_by_group if dataset.task == "classification" else errors_by_group)(sums)
    return {f"val/{name}": value for name, value in found.items()}
