"""Dense layers over a table's numbers and embedded categories.

D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by back-propagating errors",
Nature 323, 1986; a vector a category's value as in C. Guo and F. Berkhahn, "Entity Embeddings of Categorical
Variables" (arXiv 1604.06737).

Shapes (B rows, F numbers, K categories, E numbers a category, H hidden units, C outputs):

    numbers [B, F], ids [B, K] → vectors [B, K, E] → side by side [B, F + K E]
    → linear, batch norm if asked for, f, dropout [B, H] → … → linear [B, C]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from trainers.family import Params, State
from trainers.hyperparameters import Hyperparameter
from trainers.table_family import TableFamily, TableOptions
from trainers.targets import output_size

if TYPE_CHECKING:
    import torch


class MLP(TableFamily):
    """Classification or regression of a table's rows by dense layers."""

    name = "mlp"
    summary = "dense layers over numbers and embedded categories"
    tasks = ("classification", "regression")
    Options = TableOptions
    uses = ("activation", "dropout")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "hidden": Hyperparameter(
            default=[64], types=(list,), of=(int,), low=1, doc="widths of the hidden layers, in order"
        ),
        "embedding": Hyperparameter(default=8, types=(int,), low=1, doc="numbers a category's value"),
        "batch_norm": Hyperparameter(default=False, types=(bool,), doc="after each hidden linear layer"),
    }

    options: TableOptions

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes numbers and ids and gives [B, C], or [B, 1] in regression."""
        from torch import nn

        from trainers.layers import TableVectors, dense

        table = state["table"]
        rows = TableVectors(table["inputs"], table["cardinalities"], params["embedding"])
        head = dense(
            [rows.outputs, *params["hidden"], output_size(state)],
            activation=params["activation"],
            dropout=params["dropout"],
            batch_norm=params["batch_norm"],
        )

        class Module(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.rows = rows
                self.head = head

            def forward(self, x_BF: torch.Tensor, ids_BK: torch.Tensor) -> torch.Tensor:
                answer: torch.Tensor = self.head(self.rows(x_BF, ids_BK))
                return answer

        return Module()
