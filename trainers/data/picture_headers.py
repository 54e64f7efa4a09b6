"""What pictures say of themselves before their pixels are decoded: sizes, depths, frames."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainers.data.dataset import Column
from trainers.data.images import all_damaged, open_picture
from trainers.errors import InputError
from trainers.types import Cell

LYING = (5, 6, 7, 8)  # orientations that exchange height and width
DEEP_LOOKED_AT = 16  # pictures
_IN_MEMORY = re.compile(
    r" <_io\.BytesIO object at 0x[0-9a-f]+>"
)  # as Pillow names bytes: of no use to anybody


def common_size(column: Column) -> tuple[int, int, int] | None:
    """(H, W, C) where all images have one, else None."""
    values = column.values
    if isinstance(values, np.ndarray):
        return int(values.shape[1]), int(values.shape[2]), int(values.shape[3])
    return None


def image_sizes(column: Column, rows: Sequence[int]) -> list[tuple[int, int, int]]:
    """(H, W, C) of some of the images, so that a family can choose a size; reads headers alone."""
    found = common_size(column)
    if found is not None:
        return [found for _ in rows]
    try:
        return [_read_size(column.values[int(row)], int(row)) for row in rows]
    except InputError as error:  # then all that are damaged are named at once
        damaged = [broken for row, value in enumerate(column.values) if (broken := _find_damage(value, row))]
        raise all_damaged(damaged or [error]) from error


def peak_of_deep(column: Column) -> int | None:
    """The greatest number in some pictures of 16 bits; None where there are none, or one cannot be read."""
    from PIL import Image

    peaks: list[int] = []
    for value in _some_pictures(column):
        try:
            with Image.open(io.BytesIO(value) if isinstance(value, bytes) else value) as picture:
                if picture.mode.startswith("I;16"):
                    peaks.append(int(np.asarray(picture).max()))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # families say what is wrong
            return None
    return max(peaks, default=None)


def _some_pictures(column: Column) -> Sequence[Any]:
    """From all places of a source: the first are of one class, which one device may have taken."""
    if isinstance(column.values, np.ndarray):
        return ()
    return column.values[:: max(1, len(column.values) // DEEP_LOOKED_AT)]


def has_several_frames(column: Column) -> bool:
    """Whether one of some pictures has several pages or frames."""
    from PIL import Image

    for value in _some_pictures(column):
        try:
            with Image.open(io.BytesIO(value) if isinstance(value, bytes) else value) as picture:
                if getattr(picture, "is_animated", False):
                    return True
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # families say what is wrong
            return False
    return False


def _find_damage(value: Cell, row: int) -> InputError | None:
    try:
        _read_size(value, row)
    except InputError as error:
        return error
    return None


def _read_size(value: Cell, row: int) -> tuple[int, int, int]:
    from PIL import ExifTags, Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_picture(value) as picture:
                channels = 1 if picture.mode in ("1", "L", "I", "F", "I;16") else 3
                lying = picture.getexif().get(ExifTags.Base.Orientation, 1) in LYING
                height, width = (picture.width, picture.height) if lying else (picture.height, picture.width)
                return height, width, channels
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        where = value if isinstance(value, str) else f"row {row}"
        found = f"{where}: {_IN_MEMORY.sub('', str(error))}"
        raise InputError("every image must be readable", found, "replace the file or take it away") from error
