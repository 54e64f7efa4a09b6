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
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.family import Family
from trainers.hyperparameters import OPTIONAL, TRAINING, Hyperparameter, whole, widths
from trainers.inputs.targets import output_size, write_target
from trainers.inputs.texts import WORDS, WordOptions, words_from_user, write_words
from trainers.inputs.vocabulary import vocabulary_size
from trainers.types import Array, ArrayWriter, Json, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch

_OF_IMAGE, _OF_TIME = {"channels", "pooling"}, {"filter_widths", "filters"}


def _check_widths(widths: Json) -> None:
    if not widths:
        raise InputError("filter_widths must name at least one width", "none", key=("filter_widths",))


class TextCNNOptions(WordOptions):
    """Fixed structure of a text CNN.

    Attributes:
        structure: `time`, convolutions over words with max over time; `image`, 3x3 convolutions over the
            matrix of word vectors, each text filled up to `max_words`.
    """

    structure: Literal["time", "image"] = "time"


class TextCNN(Family):
    """Text classification (or regression) by convolutions over words."""

    name = "text_cnn"
    summary = "convolutions of several widths over words, max over time (Kim 2014)"
    kinds = ("text",)
    tasks = ("classification", "regression")
    stackable = True
    Options = TextCNNOptions
    uses = ("activation", "pooling", "dropout")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "batch_size": replace(TRAINING["batch_size"], default=50),
        "dropout": replace(OPTIONAL["dropout"], default=0.5),
        "embedding": whole(128, "numbers a word"),
        "filter_widths": widths([3, 4, 5], "words in the windows of each convolution", rule=_check_widths),
        "filters": whole(100, "of each width"),
        "dense": widths([], "widths of hidden layers before the outputs"),
        "channels": widths([64, 128], "of each block, with structure image"),
        **WORDS,
    }
    encoding = tuple(WORDS)
    presets: ClassVar[Mapping[str, Params]] = {
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

    options: TextCNNOptions

    def list_hyperparameters(self) -> dict[str, Hyperparameter]:
        """Without the names that the other structure reads."""
        unread = _OF_IMAGE if self.options.structure == "time" else _OF_TIME
        return {name: entry for name, entry in super().list_hyperparameters().items() if name not in unread}

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`inputs`: word ids, int32 [N, L], 0 where a text has ended; `target`."""
        words = write_words(dataset, params, self.options, writer, fill=self.options.structure == "image")
        return {**words, **write_target(dataset, writer)}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """The module; it takes int32 [B, L] and gives [B, classes], or [B, 1] in regression."""
        words = vocabulary_size(state["tokenizer"])
        if self.options.structure == "image":
            return _image_module(words, state["length"], output_size(state), params)
        return _time_module(words, output_size(state), params)

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """Texts of the column `text` as `encode` makes them; cut and filled alike."""
        return words_from_user(rows, state)


def _time_module(words: int, outputs: int, params: Params) -> torch.nn.Module:
    from torch import nn

    from trainers.modules.layers import TextWindows, dense_layers

    windows = TextWindows(
        words, params["embedding"], params["filter_widths"], params["filters"], params["activation"]
    )
    sizes = [len(params["filter_widths"]) * params["filters"], *params["dense"], outputs]
    head = dense_layers(sizes, activation=params["activation"], dropout=params["dropout"])
    return nn.Sequential(OrderedDict(text=windows, dropout=nn.Dropout(params["dropout"]), head=head))


def _image_module(words: int, length: int, outputs: int, params: Params) -> torch.nn.Module:
    from torch import nn

    from trainers.modules.layers import ConvShape, WordEmbedding, conv_blocks, dense_layers

    dims = params["embedding"]
    shape = ConvShape(activation=params["activation"], pooling=params["pooling"])
    blocks, numbers = conv_blocks([1, *params["channels"]], (length, dims), shape)
    sizes = [numbers, *params["dense"], outputs]
    head = dense_layers(sizes, activation=params["activation"], dropout=params["dropout"])
    image = nn.Unflatten(1, (1, length))
    parts = OrderedDict(
        words=WordEmbedding(words, dims), image=image, blocks=blocks, flat=nn.Flatten(), head=head
    )
    return nn.Sequential(parts)
