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
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from trainers.data.dataset import Dataset, Kind
from trainers.errors import InputError
from trainers.family import Family
from trainers.hyperparameters import Hyperparameter, flag, whole, widths, word
from trainers.inputs.clips import OF_GRIDS, GridOptions, grids_from_user, write_grids
from trainers.inputs.images import augment_images
from trainers.inputs.targets import output_size, write_target
from trainers.types import Array, ArrayWriter, Batch, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch


class ImageCNNOptions(GridOptions):
    """Fixed structure of an image CNN.

    Attributes:
        encoder: a model whose convolution blocks this one starts from: the folder of a bundle (of an
            `autoencoder`, say), which then decides the blocks' hyper-parameters, or a file of weights.
        encoder_sha256: what the manifest of that folder must hash to.
    """

    encoder: str | None = None
    encoder_sha256: str | None = None


class ImageCNN(Family):
    """Classification (or regression) of images and of clips' spectrograms by convolution and pooling."""

    name = "image_cnn"
    summary = "convolution blocks with pooling, then dense layers"
    kinds = ("image", "audio")
    tasks = ("classification", "regression")
    stackable = True
    Options = ImageCNNOptions
    uses = ("activation", "pooling", "dropout")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "channels": widths([32, 64], "of each block, one block each"),
        "kernel": whole(3, "side of the convolutions"),
        "padding": word("same", ("same", "valid"), "valid: none, so that sides shrink"),
        "dense": widths([128], "widths of hidden layers before the outputs"),
        "batch_norm": flag(False, "after each convolution"),
    }
    reads_only: ClassVar[Mapping[str, tuple[Kind, ...]]] = OF_GRIDS
    presets: ClassVar[Mapping[str, Params]] = {
        "cifar": {"channels": [32, 64], "kernel": 3, "padding": "same", "pooling": "max", "dense": [128]},
        "mnist": {"channels": [32], "kernel": 3, "padding": "valid", "pooling": "max", "dense": [128]},
    }

    options: ImageCNNOptions

    def __init__(self, options: Params | None = None) -> None:
        """Checks the options; takes the structure of an encoder that is named."""
        super().__init__(options)
        if self.options.encoder is None:
            return
        from trainers.pretrained.weights import encoder_structure

        found = encoder_structure(Path(self.options.encoder), self.options.encoder_sha256)
        for name, value in found.items():
            if self._defaults.get(name, value) != value:
                raise InputError(
                    f"{name} must be the encoder's", f"{self._defaults[name]!r}, and it has {value!r}",
                    f"leave {name} out", key=("options", name),
                )  # fmt: skip
        self._defaults |= found
        self.decided = frozenset(found)

    def start(self, module: torch.nn.Module) -> None:
        """As `Family.start`, the encoder's blocks first."""
        if self.options.encoder is not None:
            from trainers.pretrained.weights import load_encoder

            load_encoder(module, Path(self.options.encoder), self.options.encoder_sha256)
        super().start(module)

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`inputs`: bytes, uint8 [N, H, W, C]; `target`."""
        return {**write_grids(dataset, self.options, writer), **write_target(dataset, writer)}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes uint8 [B, H, W, C] and gives [B, classes], or [B, 1] in regression."""
        from torch import nn

        from trainers.modules.layers import ConvShape, Pixels, channels_last, conv_blocks, dense_layers

        height, width, inputs = state["shape"]
        names = ("kernel", "padding", "activation", "pooling", "batch_norm")
        shape = ConvShape(**{name: params[name] for name in names})
        blocks, numbers = conv_blocks([inputs, *params["channels"]], (height, width), shape)
        sizes = [numbers, *params["dense"], output_size(state)]
        head = dense_layers(sizes, activation=params["activation"], dropout=params["dropout"])
        pixels_in = Pixels(state["mean"], state["std"])
        parts = OrderedDict(pixels=pixels_in, blocks=blocks, flat=nn.Flatten(), head=head)
        return channels_last(nn.Sequential(parts))

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """As `trainers.data.augment` does it, which takes channels first."""
        return augment_images(batch, params, generator)

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Images of the column `image`: arrays, nested lists, paths, encoded bytes or PIL images; or clips
        of the column `audio`: paths or encoded bytes."""
        return grids_from_user(rows, state)
