"""How families read images: bytes of one size, and the moments of each channel on the training split.

Shape legend: N rows, B examples, H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from trainers.data.augment import augment_batch
from trainers.data.dataset import Column, Dataset, Kind
from trainers.errors import InputError
from trainers.family import first_missing
from trainers.options import Options
from trainers.types import Array, ArrayWriter, Batch, Cell, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch

CHUNK_VALUES = 1 << 18  # looked at together, eight bytes each
LOOK_ROWS = 256  # images whose headers are read to see whether all have one size
DEFAULT_SIZE = (64, 64)
DARK = 4  # times darker than the darkest image of training: another range of numbers
BINARY_MEAN = 1 / 255  # of white: on average no training image was brighter than bytes of 0 and 1 can be

Side = Annotated[int, Field(ge=1, le=4096)]


class ImageOptions(Options):
    """Fixed structure of a family that reads images.

    Attributes:
        size: height and width that images are brought to; by default theirs, or 64 x 64 where they differ.
        color: `gray` or `rgb`; by default as the images are.
        fit: `crop` scales the shorter side and cuts the middle out, `stretch` scales both.
    """

    size: tuple[Side, Side] | None = None
    color: Literal["gray", "rgb"] | None = None
    fit: Literal["crop", "stretch"] = "crop"


OF_IMAGES: Mapping[str, tuple[Kind, ...]] = dict.fromkeys(("size", "color", "fit"), ("image",))
"""For `Family.reads_only`, where a family reads other data too."""


def write_images(dataset: Dataset, options: ImageOptions, writer: ArrayWriter) -> State:
    """Writes `inputs`: bytes, uint8 [N, H, W, C].

    Returns:
        `shape`, `fit`, `mean` and `std` of each channel on the training split, and `least_peak`: the
        brightest byte of that training image where it is least.
    """
    from trainers.data.images import decode_images

    column, train = dataset.columns["image"], dataset.splits["train"]
    height, width, channels = _choose_shape(column, train, options)
    inputs = decode_images(column, writer, "inputs", size=(height, width), channels=channels, fit=options.fit)
    mean, std = channel_moments(inputs, train)
    peak = least_peak(inputs, train)
    shape = [height, width, channels]
    return {"shape": shape, "fit": options.fit, "mean": mean, "std": std, "least_peak": peak}


def _choose_shape(column: Column, train: Array, options: ImageOptions) -> tuple[int, int, int]:
    from trainers.data.picture_headers import image_sizes

    seen = image_sizes(column, train[:LOOK_ROWS].tolist())
    sides = {(height, width) for height, width, _ in seen}
    height, width = options.size or (sides.pop() if len(sides) == 1 else DEFAULT_SIZE)
    colors = {"gray": 1, "rgb": 3, None: max(channels for _, _, channels in seen)}
    return height, width, colors[options.color]


def images_from_user(rows: pd.DataFrame, state: State) -> dict[str, Array]:
    """Images of the column `image`: arrays, nested lists, paths, encoded bytes or PIL images.

    Lists of nothing but 0 and 1 are black and white, unless the model was trained on bytes of 0 and 1.

    Raises:
        InputError: there is no such column, an image cannot be read, or its numbers have another range than
            those of training.
    """
    from trainers.data.images import decode_user_images

    if first_missing(rows, ["image"]):
        raise InputError("rows must have a column image", f"columns {list(rows.columns)}")
    height, width, channels = state["shape"]
    inputs = decode_user_images(
        rows["image"], size=(height, width), channels=channels, fit=state["fit"],
        one_is_white=max(state["mean"]) > BINARY_MEAN,
    )  # fmt: skip
    _check_range(rows["image"], inputs, state.get("least_peak", 0))
    return {"inputs": inputs}


def _check_range(given: Iterable[Cell], inputs: Array, least: int) -> None:
    """Refuses numbers that are far darker than any image of training: 0 to 16, say, for 0 to 255.

    Pictures from files are what they are; numbers have a range that nothing in them tells.
    """
    for at, (value, pixels) in enumerate(zip(given, inputs, strict=True)):
        top, low = int(pixels.max()), int(pixels.min())
        if top * DARK >= least or top == low or not isinstance(value, (list, tuple, np.ndarray)):
            continue
        raise InputError(
            "pixels must be whole numbers from 0 to 255, or fractions from 0 to 1, as in training",
            f"image {at} reaches {top}, where every image of training reached {least} of 255 at least",
            "divide them by the largest number that yours can be (16 where they go from 0 to 16)",
        )


def augment_images(batch: Batch, params: Params, generator: torch.Generator) -> Batch:
    """As `trainers.data.augment` does it, which takes channels first; `inputs` [B, H, W, C]."""
    if params["augment"] is None:
        return batch

    first = {**batch, "inputs": batch["inputs"].permute(0, 3, 1, 2)}
    changed = augment_batch(first, params["augment"], generator)
    return {**changed, "inputs": changed["inputs"].permute(0, 2, 3, 1)}


def least_peak(images: Array, rows: Array) -> int:
    """The least of some images' greatest bytes, of uint8 [N, H, W, C]; 0 of none."""
    together = max(1, CHUNK_VALUES // max(1, images[0].size))
    peaks = [
        images[rows[at : at + together]].max(axis=(1, 2, 3)).min() for at in range(0, len(rows), together)
    ]
    return int(min(peaks, default=0))


def channel_moments(images: Array, rows: Array) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel over some rows of uint8 [N, H, W, C], in units of white (255).

    A channel that never varies has the deviation 1. Counted in whole numbers, so chunks play no part.
    """
    first = second = np.zeros(images.shape[3], dtype=np.int64)
    together = max(1, CHUNK_VALUES // max(1, images[0].size))
    for start in range(0, len(rows), together):
        values = images[rows[start : start + together]].astype(np.int64)
        first = first + values.sum(axis=(0, 1, 2))
        second = second + np.square(values).sum(axis=(0, 1, 2))
    count = max(1, len(rows) * images.shape[1] * images.shape[2])
    mean = first / count / 255
    std = np.sqrt(np.maximum(second / count / 255**2 - np.square(mean), 0.0))
    return mean.tolist(), np.where(std > 1e-6, std, 1.0).tolist()
