"""Dense layers over a table's numbers and embedded categories, or over the pixels of an image.

D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by back-propagating errors",
Nature 323, 1986; a vector a category's value as in C. Guo and F. Berkhahn, "Entity Embeddings of Categorical
Variables" (arXiv 1604.06737).

Shapes (B rows, F numbers, K categories, E numbers a category, H hidden units, C outputs):

    numbers [B, F], ids [B, K] → vectors [B, K, E] → side by side [B, F + K E]
    (images: bytes [B, H', W, channels] → (x / 255 - mean) / std → flat [B, F])
    → linear, batch norm if asked for, f, dropout [B, H] → … → linear [B, C]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from trainers.data.dataset import Dataset, Kind
from trainers.families.table_family import TableFamily, TableOptions
from trainers.hyperparameters import Hyperparameter, flag, whole, widths
from trainers.inputs.images import OF_IMAGES, ImageOptions, augment_images, images_from_user, write_images
from trainers.inputs.targets import output_size
from trainers.types import Array, ArrayWriter, Batch, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch


class MLPOptions(TableOptions, ImageOptions):
    """Fixed structure: `class_weights`, and `size`, `color` and `fit` of images."""


class MLP(TableFamily):
    """Classification or regression of a table's rows, or of images, by dense layers."""

    name = "mlp"
    summary = "dense layers over numbers and embedded categories, or over pixels"
    kinds = ("table", "image")
    tasks = ("classification", "regression")
    stackable = True
    Options = MLPOptions
    uses = ("activation", "dropout")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "hidden": widths([64], "widths of the hidden layers, in order"),
        "embedding": whole(8, "numbers a category's value"),
        "batch_norm": flag(False, "after each hidden linear layer"),
    }
    reads_only: ClassVar[Mapping[str, tuple[Kind, ...]]] = {"embedding": ("table",), **OF_IMAGES}

    options: MLPOptions

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """As `TableFamily`; of images `inputs`: bytes, uint8 [N, H, W, C]."""
        if dataset.kind == "table":
            return super().encode(dataset, params, writer)
        return {**write_images(dataset, self.options, writer), **self.encode_target(dataset, writer)}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes numbers and ids and gives [B, C], or [B, 1] in regression."""
        from trainers.modules.layers import PixelVectors, RowModel, TableVectors, dense_layers

        rows: PixelVectors | TableVectors
        if "shape" in state:
            rows = PixelVectors(state["shape"], state["mean"], state["std"])
        else:
            table = state["table"]
            rows = TableVectors(table["inputs"], table["cardinalities"], params["embedding"])
        head = dense_layers(
            [rows.outputs, *params["hidden"], output_size(state)],
            activation=params["activation"],
            dropout=params["dropout"],
            batch_norm=params["batch_norm"],
        )
        return RowModel(rows, head)

    def outputs(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Logits [B, C], or scaled predictions [B, 1]."""
        found: torch.Tensor = module(batch["inputs"]) if "inputs" in batch else super().outputs(module, batch)
        return found

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Changes of images."""
        if "inputs" in batch:
            return augment_images(batch, params, generator)
        return super().augment(batch, params, generator)

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Rows of the table, or images of the column `image`."""
        return images_from_user(rows, state) if "shape" in state else super().from_user(rows, state)
