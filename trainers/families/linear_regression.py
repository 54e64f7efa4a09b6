"""One linear layer, fitted to the least squared error by gradient descent.

A. M. Legendre 1805; see Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", section 3.2.

Shapes (B rows, F numbers, K categories):

    numbers [B, F], ids [B, K] → W x + b + the sum of one learned number a category's value → [B, 1]
    loss = mean of (prediction - target)^2

Numbers and target are scaled on the training split (`data.prepare`), so that one learning rate suits every
table; the metrics, and what `predict` gives, are in the target's own units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from trainers.dataset import Dataset
from trainers.family import Array, ArrayWriter, Batch, Family, Params, State
from trainers.hyperparameters import TRAINING, Hyperparameter
from trainers.targets import write_target

if TYPE_CHECKING:
    import pandas as pd
    import torch


class LinearRegression(Family):
    """Linear regression on a table."""

    name = "linear_regression"
    summary = "one linear layer, mean squared error"
    kinds = ("table",)
    tasks = ("regression",)
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "learning_rate": replace(TRAINING["learning_rate"], default=1e-2),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "line": {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 16},
    }
    stackable = True

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`numbers` float32 [N, F], `categories` int64 [N, K], `target` float32 [N]."""
        from trainers.data.prepare import fit_table
        from trainers.data.tables import write_table

        table = fit_table(dataset)
        write_table(dataset, table, writer)
        return {"table": table, **write_target(dataset, writer)}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes numbers and ids and gives [B, 1]."""
        from trainers.layers import TableLinear

        table = state["table"]
        return TableLinear(table["inputs"], table["cardinalities"], 1)

    def outputs(self, module: torch.nn.Module, batch: Batch) -> Any:
        """Scaled predictions [B, 1]."""
        return module(batch["numbers"], batch["categories"])

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Rows of the table, by the columns' names; missing values and new categories are allowed."""
        from trainers.data.tables import apply_table

        numbers, categories = apply_table(state["table"], rows)
        return {"numbers": numbers, "categories": categories}
