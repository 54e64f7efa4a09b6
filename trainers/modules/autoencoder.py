"""The two halves of an autoencoder. Imports torch: import it where a module is built.

Shape legend: B examples, C channels, H height, W width, F numbers of a row, Z numbers of the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from trainers.modules.layers import ACTIVATIONS, ConvShape, Pixels, conv_blocks, dense_layers


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvBlocks:
    """Blocks of convolution and pooling: their channels, and what they have in common."""

    channels: tuple[int, ...]
    shape: ConvShape


class TableAutoencoder(nn.Module):
    """Dense layers to the code and back: floats [B, F] → [B, F]."""

    def __init__(
        self, inputs: int, *, code: int, dense: Sequence[int], activation: str, dropout: float
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = _dense_halves(inputs, code, dense, activation, dropout)

    def forward(self, x_BF: Tensor) -> Tensor:
        made: Tensor = self.decoder(self.encoder(x_BF))
        return made


class ImageAutoencoder(nn.Module):
    """Bytes of images [B, H, W, C] → shares of white, as many; through blocks of convolution or without."""

    def __init__(
        self,
        shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        blocks: ConvBlocks | None,
        *,
        code: int,
        dense: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        height, width, channels = shape
        self.pixels = Pixels(mean, std)
        numbers, inner = channels * height * width, (channels, height, width)
        self.blocks, self.unblocks = nn.Sequential(), nn.Sequential()
        if blocks is not None:
            depths = [channels, *blocks.channels]
            self.blocks, numbers = conv_blocks(depths, (height, width), blocks.shape)
            sizes = _block_sizes((height, width), blocks)
            inner = (depths[-1], *sizes[-1])
            self.unblocks = _upsampling_blocks(depths, sizes, blocks.shape)
        self.encoder, decoder = _dense_halves(numbers, code, dense, activation, dropout)
        last = [ACTIVATIONS[activation]()] if blocks is not None else []
        self.decoder = nn.Sequential(decoder, *last, nn.Unflatten(1, inner))

    def forward(self, x_BHWC: Tensor) -> Tensor:
        code_BZ = self.encoder(self.blocks(self.pixels(x_BHWC)).flatten(1))
        made_BCHW: Tensor = self.unblocks(self.decoder(code_BZ))
        return made_BCHW.sigmoid().permute(0, 2, 3, 1)


def _dense_halves(
    numbers: int, code: int, hidden: Sequence[int], activation: str, dropout: float
) -> tuple[nn.Sequential, nn.Sequential]:
    encoder = dense_layers([numbers, *hidden, code], activation=activation, dropout=dropout)
    decoder = dense_layers([code, *reversed(hidden), numbers], activation=activation, dropout=dropout)
    return encoder, decoder


def _block_sizes(size: tuple[int, int], blocks: ConvBlocks) -> list[tuple[int, int]]:
    """Height and width before each block, and after the last."""
    lost = blocks.shape.kernel - 1 if blocks.shape.padding == "valid" else 0
    sizes = [size]
    for _ in blocks.channels:
        sizes.append(((sizes[-1][0] - lost) // 2, (sizes[-1][1] - lost) // 2))
    return sizes


def _upsampling_blocks(
    depths: Sequence[int], sizes: Sequence[tuple[int, int]], shape: ConvShape
) -> nn.Sequential:
    """The blocks in turn: made as large as each block's input was, then a convolution of the same size."""
    layers = nn.Sequential()
    steps = list(zip(pairwise(depths), sizes, strict=False))
    for i, ((outer, inner), size) in enumerate(reversed(steps), start=1):
        layers.add_module(f"size{i}", nn.Upsample(size=size))
        layers.add_module(f"convolution{i}", nn.Conv2d(inner, outer, shape.kernel, padding="same"))
        if i < len(steps):
            layers.add_module(f"activation{i}", ACTIVATIONS[shape.activation]())
    return layers
