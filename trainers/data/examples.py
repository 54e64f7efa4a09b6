"""A few rows of a data set as a person would hand them in."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trainers.data.dataset import Column, Dataset
from trainers.data.images import open_picture

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import Array, Cell

CORPUS_CHARACTERS = 200


def example_rows(dataset: Dataset, rows: int = 2) -> pd.DataFrame:
    """The first rows of the training part, raw: what `Family.from_user` takes.

    Tables give their feature columns, images a column `image` of nested lists [H][W][C] (so that the frame
    is JSON), clips a column `audio` of their files' bytes, texts and corpora a column `text`, pairs a column
    `input`, interactions a column `user`.
    """
    return raw_rows(dataset, dataset.splits["train"][:rows])


def raw_rows(dataset: Dataset, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Any rows of a data set, in the order given, as `example_rows` gives its own."""
    import pandas as pd

    chosen = [int(row) for row in rows]
    if dataset.kind == "corpus":
        return pd.DataFrame({"text": [_shorten_text(dataset.columns["text"].values[row]) for row in chosen]})
    asked = ["user"] if dataset.kind == "interactions" else list(dataset.columns)
    return pd.DataFrame({name: _raw_values(dataset.columns[name], chosen) for name in asked})


def _shorten_text(text: Cell) -> str:
    return str(text)[:CORPUS_CHARACTERS].rstrip()


def _raw_values(column: Column, rows: list[int]) -> Array | list[Cell]:
    values = [column.values[row] for row in rows]
    if column.kind == "number":
        return np.array(values, np.float64)
    if column.kind == "time":
        return np.array([_format_time(value) for value in values], object)
    if column.kind == "audio":
        return [value if isinstance(value, bytes) else Path(value).read_bytes() for value in values]
    if column.kind == "image":
        return [_nested_lists(value) for value in values]
    return np.array(values, object)


def _format_time(seconds: float) -> str | None:
    return None if np.isnan(seconds) else datetime.fromtimestamp(seconds, UTC).isoformat()


def _nested_lists(value: Array | bytes | str) -> list[list[list[int]]]:
    """An image as nested lists of whole numbers, [H][W][C]."""
    if isinstance(value, np.ndarray):
        nested: list[list[list[int]]] = value.tolist()
        return nested
    from PIL import ImageOps

    with open_picture(value) as picture:
        ImageOps.exif_transpose(picture, in_place=True)
        return _nested_lists(np.asarray(picture.convert("RGB")))
