"""Images as bytes of one shape, from what a data set or a person has.

Shape legend: N images, H height, W width, C channels (1 gray, 3 RGB, or as the arrays have it).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainers.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

Shape = tuple[int, int, int]
DEFAULT_SIDE = 64
_COLORS = {"gray": 1, "rgb": 3}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def common_shape(
    images: npt.NDArray[Any] | Sequence[Any],
    train: npt.NDArray[np.int64],
    size: tuple[int, int] | None,
    color: str | None,
) -> Shape:
    """The height, width and channels that all images are brought to.

    Args:
        images: an array [N, H, W, C], or paths or bytes of images whose sizes may differ.
        train: the rows that may be looked at.
        size, color: as the options say, or None to take the images' own; where sizes differ, 64 x 64.
    """
    if isinstance(images, np.ndarray):
        height, width, channels = images.shape[1:]
    else:
        seen = {opened(images[int(i)]).size for i in train[:64]}
        width, height = next(iter(seen)) if len(seen) == 1 else (DEFAULT_SIDE, DEFAULT_SIDE)
        channels = 1 if all(opened(images[int(i)]).mode in ("1", "L") for i in train[:64]) else 3
    height, width = size or (height, width)
    return int(height), int(width), _COLORS[color] if color else int(channels)


def pixels(images: npt.NDArray[Any] | Sequence[Any], shape: Shape) -> npt.NDArray[np.uint8]:
    """uint8 [N, C, H, W] of the given height, width and channels.

    Args:
        images: an array [N, H, W, C], or one entry an image: an array or nested list [H, W] or [H, W, C]
            (whole numbers 0 to 255; or fractions of white, none above 1), a path, encoded bytes, or a PIL
            image. Another size is resampled, other channels are converted.

    Raises:
        InputError: an entry can't be read as an image; says which.
    """
    if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == shape:
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    rows = np.empty((len(images), *shape), dtype=np.uint8)
    for i, image in enumerate(images):
        rows[i] = _one(image, shape, i)
    return np.ascontiguousarray(rows.transpose(0, 3, 1, 2))


def _one(image: Any, shape: Shape, row: int) -> npt.NDArray[np.uint8]:
    if isinstance(image, (np.ndarray, list, tuple)):
        values = _bytes_of(image, row)
        if values.shape == shape:
            return values
        image = _as_image(values, row)
    picture = opened(image, row)
    height, width, channels = shape
    if channels not in _MODES:
        raise InputError(f"images must have {channels} channels", f"mode {picture.mode} in row {row}")
    picture = picture.convert(_MODES[channels])
    if picture.size != (width, height):
        picture = picture.resize((width, height), resample=2)  # bilinear, over the whole area when it shrinks
    return np.asarray(picture, dtype=np.uint8).reshape(shape)


def _bytes_of(image: Any, row: int) -> npt.NDArray[np.uint8]:
    try:
        values = np.asarray(image if isinstance(image, np.ndarray) else [np.asarray(line) for line in image])
        values = np.stack(list(values)) if values.dtype == object else values
        numbers = values.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise InputError("an image must be an array of numbers [H, W] or [H, W, C]", f"row {row}: {error}")
    if numbers.ndim == 2:
        numbers = numbers[:, :, None]
    if numbers.ndim != 3 or not numbers.size:
        raise InputError(
            "an image must be an array [H, W] or [H, W, C]", f"shape {values.shape} in row {row}"
        )
    if values.dtype.kind == "f" and numbers.max() <= 1.0:
        numbers = numbers * 255
    if not (np.isfinite(numbers).all() and numbers.min() >= 0 and numbers.max() <= 255):
        raise InputError(
            "an image's numbers must lie between 0 and 255",
            f"{numbers.min():g} to {numbers.max():g} in row {row}",
        )
    return np.rint(numbers).astype(np.uint8)


def _as_image(values: npt.NDArray[np.uint8], row: int) -> Image:
    from PIL import Image

    channels = values.shape[2]
    if channels not in _MODES:
        raise InputError(
            "an image of another shape than in training must have 1, 3 or 4 channels, to be converted",
            f"shape {values.shape} in row {row}",
        )
    return Image.fromarray(values[:, :, 0] if channels == 1 else values)


def opened(image: Any, row: int = 0) -> Image:
    """An image from a path, encoded bytes or a PIL image, upright as its EXIF data says.

    Raises:
        InputError: it can't be read, or claims more pixels than Pillow takes for sane.
    """
    from PIL import Image, ImageOps

    if isinstance(image, Image.Image):
        return image
    if not isinstance(image, (str, bytes, bytearray)) and not hasattr(image, "__fspath__"):
        raise InputError(
            "an image must be an array, a path or encoded bytes", f"{type(image).__name__} in row {row}"
        )
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, (bytes, bytearray)) else image) as found:
            return ImageOps.exif_transpose(found).copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError("an image must be readable", f"row {row}: {error}") from error
