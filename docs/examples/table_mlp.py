"""A family of one's own: a small multi-layer perceptron that classifies the rows of a table.

Shapes (B rows, F numbers, K categories, H hidden units, C classes):

    numbers [B, F], ids [B, K] → linear [B, H] → activation → dropout → linear [B, C]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from trainers.hyperparameters import Hyperparameter
from velodrome import Family

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.data.dataset import Dataset
    from trainers.types import Array, ArrayWriter, Params, State


class TableMLP(Family):
    """One hidden layer over scaled numbers and embedded categories."""

    summary = "one hidden layer over a table's columns"
    kinds = ("table",)
    tasks = ("classification",)
    uses = ("activation", "dropout")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "hidden": Hyperparameter(default=32, types=(int,), low=1, doc="units of the hidden layer"),
    }

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """Writes `numbers` [N, F], `categories` [N, K] and `target` [N]; all is fitted on train alone."""
        from trainers.data.prepare import fit_table
        from trainers.data.tables import write_table
        from trainers.inputs.targets import write_target

        table = fit_table(dataset)
        write_table(dataset, table, writer)
        return {"table": table, **write_target(dataset, writer)}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """A fresh module."""
        from torch import nn

        from trainers.modules.layers import ACTIVATIONS, TableLinear

        class Module(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                table = state["table"]
                self.first = TableLinear(table["inputs"], table["cardinalities"], params["hidden"])
                self.between = nn.Sequential(
                    ACTIVATIONS[params["activation"]](), nn.Dropout(params["dropout"])
                )
                self.last = nn.Linear(params["hidden"], len(state["classes"]))

            def forward(self, numbers: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
                return self.last(self.between(self.first(numbers, ids)))

        return Module()

    def outputs(self, module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits [B, C]."""
        return module(batch["numbers"], batch["categories"])

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Rows of the table as they are in a file, as arrays."""
        from trainers.data.tables import apply_table

        numbers, categories = apply_table(state["table"], rows)
        return {"numbers": numbers, "categories": categories}
