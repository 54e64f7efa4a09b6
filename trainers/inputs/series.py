"""How families read a table as a series: the rows that went before each row, as windows of channels.

The rows stand in the order of time. Row t's example is the window that ends `horizon` rows before it:

    rows t - horizon - (window - 1) step, …, t - horizon - step, t - horizon → target of row t

With a horizon of 1 or more the target's own past is one of the channels (in regression), so a forecast needs
no other column. A window that begins before the first row is shorter; its length says so.

Shape legend: N rows, W rows of a window, C channels (numbers, one-hot categories, the target's past).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from trainers.data.cell_values import read_number
from trainers.data.dataset import Dataset, Part
from trainers.errors import InputError
from trainers.options import Options
from trainers.types import Array, ArrayWriter, State

if TYPE_CHECKING:
    import pandas as pd

    from trainers.data.prepare import TableState

PIECE_ROWS = 16_384
MOST_EXAMPLE_ROWS = 64
_ORDER: tuple[Part, ...] = ("train", "validation", "test")


class SeriesOptions(Options):
    """Fixed structure of a family that reads a table as a series.

    Attributes:
        window: rows that an example has at most; without it a table is no series.
        step: rows from one row of a window to the next.
        horizon: rows from a window's last row to the row whose target is learned; 0 is that row itself.
    """

    window: int | None = Field(default=None, ge=1)
    step: int = Field(default=1, ge=1)
    horizon: int = Field(default=0, ge=0)


def check_series(dataset: Dataset, options: SeriesOptions) -> None:
    """Refuses a table that cannot be read as a series.

    Raises:
        InputError: no window is given, or the parts don't follow one another: then windows of one part
            would hold rows of a later one.
    """
    if options.window is None:
        raise InputError(
            "a table must be given a window to be read as a series", "none", "write options: {window: 32}",
            key=("options", "window"),
        )  # fmt: skip
    parts = [name for name in _ORDER if len(dataset.splits.get(name, ()))]
    for before, after in pairwise(parts):
        if dataset.splits[before][-1] > dataset.splits[after][0]:
            raise InputError(
                "a series' parts must follow one another", f"rows of {after} before rows of {before}",
                "sort the rows by time, name it under data.columns.time, and write split: {by: time}",
                key=("data", "split", "by"),
            )  # fmt: skip


def write_windows(dataset: Dataset, options: SeriesOptions, scaling: State, writer: ArrayWriter) -> State:
    """Writes `inputs` float32 [N, W, C] and `lengths` int64 [N].

    Args:
        scaling: `target_mean` and `target_std` where the target is a number, as `write_target` returns them.

    Returns:
        `table`, `channels` (C), `window`, `step`, `horizon`, and `past`: the name of the target's column
        where its past is a channel.
    """
    from trainers.data.tables import apply_table

    past = None
    if options.horizon and dataset.task == "regression" and dataset.target is not None:
        past = dataset.target.name
    table = _fit_features(dataset, past is not None)
    values = [] if table is None else [apply_table(table, dataset.columns)[0]]
    if past is not None and dataset.target is not None:
        values.append(_scale_target(np.asarray(dataset.target.values, np.float64), scaling))
    rows = np.concatenate(values, axis=1)
    state: State = {
        "table": table, "past": past, "channels": rows.shape[1], "window": options.window,
        "step": options.step, "horizon": options.horizon,
    }  # fmt: skip
    inputs = writer.create("inputs", (len(rows), state["window"], rows.shape[1]), np.float32)
    lengths = writer.create("lengths", (len(rows),), np.int64)
    for at in range(0, len(rows), PIECE_ROWS):
        piece = np.arange(at, min(at + PIECE_ROWS, len(rows)))
        inputs[piece], lengths[piece] = cut_windows(rows, piece, state)
    return state


def _fit_features(dataset: Dataset, may_be_none: bool) -> TableState | None:
    from trainers.data.prepare import fit_table

    try:
        return fit_table(dataset, {**dataset.prepare, "categories": "onehot"})
    except InputError:
        if may_be_none and not dataset.columns:
            return None
        raise


def _scale_target(values: Array, scaling: State) -> Array:
    """float32 [N, 1]; 0, the mean, where a value is missing."""
    scaled = (values - scaling["target_mean"]) / scaling["target_std"]
    known: Array = np.nan_to_num(scaled, nan=0.0)[:, None].astype(np.float32)
    return known


def cut_windows(rows: Array, chosen: Array, state: State) -> tuple[Array, Array]:
    """The windows of some rows: float32 [n, W, C], filled up with zeros, and their lengths, int64 [n].

    A row before which there is nothing has a window of one row of zeros: the mean of each channel.

    Args:
        rows: float32 [N, C].
        chosen: int64 [n], rows of it.
        state: `window`, `step`, `horizon`.
    """
    window, step = int(state["window"]), int(state["step"])
    last = chosen - int(state["horizon"])
    lengths = np.clip(last // step + 1, 0, window)
    place = np.arange(window)[None]
    at = last[:, None] - step * (lengths[:, None] - 1 - place)
    there = place < lengths[:, None]
    made = np.where(there[:, :, None], rows[np.where(there, at, 0)], np.float32(0))
    return made.astype(np.float32), np.maximum(lengths, 1).astype(np.int64)


def windows_from_user(rows: pd.DataFrame, state: State) -> dict[str, Array]:
    """A person's rows, in the order of time, as windows: each row is answered from those before it."""
    from trainers.data.tables import apply_table

    values = [] if state["table"] is None else [apply_table(state["table"], rows)[0]]
    if state["past"] is not None:
        values.append(_scale_target(_read_target(rows, state["past"]), state))
    inputs, lengths = cut_windows(np.concatenate(values, axis=1), np.arange(len(rows)), state)
    return {"inputs": inputs, "lengths": lengths}


def _read_target(rows: pd.DataFrame, name: str) -> Array:
    if name not in rows.columns:
        raise InputError(
            "rows must have the target's column, whose past is read", f"no {name!r}",
            "leave it empty where it is not known yet",
        )  # fmt: skip
    try:
        found: Array = np.array([read_number(value) for value in rows[name]], np.float64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"column {name!r} must hold numbers", str(error)) from error
    return found


def example_series(dataset: Dataset, options: SeriesOptions, rows: int) -> pd.DataFrame:
    """The first rows of the series as a person hands them in: a window and the row that it is for, 64 at
    most; the target's past among the columns where it is read."""
    from trainers.data.examples import example_rows

    whole = options.horizon + options.step * ((options.window or 1) - 1) + 1
    count = max(rows, min(whole, MOST_EXAMPLE_ROWS))
    found = example_rows(dataset, count)
    if options.horizon and dataset.task == "regression" and dataset.target is not None:
        known = np.asarray(dataset.target.values, np.float64)
        found[dataset.target.name] = known[dataset.splits["train"][:count]]
    return found
