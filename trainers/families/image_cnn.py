"""Convolution blocks with pooling, then dense layers.

Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86, 1998, with the
choices of today (ReLU, max pooling, dropout).

Shapes (B images, C channels, H x W pixels, K outputs), with two blocks of `same` padding:

    bytes [B, H, W, C] → (x / 255 - mean) / std → 3x3 convolution, f, pooling by two [B, 32, H/2, W/2]
    → the same again [B, 64, H/4, W/4] → flat → linear, f, dropout [B, 128] → linear [B, K]

Mean and deviation of each channel are the training split's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainers.dataset import Column, Dataset
from trainers.errors import InputError
from trainers.family import Array, ArrayWriter, Batch, Family, Options, Params, State, first_missing
from trainers.hyperparameters import Hyperparameter
from trainers.targets import output_size, write_target

if TYPE_CHECKING:
    import pandas as pd
    import torch

CHUNK_VALUES = 1 << 18  # looked at together, eight bytes each
LOOK_ROWS = 256  # images whose headers are read to see whether all have one size
DEFAULT_SIZE = (64, 64)


Side = Annotated[int, Field(ge=1, le=4096)]


class ImageOptions(Options):
    """Fixed structure of an image CNN.

    Attributes:
        size: height and width that images are brought to; by default theirs, or 64 x 64 where they differ.
        color: `gray` or `rgb`; by default as the images are.
        fit: `crop` scales the shorter side and cuts the middle out, `stretch` scales both.
    """

    size: tuple[Side, Side] | None = None
    color: Literal["gray", "rgb"] | None = None
    fit: Literal["crop", "stretch"] = "crop"


class ImageCNN(Family):
    """Image classification (or regression) by blocks of convolution and pooling."""

    name = "image_cnn"
    summary = "convolution blocks with pooling, then dense layers"
    kinds = ("image",)
    tasks = ("classification", "regression")
    Options = ImageOptions
    uses = ("activation", "pooling", "dropout")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "channels": Hyperparameter(
            default=[32, 64],
            types=(list,),
            of=(int,),
            low=1,
            doc="of each block, one block each",
        ),
        "kernel": Hyperparameter(default=3, types=(int,), low=1, doc="side of the convolutions"),
        "padding": Hyperparameter(
            default="same", types=(str,), choices=("same", "valid"), doc="valid: none, so that sides shrink"
        ),
        "dense": Hyperparameter(
            default=[128], types=(list,), of=(int,), low=1, doc="widths of hidden layers before the outputs"
        ),
        "batch_norm": Hyperparameter(default=False, types=(bool,), doc="after each convolution"),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cifar": {"channels": [32, 64], "kernel": 3, "padding": "same", "pooling": "max", "dense": [128]},
        "mnist": {"channels": [32], "kernel": 3, "padding": "valid", "pooling": "max", "dense": [128]},
    }

    options: ImageOptions

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`inputs`: bytes, uint8 [N, H, W, C]; `target`."""
        from trainers.data.images import decode

        column, train = dataset.columns["image"], dataset.splits["train"]
        height, width, channels = self._shape(column, train)
        size, fit = (height, width), self.options.fit
        inputs = decode(column, writer, "inputs", size=size, channels=channels, fit=fit)
        mean, std = channel_moments(inputs, train)
        shape = [height, width, channels]
        return {"shape": shape, "fit": fit, "mean": mean, "std": std, **write_target(dataset, writer)}

    def _shape(self, column: Column, train: Array) -> tuple[int, int, int]:
        from trainers.data.images import sizes_of

        seen = sizes_of(column, train[:LOOK_ROWS].tolist())
        sides = {(height, width) for height, width, _ in seen}
        height, width = self.options.size or (sides.pop() if len(sides) == 1 else DEFAULT_SIZE)
        colors = {"gray": 1, "rgb": 3, None: max(channels for _, _, channels in seen)}
        return height, width, colors[self.options.color]

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes uint8 [B, H, W, C] and gives [B, classes], or [B, 1] in regression."""
        from torch import nn

        from trainers.layers import BlockShape, Pixels, channels_last, conv_blocks, dense

        height, width, inputs = state["shape"]
        names = ("kernel", "padding", "activation", "pooling", "batch_norm")
        shape = BlockShape(**{name: params[name] for name in names})
        blocks, numbers = conv_blocks([inputs, *params["channels"]], (height, width), shape)
        sizes = [numbers, *params["dense"], output_size(state)]
        head = dense(sizes, activation=params["activation"], dropout=params["dropout"])
        pixels_in = Pixels(state["mean"], state["std"])
        parts = OrderedDict(pixels=pixels_in, blocks=blocks, flat=nn.Flatten(), head=head)
        return channels_last(nn.Sequential(parts))

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """As `trainers.augment` does it, which takes channels first."""
        from trainers.augment import augment_batch

        first = {**batch, "inputs": batch["inputs"].permute(0, 3, 1, 2)}
        changed = augment_batch(first, params["augment"], generator)
        return {**changed, "inputs": changed["inputs"].permute(0, 2, 3, 1)}

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Images of the column `image`: arrays, nested lists, paths, encoded bytes or PIL images."""
        from trainers.data.images import from_user

        if first_missing(rows, ["image"]):
            raise InputError("rows must have a column image", f"columns {list(rows.columns)}")
        height, width, channels = state["shape"]
        size = (height, width)
        return {"inputs": from_user(rows["image"], size=size, channels=channels, fit=state["fit"])}


def channel_moments(images: Array, rows: Array) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel over some rows of uint8 [N, H, W, C], in units of white (255).

    A channel that never varies has the deviation 1. Counted in whole numbers, so chunks play no part.
    """
    first = second = np.zeros(images.shape[3], dtype=np.int64)
    together = max(1, CHUNK_VALUES // max(1, images[0].size))
    for start in range(0, len(rows), together):
        values = images[rows[start : start + together]].astype(np.int64)
        first = first + values.sum(axis=(0, 1, 2))
        second = second + np.square(values).sum(axis=(0, 1, 2))
    count = max(1, len(rows) * images.shape[1] * images.shape[2])
    mean = first / count / 255
    std = np.sqrt(np.maximum(second / count / 255**2 - np.square(mean), 0.0))
    return mean.tolist(), np.where(std > 1e-6, std, 1.0).tolist()
