"""What families that read tables have in common: their arrays, and weights for classes.

Shape legend: N rows, F numbers, K categories a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainers.data.dataset import Dataset, Kind
from trainers.errors import InputError
from trainers.family import Family
from trainers.inputs.targets import write_target
from trainers.options import Options
from trainers.types import Array, ArrayWriter, Batch, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TableOptions(Options):
    """Fixed structure of a classifier of tables.

    Attributes:
        class_weights: what an error counts, by class: `balanced` (each class as much as every other), or a
            mapping from classes to numbers, 1 for those that it leaves out. Training alone uses it: metrics
            count every row once.
    """

    class_weights: Literal["balanced"] | Mapping[str, Weight] | None = None


class TableFamily(Family):
    """A family that reads `numbers` and `categories` of a table's rows."""

    kinds: ClassVar[tuple[Kind, ...]] = ("table",)

    def check(self, dataset: Dataset) -> None:
        """As `Family.check`; class weights need classes.

        Raises:
            InputError: what does not fit.
        """
        super().check(dataset)
        weighted = getattr(self.options, "class_weights", None) is not None
        if weighted and dataset.task != "classification":
            raise InputError(
                "class_weights must stand beside classification", f"task {dataset.task}", "leave them out",
                key=("options", "class_weights"),
            )  # fmt: skip

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`numbers` float32 [N, F], `categories` int64 [N, K], and `target` as `write_target` does it."""
        from trainers.data.prepare import fit_table
        from trainers.data.tables import write_table

        table = fit_table(dataset)
        write_table(dataset, table, writer)
        return {"table": table, **self.encode_target(dataset, writer)}

    def encode_target(self, dataset: Dataset, writer: ArrayWriter) -> State:
        """As `write_target`, with the classes' weights where there are any, and metrics by class."""
        state = write_target(dataset, writer)
        if dataset.task != "classification":
            return state
        weights = class_weights(dataset, getattr(self.options, "class_weights", None))
        return {**state, "per_class": True, **({} if weights is None else {"class_weights": weights})}

    def outputs(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """What the module makes of numbers and ids."""
        found: torch.Tensor = module(batch["numbers"], batch["categories"])
        return found

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Rows of the table, by the columns' names; missing values and new categories are allowed."""
        from trainers.data.tables import apply_table

        numbers, categories = apply_table(state["table"], rows)
        return {"numbers": numbers, "categories": categories}


def class_weights(dataset: Dataset, given: str | Mapping[str, float] | None) -> list[float] | None:
    """One number a class, whose mean over the training split is 1, so that the loss keeps its scale.

    `balanced` is N / (classes x rows of the class) (King and Zeng, "Logistic Regression in Rare Events
    Data", Political Analysis 9, 2001), over the training split; a class without rows there gets 1.
    """
    if given is None:
        return None
    labels = dataset.labels()[dataset.splits["train"]]
    counts = np.bincount(labels[labels >= 0], minlength=len(dataset.classes))
    if isinstance(given, str):
        seen = np.maximum(counts, 1)
        weights = np.where(counts > 0, counts.sum() / ((counts > 0).sum() * seen), 1.0)
        return [float(weight) for weight in weights]
    for name in given:
        if name not in dataset.classes:
            known = ", ".join(dataset.classes[:20])
            raise InputError(
                "class_weights must name classes of the data", repr(name), f"there are {known}",
                key=("options", "class_weights", name),
            )  # fmt: skip
    weights = np.array([float(given.get(name, 1.0)) for name in dataset.classes])
    mean = float((weights * counts).sum() / max(1, counts.sum()))
    return [float(weight) / mean for weight in weights]
