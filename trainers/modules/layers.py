"""Layers that several families are put together from. Imports torch: import it where a module is built.

Shape legend: B examples, C channels, H height, W width, L words of a text, D numbers a word, F filters.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.errors import InputError
from trainers.inputs.vocabulary import PAD
from trainers.modules.pooling import MaxPool
from trainers.modules.stacked_values import most_in_stack

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}


class TableLinear(nn.Module):
    """One linear layer over numbers and categories: W x + b, plus one learned row a category's value.

    That row is what one linear layer gives for a one-hot column; it begins at zero, and id 0 (a value that
    training never saw) stays there. Takes floats [B, F] and ids [B, K]; gives [B, outputs].
    """

    def __init__(self, inputs: int, cardinalities: Sequence[int], outputs: int) -> None:
        super().__init__()
        with warnings.catch_warnings():  # of categories alone there are no numbers' weights to draw
            warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
            self.linear = nn.Linear(inputs, outputs)
        self.categories = nn.ModuleList(nn.Embedding(size, outputs, padding_idx=0) for size in cardinalities)
        for rows in self.categories.parameters():
            nn.init.zeros_(rows)

    def forward(self, x_BF: Tensor, ids_BK: Tensor) -> Tensor:
        answer: Tensor = self.linear(x_BF)
        for k, rows in enumerate(self.categories):
            answer = answer + rows(ids_BK[:, k])
        return answer


class TableVectors(nn.Module):
    """A row as one vector: its numbers, then one learned vector a category's value.

    Id 0 (a value that training never saw) has the zero vector. Takes floats [B, F] and ids [B, K]; gives
    [B, `outputs`], which is F + K x dims.
    """

    def __init__(self, inputs: int, cardinalities: Sequence[int], dims: int) -> None:
        super().__init__()
        self.categories = nn.ModuleList(nn.Embedding(size, dims, padding_idx=0) for size in cardinalities)
        self.outputs = inputs + dims * len(cardinalities)

    def forward(self, x_BF: Tensor, ids_BK: Tensor) -> Tensor:
        vectors = [rows(ids_BK[:, k]) for k, rows in enumerate(self.categories)]
        return torch.cat([x_BF, *vectors], dim=1) if vectors else x_BF


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvShape:
    """What blocks of convolution have in common, named as the hyper-parameters are."""

    kernel: int = 3
    padding: str = "same"
    activation: str = "relu"
    pooling: str = "max"
    batch_norm: bool = False


class Pixels(nn.Module):
    """Bytes of an image as numbers around zero: (x / 255 - mean) / std, channel by channel.

    `forward` takes uint8 [B, H, W, C] and gives floats [B, C, H, W], channels last in memory.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        mean_C11, std_C11 = (
            torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std)
        )
        self.register_buffer("mean", mean_C11 * 255.0, persistent=False)
        self.register_buffer("scale", 1.0 / (std_C11 * 255.0), persistent=False)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        centred: Tensor = (x_BHWC.permute(0, 3, 1, 2).float() - self.mean) * self.scale
        return centred


class PixelVectors(nn.Module):
    """An image as one vector: uint8 [B, H, W, C] → floats [B, `outputs`], as `Pixels` scales them."""

    def __init__(self, shape: Sequence[int], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.pixels = Pixels(mean, std)
        self.outputs = shape[0] * shape[1] * shape[2]

    def forward(self, x_BHWC: Tensor) -> Tensor:
        vectors: Tensor = self.pixels(x_BHWC).flatten(1)
        return vectors


class RowModel(nn.Module):
    """Vectors of rows, then dense layers: what `rows` takes → [B, K]."""

    def __init__(self, rows: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.rows, self.head = rows, head

    def forward(self, *inputs: Tensor) -> Tensor:
        answer: Tensor = self.head(self.rows(*inputs))
        return answer


class WordEmbedding(nn.Embedding):
    """One vector a word, drawn from U(-0.25, 0.25) as in Kim 2014; the padding's is zero and stays so."""

    def __init__(self, words: int, dims: int) -> None:
        super().__init__(words, dims, padding_idx=PAD)

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -0.25, 0.25)
        self._fill_padding_idx_with_zero()


class WindowConvolutions(nn.Module):
    """Convolutions of several widths over words, each with max over time (Kim 2014, equations 2 to 4).

    c_t = f(w . x_{t:t+width-1} + b), c = max over t. Windows begin at a text's first word and end at its
    last; a text shorter than a window is filled up with zero vectors. Windows that reach into the padding of
    a batch are left out of the maximum, so a text's features don't depend on its neighbours' lengths.

    Takes [B, L, D] and the number of words of each text [B]; gives [B, widths x F].
    """

    def __init__(self, dims: int, widths: Sequence[int], filters: int, activation: str) -> None:
        super().__init__()
        self.windows = nn.ModuleList(nn.Conv1d(dims, filters, width) for width in widths)
        self.activation = ACTIVATIONS[activation]()
        # f after the maximum is the same where f never falls, and costs L times less
        self.activate_first = activation == "gelu"

    @property
    def widest(self) -> int:
        """Words in the widest window."""
        return max(window.kernel_size[0] for window in self._convolutions())

    def _convolutions(self) -> list[nn.Conv1d]:
        return [window for window in self.windows if isinstance(window, nn.Conv1d)]

    def forward(self, x_BLD: Tensor, lengths_B: Tensor) -> Tensor:
        missing = self.widest - x_BLD.shape[1]
        x_BDL = functional.pad(x_BLD.transpose(1, 2), (0, max(missing, 0)))
        pooled = [self._pool_window(window, x_BDL, lengths_B) for window in self._convolutions()]
        features: Tensor = torch.cat(pooled, dim=1)
        if not self.activate_first:
            features = self.activation(features)
        return features

    def _pool_window(self, window: nn.Conv1d, x_BDL: Tensor, lengths_B: Tensor) -> Tensor:
        c_BFT = window(x_BDL)
        if self.activate_first:
            c_BFT = self.activation(c_BFT)
        last_B1 = (lengths_B - window.kernel_size[0]).clamp(min=0)[:, None]
        beyond_BT = torch.arange(c_BFT.shape[2], device=c_BFT.device)[None] > last_B1
        least = torch.finfo(c_BFT.dtype).min
        pooled_BF: Tensor = c_BFT.masked_fill(beyond_BT[:, None, :], least).amax(dim=2)
        return pooled_BF


class TextWindows(nn.Module):
    """Word vectors and windows over them: word ids, integers [B, L] with `PAD` at the end → [B, widths x F].

    The words that no text of the batch has are cut off first.
    """

    def __init__(self, words: int, dims: int, widths: Sequence[int], filters: int, activation: str) -> None:
        super().__init__()
        self.words = WordEmbedding(words, dims)
        self.convolutions = WindowConvolutions(dims, widths, filters, activation)

    def forward(self, ids_BL: Tensor) -> Tensor:
        lengths_B = (ids_BL != PAD).sum(dim=1)
        longest = most_in_stack(lengths_B)
        features: Tensor = self.convolutions(self.words(ids_BL[:, :longest]), lengths_B)
        return features


def conv_blocks(
    channels: Sequence[int], size: tuple[int, int], shape: ConvShape
) -> tuple[nn.Sequential, int]:
    """Blocks of a convolution, batch norm if asked for, an activation, and pooling by two.

    Each takes [B, channels[i], H, W] to [B, channels[i + 1], H', W'] with H' = floor(H / 2), or
    floor((H - kernel + 1) / 2) without padding (`valid`).

    Args:
        channels: of the input, then of each block.
        size: height and width of the input.

    Returns:
        The blocks, and how many numbers the last gives for an example.

    Raises:
        InputError: the input is too small for so many.
    """
    blocks = nn.Sequential()
    for i, (before, after) in enumerate(pairwise(channels), start=1):
        blocks.add_module(f"block{i}", _conv_block(before, after, shape))
    lost = shape.kernel - 1 if shape.padding == "valid" else 0
    height, width = size
    for _ in channels[1:]:
        height, width = (height - lost) // 2, (width - lost) // 2
    if height < 1 or width < 1:
        raise InputError(
            f"an image must be large enough for {len(channels) - 1} blocks of convolution and pooling by two",
            f"{size[0]} x {size[1]}",
            "use fewer channels (one block each), a smaller kernel, or a larger options.size",
            key=("channels",),
        )
    return blocks, channels[-1] * height * width


def _conv_block(before: int, after: int, shape: ConvShape) -> nn.Sequential:
    block = nn.Sequential()
    # batch norm takes the mean away, and a bias with it
    conv = nn.Conv2d(before, after, shape.kernel, padding=shape.padding, bias=not shape.batch_norm)
    block.add_module("convolution", conv)
    if shape.batch_norm:
        block.add_module("norm", nn.BatchNorm2d(after))
    activation = ACTIVATIONS[shape.activation]()
    pooling = MaxPool() if shape.pooling == "max" else nn.AvgPool2d(2)
    # The largest of some numbers, and its gradient, are the same before and after ReLU, which then has a
    # quarter of them to do; of other functions' equal results another would be taken.
    swapped = shape.pooling == "max" and shape.activation == "relu"
    for name, layer in sorted({"activation": activation, "pooling": pooling}.items(), reverse=swapped):
        block.add_module(name, layer)
    return block


def dense_layers(
    sizes: Sequence[int], *, activation: str, dropout: float, batch_norm: bool = False
) -> nn.Sequential:
    """Linear layers of the given sizes, in to out; an activation and dropout after each but the last."""
    layers = nn.Sequential()
    for i, (before, after) in enumerate(pairwise(sizes), start=1):
        hidden = i < len(sizes) - 1
        layers.add_module(f"linear{i}", nn.Linear(before, after, bias=not (batch_norm and hidden)))
        if hidden:
            if batch_norm:
                layers.add_module(f"norm{i}", nn.BatchNorm1d(after))
            layers.add_module(f"activation{i}", ACTIVATIONS[activation]())
            layers.add_module(f"dropout{i}", nn.Dropout(dropout))
    return layers


def channels_last(module: nn.Module) -> nn.Module:
    """The module with its kernels laid out as images from `Pixels` are; a tenth faster on CPU."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module
