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
from typing import TYPE_CHECKING, ClassVar

from trainers.families.table_family import TableFamily
from trainers.hyperparameters import TRAINING, Hyperparameter
from trainers.types import Params, State

if TYPE_CHECKING:
    import torch


class LinearRegression(TableFamily):
    """Linear regression on a table."""

    name = "linear_regression"
    summary = "one linear layer, mean squared error"
    tasks = ("regression",)
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "learning_rate": replace(TRAINING["learning_rate"], default=1e-2)
    }
    presets: ClassVar[Mapping[str, Params]] = {
        "line": {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 16}
    }
    stackable = True

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes numbers and ids and gives [B, 1]."""
        from trainers.modules.layers import TableLinear

        table = state["table"]
        return TableLinear(table["inputs"], table["cardinalities"], 1)
