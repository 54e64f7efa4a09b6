"""How families read clips of sound as they read images: a spectrogram's bytes, with time as its height.

Shape legend: N rows, B examples, T frames, M mel bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import Field

from trainers.data.audio import RATE, Spectrogram, clip_seconds, decode_clips, decode_user_clips, usual_length
from trainers.data.dataset import Dataset, Kind
from trainers.errors import InputError
from trainers.family import first_missing
from trainers.inputs.images import OF_IMAGES, ImageOptions, channel_moments, images_from_user, write_images
from trainers.types import Array, ArrayWriter, State

if TYPE_CHECKING:
    import pandas as pd

CLIP = "spectrogram"  # in the state of a model of clips


class GridOptions(ImageOptions):
    """Fixed structure of a family that reads images and clips.

    Attributes:
        rate: of clips, in Hz, to which each is brought.
        seconds: at which clips are cut, or to which they are filled up; by default as 95 in 100 of training
            need.
        mels: bands of their spectrograms.
    """

    rate: int = Field(default=RATE, ge=4000, le=48_000)
    seconds: float | None = Field(default=None, ge=0.1, le=60)
    mels: int = Field(default=64, ge=8, le=256)


OF_GRIDS: Mapping[str, tuple[Kind, ...]] = {
    **OF_IMAGES,
    **dict.fromkeys(("rate", "seconds", "mels"), ("audio",)),
}
"""For `Family.reads_only`."""


def write_grids(dataset: Dataset, options: GridOptions, writer: ArrayWriter) -> State:
    """Writes `inputs`, uint8 [N, H, W, C]: images, or spectrograms [N, T, M, 1].

    Returns:
        As `write_images`; of clips `shape`, `mean`, `std` and how their spectrograms are made.
    """
    if dataset.kind != "audio":
        return write_images(dataset, options, writer)
    column, train = dataset.columns["audio"], dataset.splits["train"]
    seconds = options.seconds or usual_length(clip_seconds(column, train.tolist()))
    how = Spectrogram(rate=options.rate, seconds=seconds, mels=options.mels)
    mean, std = channel_moments(decode_clips(column, writer, how), train)
    return {"shape": list(how.shape), "mean": mean, "std": std, CLIP: asdict(how)}


def grids_from_user(rows: pd.DataFrame, state: State) -> dict[str, Array]:
    """Clips of the column `audio`, files' paths or encoded bytes; images as `images_from_user` has them.

    Raises:
        InputError: there is no such column, or one cannot be read.
    """
    if CLIP not in state:
        return images_from_user(rows, state)
    if first_missing(rows, ["audio"]):
        raise InputError("rows must have a column audio", f"columns {list(rows.columns)}")
    return {"inputs": decode_user_clips(rows["audio"], Spectrogram(**state[CLIP]))}
