"""Recurrent networks over words of a text, rows of an image, moments of a clip, or windows of a series.

J. L. Elman, "Finding Structure in Time", Cognitive Science 14, 1990 (`rnn`); S. Hochreiter and
J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9, 1997 (`lstm`); K. Cho et al., EMNLP 2014,
arXiv 1406.1078 (`gru`); both directions: M. Schuster and K. Paliwal, IEEE Trans. Signal Processing 45, 1997.

Shapes (B examples, L places, D numbers a place, H hidden units, K outputs):

    words [B, L] → vectors [B, L, D]; images [B, H', W, C] → rows [B, H', W C], and so clips,
    whose spectrograms have a row a moment; windows [B, L, channels]
    → where `filters` is given: 1-D convolution over places, f [B, L, filters]
    → `layers` of cells, h_t = f(W x_t + b + U h_{t-1} + c) and its gated forms [B, L, H], or 2 H both ways
    → the last state, or max or mean over places [B, H] → dropout → linear [B, K]

A text or window that is shorter than others of its batch gives what it gives alone. How a table becomes
windows: `trainers.inputs.series`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import NoneType
from typing import TYPE_CHECKING, ClassVar

from trainers.data.dataset import Dataset, Kind
from trainers.family import Family
from trainers.hyperparameters import OPTIONAL, Hyperparameter, whole, word
from trainers.inputs.clips import OF_GRIDS, GridOptions, grids_from_user, write_grids
from trainers.inputs.images import augment_images
from trainers.inputs.series import (
    SeriesOptions,
    check_series,
    example_series,
    windows_from_user,
    write_windows,
)
from trainers.inputs.targets import output_size, write_target
from trainers.inputs.texts import WORDS, WordOptions, words_from_user, write_words
from trainers.inputs.vocabulary import vocabulary_size
from trainers.types import Array, ArrayWriter, Batch, JsonObject, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch

_OF_WORDS = ("embedding", *WORDS)


class RNNOptions(GridOptions, WordOptions, SeriesOptions):
    """Fixed structure: `size`, `color` and `fit` of images, `rate`, `seconds` and `mels` of clips,
    `max_words` and `stop_words` of texts, `window`, `step` and `horizon` of a table read as a series."""


class RNN(Family):
    """Classification or regression of sequences by recurrent layers."""

    name = "rnn"
    summary = "recurrent layers (rnn, lstm, gru) over words, rows of an image, a clip, or a series"
    kinds = ("text", "image", "audio", "table")
    tasks = ("classification", "regression")
    unstackable = "torch has no rule for stacked recurrent layers"
    Options = RNNOptions
    uses = ("pooling", "dropout")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "cell": word("gru", ("rnn", "lstm", "gru"), "of all layers"),
        "hidden": whole(128, "units a layer and direction"),
        "layers": whole(1, "one upon another, dropout between them"),
        "direction": word("forward", ("forward", "both"), "in which sequences are read"),
        "state": word("last", ("last", "pooled"), "what is kept: pooled, as `pooling` says"),
        "activation": replace(
            OPTIONAL["activation"], default="tanh", choices=("tanh", "relu"), doc="of cell rnn and of filters"
        ),
        "filters": Hyperparameter(
            default=None, types=(int, NoneType), low=1, doc="of a 1-D convolution in front; none: without one"
        ),
        "kernel": whole(5, "places that such a filter sees"),
        "embedding": whole(128, "numbers a word"),
        **WORDS,
    }
    encoding = tuple(WORDS)
    reads_only: ClassVar[Mapping[str, tuple[Kind, ...]]] = {
        **dict.fromkeys((*_OF_WORDS, "max_words", "stop_words"), ("text",)),
        **dict.fromkeys(("window", "step", "horizon"), ("table",)),
        **OF_GRIDS,
    }
    presets: ClassVar[Mapping[str, Params]] = {
        "small": {
            "cell": "rnn",
            "hidden": 50,
            "layers": 2,
            "activation": "tanh",
            "direction": "forward",
            "state": "last",
        }
    }

    options: RNNOptions

    def complete(self, params: Params) -> JsonObject:
        """As `Family.complete`; models of earlier versions have None where a word's default is meant."""
        return super().complete({n: v for n, v in params.items() if v is not None or n not in _OF_WORDS})

    def check(self, dataset: Dataset) -> None:
        """As `Family.check`; a table needs `options.window` and parts that follow one another."""
        super().check(dataset)
        if dataset.kind == "table":
            check_series(dataset, self.options)

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`inputs`: int32 [N, L], uint8 [N, H, W, C] or float32 [N, L, channels] with `lengths`; `target`."""
        target = write_target(dataset, writer)
        if dataset.kind == "text":
            return {"reads": "text", **write_words(dataset, params, self.options, writer), **target}
        if dataset.kind in ("image", "audio"):
            return {"reads": "rows", **write_grids(dataset, self.options, writer), **target}
        check_series(dataset, self.options)
        return {"reads": "series", **write_windows(dataset, self.options, target, writer), **target}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes `inputs`, and `lengths` of a series, and gives [B, classes], or [B, 1]."""
        from trainers.modules import recurrent

        front, dims = _sequence_front(state, params)
        convolution = None
        if params["filters"] is not None:
            filters, kernel = params["filters"], params["kernel"]
            convolution = recurrent.SequenceConvolution(dims, filters, kernel, params["activation"])
            dims = filters
        names = ("cell", "hidden", "layers", "direction", "state", "pooling", "activation", "dropout")
        shape = recurrent.RecurrentShape(**{name: params[name] for name in names})
        cells = recurrent.Recurrence(dims, shape)
        return recurrent.SequenceModel(front, convolution, cells, params["dropout"], output_size(state))

    def outputs(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Logits [B, classes], or scaled predictions [B, 1]."""
        found: torch.Tensor = module(batch["inputs"], batch.get("lengths"))
        return found

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Changes of images or of words, as their kind takes them."""
        if batch["inputs"].ndim == 4:
            return augment_images(batch, params, generator)
        return super().augment(batch, params, generator)

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Texts of the column `text`, images of `image`, clips of `audio`, or a series' rows in order."""
        if state["reads"] == "text":
            return words_from_user(rows, state)
        return grids_from_user(rows, state) if state["reads"] == "rows" else windows_from_user(rows, state)

    def needs_neighbours(self, state: State) -> bool:
        """A series' rows are answered from those before them."""
        return bool(state["reads"] == "series")

    def example(self, dataset: Dataset, rows: int = 2) -> pd.DataFrame:
        """As `Family.example`; of a series, a window's rows and the one that it is for."""
        if dataset.kind != "table":
            return super().example(dataset, rows)
        return example_series(dataset, self.options, rows)


def _sequence_front(state: State, params: Params) -> tuple[torch.nn.Module, int]:
    """What makes sequences of the inputs, and how many numbers a place of theirs has."""
    from trainers.modules import recurrent

    if state["reads"] == "text":
        dims = params["embedding"]
        return recurrent.WordSequence(vocabulary_size(state["tokenizer"]), dims), dims
    if state["reads"] == "rows":
        _, width, channels = state["shape"]
        return recurrent.RowSequence(state["mean"], state["std"]), width * channels
    return recurrent.WindowSequence(), state["channels"]
