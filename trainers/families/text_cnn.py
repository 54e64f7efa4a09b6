"""Convolutions over the words of a text.

Y. Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014 (arXiv 1408.5882), its
CNN-rand: word vectors drawn at random and learned with the rest.

Shapes (B texts, L words of the batch's longest, D numbers a word, F filters a width, K outputs):

    words [B, L] → vectors [B, L, D] → for each width w: c = f(W_w * x + b_w) [B, F, L - w + 1]
    → max over time [B, F] → side by side [B, widths x F] → dropout → linear [B, K]

With `structure: image` the text is cut or filled to `max_words` and its vectors are an image of one channel,
[B, 1, max_words, D]: blocks of 3x3 convolution and pooling by two, then dense layers.

Words are cut as Kim's clean_str does, and lower-cased unless told otherwise (Kim kept the case of TREC); the
vocabulary is the training split's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainers.dataset import Dataset
from trainers.errors import InputError
from trainers.family import Array, ArrayWriter, Family, Options, Params, State, first_missing
from trainers.hyperparameters import OPTIONAL, TRAINING, Hyperparameter
from trainers.targets import output_size, write_target
from trainers.words import as_text, fit_vocabulary, padded, stop_words, vocabulary_size, word_ids

if TYPE_CHECKING:
    import pandas as pd
    import torch

CHUNK_ROWS = 10_000
_OF_IMAGE, _OF_TIME = {"channels", "pooling"}, {"filter_widths", "filters"}


def _check_widths(widths: Any) -> None:
    if not widths:
        raise InputError("filter_widths must name at least one width", "none", key=("filter_widths",))


class TextOptions(Options):
    """Fixed structure of a text CNN.

    Attributes:
        structure: `time`, convolutions over words with max over time; `image`, 3x3 convolutions over the
            matrix of word vectors.
        max_words: texts are cut there; with `structure: image` also filled up to it.
        stop_words: words left out: `english` (our own list), or a file with one word a line.
    """

    structure: Literal["time", "image"] = "time"
    max_words: int = Field(default=256, ge=1)
    stop_words: str | None = None


class TextCNN(Family):
    """Text classification (or regression) by convolutions over words."""

    name = "text_cnn"
    summary = "convolutions of several widths over words, max over time (Kim 2014)"
    kinds = ("text",)
    tasks = ("classification", "regression")
    Options = TextOptions
    uses = ("activation", "pooling", "dropout")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "batch_size": replace(TRAINING["batch_size"], default=50),
        "dropout": replace(OPTIONAL["dropout"], default=0.5),
        "embedding": Hyperparameter(default=128, types=(int,), low=1, doc="numbers a word"),
        "filter_widths": Hyperparameter(
            default=[3, 4, 5],
            types=(list,),
            of=(int,),
            low=1,
            rule=_check_widths,
            doc="words in the windows of each convolution",
        ),
        "filters": Hyperparameter(default=100, types=(int,), low=1, doc="of each width"),
        "dense": Hyperparameter(
            default=[], types=(list,), of=(int,), low=1, doc="widths of hidden layers before the outputs"
        ),
        "channels": Hyperparameter(
            default=[64, 128], types=(list,), of=(int,), low=1, doc="of each block, with structure image"
        ),
        "min_count": Hyperparameter(
            default=1, types=(int,), low=1, doc="words seen less often in training are unknown"
        ),
        "lowercase": Hyperparameter(
            default=True, types=(bool,), doc="false, as Kim did for TREC: capitals tell names from words"
        ),
        "vocabulary": Hyperparameter(
            default=30_000, types=(int,), low=3, doc="most entries, the commonest words first"
        ),
    }
    encoding = ("min_count", "vocabulary", "lowercase")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "kim": {
            "embedding": 300,
            "filter_widths": [3, 4, 5],
            "filters": 100,
            "dropout": 0.5,
            "batch_size": 50,
        },
        "conv2d": {
            "structure": "image",
            "max_words": 100,
            "embedding": 100,
            "channels": [64, 128],
            "dense": [500],
        },
    }

    options: TextOptions

    def known(self) -> dict[str, Hyperparameter]:
        """Without the names that the other structure reads."""
        unread = _OF_IMAGE if self.options.structure == "time" else _OF_TIME
        return {name: entry for name, entry in super().known().items() if name not in unread}

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`inputs`: word ids, int32 [N, L], 0 where a text has ended; `target`."""
        texts = dataset.columns["text"].values
        train = dataset.splits["train"]
        vocabulary = fit_vocabulary(
            (as_text(texts[i]) for i in train),
            min_count=params["min_count"],
            size=params["vocabulary"],
            leave_out=stop_words(self.options.stop_words),
            lowercase=params["lowercase"],
        )
        length = self._length(vocabulary, texts, train)
        ids = writer.create("inputs", (len(texts), length), np.int32)
        for rows in _chunks(np.arange(len(texts))):
            ids[rows] = padded(word_ids(vocabulary, [as_text(texts[i]) for i in rows]), length)
        return {"tokenizer": vocabulary, "length": length, **write_target(dataset, writer)}

    def _length(self, vocabulary: str, texts: Any, train: Array) -> int:
        if self.options.structure == "image":
            return self.options.max_words
        chunks = (word_ids(vocabulary, [as_text(texts[i]) for i in rows]) for rows in _chunks(train))
        longest = max((len(words) for chunk in chunks for words in chunk), default=1)
        return min(longest, self.options.max_words)

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes int32 [B, L] and gives [B, classes], or [B, 1] in regression."""
        words = vocabulary_size(state["tokenizer"])
        if self.options.structure == "image":
            return _image_module(words, state["length"], output_size(state), params)
        return _time_module(words, output_size(state), params)

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Texts of the column `text` as `encode` makes them; cut and filled alike."""
        if first_missing(rows, ["text"]):
            raise InputError("rows must have a column text", f"columns {list(rows.columns)}")
        ids = word_ids(state["tokenizer"], [as_text(value) for value in rows["text"]])
        return {"inputs": padded(ids, state["length"])}


def _chunks(rows: Array) -> Iterator[Array]:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]


def _time_module(words: int, outputs: int, params: Params) -> torch.nn.Module:
    from torch import nn

    from trainers.layers import TextWindows, dense

    windows = TextWindows(
        words, params["embedding"], params["filter_widths"], params["filters"], params["activation"]
    )
    sizes = [len(params["filter_widths"]) * params["filters"], *params["dense"], outputs]
    head = dense(sizes, activation=params["activation"], dropout=params["dropout"])
    return nn.Sequential(OrderedDict(text=windows, dropout=nn.Dropout(params["dropout"]), head=head))


def _image_module(words: int, length: int, outputs: int, params: Params) -> torch.nn.Module:
    from torch import nn

    from trainers.layers import BlockShape, Words, conv_blocks, dense

    dims = params["embedding"]
    shape = BlockShape(activation=params["activation"], pooling=params["pooling"])
    blocks, numbers = conv_blocks([1, *params["channels"]], (length, dims), shape)
    sizes = [numbers, *params["dense"], outputs]
    head = dense(sizes, activation=params["activation"], dropout=params["dropout"])
    image = nn.Unflatten(1, (1, length))
    parts = OrderedDict(words=Words(words, dims), image=image, blocks=blocks, flat=nn.Flatten(), head=head)
    return nn.Sequential(parts)
