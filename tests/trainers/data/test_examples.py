from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.trainers.data.families import Pixels, Recorder
from trainers.data.dataset import Dataset
from trainers.data.examples import example_rows
from trainers.data.sources.opening import open_dataset
from trainers.inputs.encoded_arrays import encode_dataset


def open_source(folder: Path, source: str, **rest: str) -> Dataset:
    return open_dataset({"source": source, **rest}, base=folder, cache=folder)


def test_example_rows_of_table_encode_as_in_training(tmp_path: Path) -> None:
    moments = pd.date_range("2024-01-01", periods=100).strftime("%Y-%m-%dT%H:%M:%SZ")
    table = pd.DataFrame(
        {"n": np.arange(100) / 3, "w": ["a", "b"] * 50, "at": moments, "label": ["x", "y"] * 50}
    )
    table.loc[::3, ["n", "w"]] = None
    table.to_csv(tmp_path / "a.csv", index=False)
    dataset = open_source(tmp_path, "csv:a.csv")
    family = Recorder({"log": str(tmp_path / "log")})
    trained = encode_dataset(family, dataset, {}, tmp_path)
    rows = example_rows(dataset, 7)
    assert list(rows.columns) == ["n", "w", "at"]
    batch = family.from_user(rows, trained.state)
    first = dataset.splits["train"][:7]
    for name, values in batch.items():
        assert values == pytest.approx(trained.arrays[name][first])


@pytest.mark.parametrize("source", ["builtin:digits", "builtin:photos", "images:pictures"])
def test_example_rows_of_images_encode_as_in_training(tmp_path: Path, source: str) -> None:
    random = np.random.default_rng(0)
    for at in range(60):
        file = tmp_path / "pictures" / "ab"[at % 2] / f"{at}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (20, 20 + at % 3, 3), np.uint8)).save(file)
    dataset = open_source(tmp_path, source)
    trained = encode_dataset(Pixels({"log": str(tmp_path / "log")}), dataset, {}, tmp_path)
    rows = example_rows(dataset)
    batch = Pixels().from_user(rows, trained.state)
    assert (batch["inputs"] == trained.arrays["inputs"][dataset.splits["train"][:2]]).all()


def test_example_rows_of_texts_have_the_input_column(tmp_path: Path) -> None:
    texts = example_rows(open_source(tmp_path, "builtin:docstrings"), 3)
    assert (list(texts.columns), len(texts)) == (["text"], 3)
    pairs = example_rows(open_source(tmp_path, "builtin:docstrings", task="seq2seq"))
    assert list(pairs.columns) == ["input"]
    corpus = example_rows(open_source(tmp_path, "builtin:docstrings", task="language-model"))
    assert list(corpus.columns) == ["text"]
    assert corpus["text"].str.len().max() <= 200
