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
from typing import TYPE_CHECKING, Any, ClassVar

from trainers.dataset import Dataset
from trainers.family import Array, ArrayWriter, Batch, Family, Params, State
from trainers.hyperparameters import Hyperparameter
from trainers.image_inputs import ImageOptions, augment_images, images_from_user, write_images
from trainers.targets import output_size, write_target

if TYPE_CHECKING:
    import pandas as pd
    import torch


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
        return {**write_images(dataset, self.options, writer), **write_target(dataset, writer)}

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
        return augment_images(batch, params, generator)

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Images of the column `image`: arrays, nested lists, paths, encoded bytes or PIL images."""
        return images_from_user(rows, state)
