"""Small data sets that each family can learn, and what its presets must weigh."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from trainers.data.dataset import Column, Dataset
from trainers.inputs.tokenizers import fit_tokens
from trainers.inputs.vocabulary import fit_vocabulary

ROWS = 90
RARE = "onlyintest"


def splits() -> dict[Any, Any]:
    parts = np.split(np.arange(ROWS), [60, 75])
    return dict(zip(("train", "validation", "test"), parts, strict=True))


def make_dataset(
    kind: Any, task: Any, columns: Mapping[str, Column], target: Column | None, classes: Any = ()
) -> Dataset:
    return Dataset(
        kind=kind,
        task=task,
        columns=columns,
        target=target,
        classes=tuple(classes),
        splits=splits(),
        row_hashes=np.arange(ROWS).astype(np.uint64) * 7919,
        fingerprint="0" * 32,
        source="made",
    )


def table() -> Dataset:
    """y = 3a - 2b + 5 for blue, with a missing number and a category that training never saw."""
    draw = np.random.default_rng(0)
    a, b = draw.normal(4, 2, ROWS), draw.normal(size=ROWS)
    colors = [("red", "blue")[i % 2] for i in range(ROWS)]
    y = 3 * a - 2 * b + 5 * np.array([c == "blue" for c in colors]) + 0.01 * draw.normal(size=ROWS)
    a[3] = np.nan
    colors[-1] = RARE
    columns = {
        "a": Column(name="a", kind="number", values=a),
        "b": Column(name="b", kind="number", values=b),
        "color": Column(name="color", kind="category", values=colors),
    }
    return make_dataset("table", "regression", columns, Column(name="y", kind="number", values=y))


def classes() -> Dataset:
    """Small, middle or large by `a`; blue ones a class higher."""
    numbers = table()
    size = np.nan_to_num(np.asarray(numbers.columns["a"].values), nan=4.0)
    blue = np.array([color == "blue" for color in numbers.columns["color"].values])
    labels = [("small", "middle", "large")[at] for at in np.clip((size > 4).astype(int) + blue, 0, 2)]
    target = Column(name="size", kind="category", values=labels)
    return make_dataset("table", "classification", numbers.columns, target, ("large", "middle", "small"))


def images(size: int = 12, channels: int = 1) -> Dataset:
    """A bright square in one of three places."""
    draw = np.random.default_rng(0)
    values = draw.integers(0, 60, (ROWS, size, size, channels), dtype=np.uint8)
    for i in range(ROWS):
        at = (i % 3) * (size // 3)
        values[i, at : at + size // 3, at : at + size // 3] += 150
    values[-1] = 255  # in the test part: must not move what is fitted
    labels = Column(name="label", kind="category", values=[str(i % 3) for i in range(ROWS)])
    column = {"image": Column(name="image", kind="image", values=values)}
    return make_dataset("image", "classification", column, labels, "012")


def clips() -> Dataset:
    """A hum in one of three heights, in noise, as files' bytes."""
    draw = np.random.default_rng(0)
    values = []
    for i in range(ROWS):
        moments = np.arange(int(draw.integers(800, 1200))) / 4000
        file = io.BytesIO()
        hum = 0.3 * np.sin(2 * np.pi * (200, 600, 1500)[i % 3] * moments)
        soundfile.write(file, hum + 0.02 * draw.normal(size=len(moments)), 4000, format="WAV")
        values.append(file.getvalue())
    labels = Column(name="label", kind="category", values=[str(i % 3) for i in range(ROWS)])
    column = {"audio": Column(name="audio", kind="audio", values=values)}
    return make_dataset("audio", "classification", column, labels, "012")


def texts() -> Dataset:
    """Praise and blame in texts of one to twelve words; one is empty, one has a word of its own."""
    draw = np.random.default_rng(0)
    tone = {"bad": ["dull", "awful", "worst"], "good": ["great", "lovely", "best"]}
    labels = [("bad", "good")[i % 2] for i in range(ROWS)]
    filler = ["the", "film", "is", "and", "The"]
    values = [
        " ".join([*draw.choice(filler, int(draw.integers(0, 11))), draw.choice(tone[label])])
        for label in labels
    ]
    values[2] = ""
    values[-1] = f"{RARE} film"
    column = {"text": Column(name="text", kind="text", values=values)}
    target = Column(name="label", kind="category", values=labels)
    return make_dataset("text", "classification", column, target, ("bad", "good"))


def series() -> Dataset:
    """y follows a sine of ten rows; its value two rows ahead is the target of nothing but its own past."""
    rows = np.arange(ROWS)
    draw = np.random.default_rng(0)
    wave = 5 + 2 * np.sin(2 * np.pi * rows / 10) + 0.05 * draw.normal(size=ROWS)
    columns = {"hum": Column(name="hum", kind="number", values=draw.normal(size=ROWS))}
    return make_dataset("table", "regression", columns, Column(name="wave", kind="number", values=wave))


def pairs() -> Dataset:
    """The target is the source's last letter, doubled; one source is empty."""
    draw = np.random.default_rng(0)
    sources = ["".join(draw.choice(list("abcde"), int(draw.integers(1, 6)))) for _ in range(ROWS)]
    sources[-1] = RARE
    target = Column(name="target", kind="text", values=[2 * text[-1] for text in sources])
    sources[2] = ""
    source = Column(name="input", kind="text", values=sources)
    return make_dataset("pairs", "seq2seq", {"input": source}, target)


def interactions() -> Dataset:
    """Users of two tastes, with items of their own taste; the last user is new, as is an item."""
    draw = np.random.default_rng(0)
    users = [f"user{i % 6}" for i in range(ROWS)]
    items = [f"item{2 * int(draw.integers(6)) + i % 2}" for i in range(ROWS)]
    users[-1] = RARE
    items[-2] = f"{RARE} item"
    columns = {
        "user": Column(name="user", kind="category", values=users),
        "item": Column(name="item", kind="category", values=items),
    }
    return make_dataset("interactions", "recommendation", columns, None)


def questions() -> Dataset:
    """How many of a thing a box of some colour holds; the context tells of two or three boxes."""
    draw = np.random.default_rng(0)
    asked, told, answers, starts = [], [], [], []
    for _ in range(ROWS):
        boxes = list(draw.permutation(["red", "blue", "green"])[: int(draw.integers(2, 4))])
        counts = [str(number) for number in draw.integers(10, 99, len(boxes))]
        at = int(draw.integers(len(boxes)))
        facts = [f"The {box} box holds {count} coins." for box, count in zip(boxes, counts, strict=True)]
        asked.append(f"How many coins does the {boxes[at]} box hold?")
        starts.append(len(" ".join(facts[:at])) + (at > 0) + len(f"The {boxes[at]} box holds "))
        told.append(" ".join(facts))
        answers.append(counts[at])
    told[-1] += f" {RARE}"
    columns = {
        "question": Column(name="question", kind="text", values=asked),
        "context": Column(name="context", kind="text", values=told),
    }
    target = Column(name="answer", kind="text", values=answers)
    places = np.array(starts, np.int64)
    return replace(make_dataset("questions", "question-answering", columns, target), answer_starts=places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A family, data for it, small hyper-parameters, and its presets' numbers of weights."""

    name: str
    dataset: Callable[[], Dataset]
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any]
    presets: Mapping[str, tuple[Mapping[str, Any], int]]


DIGITS = [str(i) for i in range(10)]
_VOCABULARY = fit_vocabulary(["one two three four"])  # six entries
_WORDS = {"tokenizer": _VOCABULARY, "length": 100, "classes": ["bad", "good"]}


def _image_state(height: int, width: int, channels: int) -> dict[str, Any]:
    moments = {"mean": [0.5] * channels, "std": [0.5] * channels}
    return {"shape": [height, width, channels], "classes": DIGITS, **moments}


def unlabelled_images() -> Dataset:
    return make_dataset("image", "reconstruction", images().columns, None)


def unlabelled_rows() -> Dataset:
    return make_dataset("table", "reconstruction", table().columns, None)


SMALL_RNN = 10 * 50 + 50 * 50 + 2 * 50 + 2 * 50 * 50 + 2 * 50 + 50 * 2 + 2
_ATTENTION = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 32, "dropout": 0.0}
_CORPUS = {"task": "language-model", "tokenizer": fit_tokens(["abcd"], unit="characters", size=100)}
_SERIES = {"reads": "series", "channels": 10, "classes": ["bad", "good"]}

CLIPS = {"rate": 4000, "mels": 16, "seconds": 0.3}

CASES = (
    Case(
        name="linear_regression",
        dataset=table,
        params={"learning_rate": 0.1},
        presets={"line": ({"table": {"inputs": 1, "cardinalities": []}}, 2)},
    ),
    Case(name="logistic_regression", dataset=classes, params={"learning_rate": 0.1}, presets={}),
    Case(
        name="mlp",
        dataset=classes,
        options={"class_weights": "balanced"},
        params={"learning_rate": 1e-2, "hidden": [16, 8], "embedding": 3},
        presets={},
    ),
    Case(name="mlp", dataset=table, params={"learning_rate": 1e-2, "hidden": [32]}, presets={}),
    Case(name="mlp", dataset=images, params={"learning_rate": 1e-2, "hidden": [8]}, presets={}),
    Case(
        name="image_cnn",
        dataset=images,
        params={"channels": [4, 8], "dense": [16], "learning_rate": 1e-2},
        presets={"cifar": (_image_state(32, 32, 3), 545_098), "mnist": (_image_state(28, 28, 1), 693_962)},
    ),
    Case(
        name="image_cnn",
        dataset=clips,
        options=CLIPS,
        params={"channels": [4, 8], "dense": [16], "learning_rate": 1e-2},
        presets={},
    ),
    Case(
        name="rnn",
        dataset=clips,
        options={**CLIPS, "state": "pooled"},
        params={"hidden": 16, "learning_rate": 3e-2},
        presets={},
    ),
    Case(
        name="transformer",
        dataset=clips,
        options=CLIPS,
        params={**_ATTENTION, "learning_rate": 1e-2},
        presets={},
    ),
    Case(
        name="text_cnn",
        dataset=texts,
        params={"embedding": 12, "filters": 8, "learning_rate": 1e-2, "dropout": 0.2},
        presets={
            "kim": (_WORDS, 6 * 300 + (3 + 4 + 5) * 300 * 100 + 300 + 300 * 2 + 2),
            "conv2d": (_WORDS, 40_075_998 + 100 * 6),
        },
    ),
    Case(
        name="text_cnn",
        dataset=texts,
        options={"structure": "image", "max_words": 12},
        params={"embedding": 8, "channels": [4, 8], "dense": [16], "learning_rate": 3e-2, "dropout": 0.0},
        presets={},
    ),
    Case(
        name="rnn",
        dataset=texts,
        options={"direction": "both", "state": "pooled"},
        params={"embedding": 8, "hidden": 8, "learning_rate": 3e-2, "dropout": 0.1, "layers": 2},
        presets={},
    ),
    Case(
        name="rnn",
        dataset=images,
        options={"cell": "lstm"},
        params={"hidden": 16, "learning_rate": 3e-2, "filters": 8, "kernel": 3},
        presets={},
    ),
    Case(
        name="rnn",
        dataset=series,
        options={"window": 12, "horizon": 2, "cell": "rnn"},
        params={"hidden": 16, "learning_rate": 3e-2},
        presets={"small": (_SERIES, SMALL_RNN)},
    ),
    Case(
        name="vgg16",
        dataset=images,
        options={"preset": "narrow", "narrow": 16, "size": (32, 32)},
        params={"learning_rate": 3e-3, "dropout": 0.0},
        presets={},
    ),
    Case(
        name="autoencoder",
        dataset=unlabelled_images,
        params={"channels": [4, 8], "dense": [16], "code": 6, "learning_rate": 1e-2, "noise": 0.1},
        presets={},
    ),
    Case(
        name="autoencoder",
        dataset=unlabelled_images,
        options={"structure": "dense"},
        params={"dense": [32], "code": 6, "learning_rate": 1e-2},
        presets={},
    ),
    Case(
        name="autoencoder",
        dataset=unlabelled_rows,
        options={"activation": "tanh"},
        params={"dense": [16], "code": 3, "learning_rate": 3e-2},
        presets={},
    ),
    Case(
        name="transformer",
        dataset=texts,
        params={**_ATTENTION, "learning_rate": 1e-2},
        presets={"small": (_CORPUS, 8 * 128 + 2 * (4 * 128 * 129 + 2 * 128 * 256 + 256 + 128 + 512) + 256)},
    ),
    Case(name="transformer", dataset=images, params={**_ATTENTION, "learning_rate": 1e-2}, presets={}),
    Case(
        name="transformer",
        dataset=pairs,
        options={"unit": "characters", "generate": {"max_tokens": 4}},
        params={**_ATTENTION, "learning_rate": 1e-2},
        presets={},
    ),
    Case(
        name="t5",
        dataset=pairs,
        options={"generate": {"max_tokens": 4}},
        params={**_ATTENTION, "learning_rate": 1e-2, "vocabulary": 270},
        presets={},
    ),
    Case(
        name="bert",
        dataset=texts,
        params={**_ATTENTION, "learning_rate": 3e-3, "vocabulary": 300},
        presets={},
    ),
    Case(
        name="bert",
        dataset=questions,
        options={"max_tokens": 40, "stride": 8},
        params={**_ATTENTION, "learning_rate": 1e-2, "vocabulary": 320},
        presets={},
    ),
    Case(
        name="two_tower",
        dataset=interactions,
        params={"learning_rate": 5e-2, "width": 8, "hidden": [8]},
        presets={},
    ),
)


def pictures() -> Dataset:
    return make_dataset("image", "generation", images(8).columns, None)


GAN = Case(  # which no loss of the loop's own trains
    name="gan",
    dataset=pictures,
    params={"channels": [8, 4], "latent": 8, "batch_size": 20, "learning_rate": 2e-3},
    presets={},
)


TREES = Case(  # which have no weights, and grow by themselves
    name="gradient_boosting",
    dataset=classes,
    options={"rounds": 2},
    params={"num_leaves": 5, "min_child_samples": 3, "feature_fraction": 0.5},
    presets={},
)


class Memory:
    """An array writer that keeps its arrays."""

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}

    def put(self, name: str, values: Any) -> None:
        assert name not in self.arrays
        self.arrays[name] = values

    def create(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        self.put(name, np.zeros(shape, dtype))
        return self.arrays[name]


def shared_data() -> Path | None:
    """Where real files to try things on lie, if they are there."""
    import os

    given = os.environ.get("VELODROME_TEST_DATA")
    folder = Path(given) if given else Path(__file__).parents[3].parent / "shared" / "data"
    return folder if folder.is_dir() else None
