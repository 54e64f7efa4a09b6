"""Images of any size and format as arrays of one size.

Shape legend: N rows, B images of a person, H height, W width, C channels (1 or 3).
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from trainers.data.cell_values import BASE64, read_encoded
from trainers.data.dataset import Column
from trainers.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from trainers.types import ArrayWriter, Cell

Fit = Literal["crop", "stretch"]
Pixels = npt.NDArray[np.uint8]
PIECE_ROWS = 256
LONGEST_PATH = 4096
_LETTERS = re.compile(r"(?:data:[\w/]+;base64,)?[A-Za-z0-9+/_\s-]{60,}={0,2}\s*")  # of base64
MOST_DAMAGED = 20  # files that a refusal names
FEW_GREYS = 32  # fractions of a lower range would be rounded to so few
MOST_PIXELS = 100_000_000  # a larger picture is taken for a decompression bomb
PROGRAMS = ("EPS", "WMF")  # drawn by what another program makes of them: Ghostscript runs an EPS's code


def decode_images(
    column: Column,
    writer: ArrayWriter,
    name: str = "inputs",
    *,
    size: tuple[int, int],
    channels: int,
    fit: Fit = "crop",
) -> Pixels:
    """Writes every image of a column, piece by piece, as the array `name`, uint8 [N, H, W, C].

    Args:
        column: of kind `image`.
        writer: where the array goes.
        name: the array's name.
        size: (H, W).
        channels: 1 for grey, 3 for colour.
        fit: `crop` scales the shorter side and cuts the middle out; `stretch` scales both sides.
    """
    return decode_column(
        column, writer, name, (*size, channels),
        lambda value, where: _decode_image(value, where, size, channels, fit),
    )  # fmt: skip


def decode_column(
    column: Column,
    writer: ArrayWriter,
    name: str,
    shape: tuple[int, int, int],
    decode: Callable[[Cell, str], Pixels],
) -> Pixels:
    """Writes each value of a column, decoded, as the array `name`, uint8 [N, *shape]."""
    rows = len(column.values)
    target = writer.create(name, (rows, *shape), np.uint8)
    workers = min(4, os.cpu_count() or 1)
    damaged: list[InputError] = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for at in range(0, rows, PIECE_ROWS):
            piece = column.values[at : at + PIECE_ROWS]
            if isinstance(piece, np.ndarray) and piece.shape[1:] == shape:
                target[at : at + len(piece)] = piece
                continue
            numbered = enumerate(piece, start=at)
            decoded = pool.map(lambda each: _try_decode(decode, each[1], each[0]), numbered)
            for row, pixels in enumerate(decoded, start=at):
                if isinstance(pixels, InputError):
                    damaged.append(pixels)
                else:
                    target[row] = pixels
    if damaged:
        raise all_damaged(damaged)
    return target


def _try_decode(decode: Callable[[Cell, str], Pixels], value: Cell, row: int) -> Pixels | InputError:
    try:
        return decode(value, f"row {row}")
    except InputError as error:
        return error


def all_damaged(errors: Sequence[InputError]) -> InputError:
    """One refusal that names every file, or the first of very many."""
    if len(errors) == 1:
        return errors[0]
    shown = [error.found for error in errors[:MOST_DAMAGED]]
    more = f"\nand {len(errors) - MOST_DAMAGED:,} more" if len(errors) > MOST_DAMAGED else ""
    found = f"{len(errors):,} that are not:\n" + "\n".join(shown) + more
    own = errors[0].do
    return InputError(errors[0].must, found, own and "replace the files or take them away")


def decode_user_images(
    values: Iterable[Cell],
    *,
    size: tuple[int, int],
    channels: int,
    fit: Fit = "crop",
    one_is_white: bool = True,
) -> Pixels:
    """A person's images as uint8 [B, H, W, C].

    Args:
        values: paths, encoded bytes (also as text, `base64:…`), PIL images, or arrays and nested lists of any
            size, see `as_pixels`.
        size: (H, W).
        channels: 1 for grey, 3 for colour.
        fit: as in `decode`.
        one_is_white: of nested lists that hold nothing but 0 and 1, see `as_pixels`.

    Raises:
        InputError: some are no images; names all of them, or the first of very many.
    """
    images: list[Pixels] = []
    damaged: list[InputError] = []
    for at, value in enumerate(values):
        try:
            listed = _listed_pixels(read_encoded(value), one_is_white)
            images.append(_decode_image(listed, f"image {at}", size, channels, fit))
        except InputError as error:
            damaged.append(error)
    if damaged:
        raise all_damaged(damaged)
    return np.stack(images) if images else np.zeros((0, *size, channels), np.uint8)


def _decode_image(value: Cell, where: str, size: tuple[int, int], channels: int, fit: Fit) -> Pixels:
    """uint8 [H, W, C]."""
    from PIL import Image, ImageOps

    do = ""
    if isinstance(value, (str, Path)):
        where, do = describe_path(str(value))
    mode = "L" if channels == 1 else "RGB"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(value, Image.Image):
                upright = ImageOps.exif_transpose(value)  # a copy: the picture is the caller's
                resized = np.asarray(_resize_image(_flatten_alpha(upright, mode), size, fit))
            else:
                with _open_image(value, size) as picture:
                    ImageOps.exif_transpose(picture, in_place=True)  # phones store every picture lying down
                    resized = np.asarray(_resize_image(_flatten_alpha(picture, mode), size, fit))
    except InputError:
        raise
    except Exception as error:  # decoders of two dozen formats raise what they like at damaged files
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError("every image must be readable", f"{where}: {text[:300]}", do) from error
    return resized.reshape(*size, channels)


def describe_path(path: str) -> tuple[str, str]:
    """A path as an error names it, and what to do; of a file's bytes in letters their beginning."""
    if len(path) <= LONGEST_PATH and not _LETTERS.fullmatch(path):
        return path, "replace the file or take it away"
    return f"{path[:40]}… ({len(path):,} characters)", f"write {BASE64} before a file's bytes in base64"


def open_picture(value: str | Path | bytes) -> Image.Image:
    """A picture's file, or its bytes, before its pixels are read.

    Raises:
        ValueError: it is a program, which whoever sent it would have run here.
        OSError, SyntaxError, DecompressionBombError: as Pillow's.
    """
    from PIL import Image

    picture: Image.Image = Image.open(io.BytesIO(value) if isinstance(value, bytes) else value)
    if picture.format in PROGRAMS:
        picture.close()
        raise ValueError(f"{picture.format} is drawn by running it, and is not read")
    return picture


def _open_image(value: Cell, size: tuple[int, int]) -> Image.Image:
    from PIL import Image

    if isinstance(value, (str, Path, bytes)):
        picture = open_picture(value)
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError(f"{picture.width}x{picture.height} is more than {MOST_PIXELS:,} pixels")
        picture.draft(None, (size[1] * 2, size[0] * 2))  # a JPEG is decoded at a fraction of its size
        return picture
    pixels = as_pixels(value)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _flatten_alpha(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in the mode, transparency on white."""
    from PIL import Image

    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(picture, np.float64) / 257).astype(np.uint8)).convert(mode)
    if picture.mode in ("I", "F"):  # Pillow would cut all above 255 off
        pixels = as_pixels(np.asarray(picture))
        return Image.fromarray(pixels[..., 0]).convert(mode)
    return picture if picture.mode == mode else picture.convert(mode)


def _resize_image(picture: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    from PIL import Image, ImageOps

    width_height = (size[1], size[0])
    if picture.size == width_height:
        return picture
    if fit == "stretch":
        return picture.resize(width_height, Image.Resampling.BILINEAR)
    return ImageOps.fit(picture, width_height, Image.Resampling.BILINEAR)


def _listed_pixels(value: Cell, one_is_white: bool) -> Cell:
    """Nested lists as an array whose type tells their scale: JSON has one type of number, and what one client
    writes as 1.0 another writes as 1."""
    if not isinstance(value, (list, tuple)) and getattr(getattr(value, "dtype", None), "kind", "") != "O":
        return value
    try:
        values = np.asarray(value.tolist() if isinstance(value, np.ndarray) else value)
    except ValueError:
        return value  # of differing lengths: `as_pixels` says so with the image's place
    if values.dtype.kind not in "biuf" or not values.size or not values.max() <= 1:
        return values
    whole = bool((values == np.round(values)).all())
    return values.astype(np.float64 if one_is_white or not whole else np.int64)


def as_pixels(value: Cell) -> Pixels:
    """One image of numbers as uint8 [H, W, C].

    Args:
        value: H x W, H x W x C or C x H x W: whole numbers from 0 to 255, or fractions from 0 to 1.
    """
    values = np.asarray(value.tolist() if hasattr(value, "tolist") and value.dtype == object else value)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim == 3 and values.shape[-1] not in (1, 3, 4) and values.shape[0] in (1, 3):
        values = np.moveaxis(values, 0, -1)
    if values.ndim != 3 or values.shape[-1] not in (1, 3, 4) or 0 in values.shape:
        raise ValueError(f"an image must be H x W, H x W x C or C x H x W, but got {values.shape}")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise ValueError("an image must hold finite numbers")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        raise ValueError(f"pixels must be from 0 to 255, or 0 to 1, but got {low:g} to {high:g}")
    if 1 < high < FEW_GREYS and (values != np.round(values)).any():
        raise ValueError(f"pixels must be from 0 to 255, or 0 to 1, but got fractions from 0 to {high:g}")
    scale = 255.0 if values.dtype.kind in "fb" and high <= 1.0 else 1.0
    return np.round(values * scale).astype(np.uint8)
