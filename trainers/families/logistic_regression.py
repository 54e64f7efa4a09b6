"""One linear layer whose outputs are the logits of the classes.

D. R. Cox, "The Regression Analysis of Binary Sequences", J. R. Stat. Soc. B 20, 1958; for more classes its
multinomial form: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", section 4.4.

Shapes (B rows, F numbers, K categories, C classes):

    numbers [B, F], ids [B, K] → W x + b + the sum of one learned row a category's value → logits [B, C]
    P(class c | x) = exp(logit c) / sum of exp(logits); loss = mean of w_c * -log P(the row's class)

`weight_decay` is its usual L2 penalty, `l1` the one that sets weights to zero. Two classes have two rows of
weights, of which only the difference counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from trainers.families.table_family import TableFamily, TableOptions
from trainers.hyperparameters import TRAINING, Hyperparameter
from trainers.types import Params, State

if TYPE_CHECKING:
    import torch


class LogisticRegression(TableFamily):
    """Linear classification of a table's rows."""

    name = "logistic_regression"
    summary = "one linear layer, cross-entropy"
    tasks = ("classification",)
    Options = TableOptions
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "learning_rate": replace(TRAINING["learning_rate"], default=1e-2)
    }
    stackable = True

    options: TableOptions

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes numbers and ids and gives logits [B, C]."""
        from trainers.modules.layers import TableLinear

        table = state["table"]
        return TableLinear(table["inputs"], table["cardinalities"], len(state["classes"]))
