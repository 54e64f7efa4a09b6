"""Tables as numbers, by what `trainers.data.prepare` fitted on the training split.

Shape legend: N rows, F numbers, K categories a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from trainers.data.cell_values import MISSING_WORDS, category_reader, read_number, spell_value
from trainers.data.dataset import Column, Dataset
from trainers.data.number_spellings import NumberSpelling
from trainers.data.prepare import FLOAT32_MAX, CategoryEntry, NumberEntry, TableState
from trainers.errors import CellError, InputError
from trainers.nearest import advice

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import Array, ArrayWriter, Cell

PIECE_ROWS = 65_536
EXCELS_1970 = 25_569  # the day that Excel gives this number is the first of 1970
LARGEST = 1e30  # of a number that a model is asked about: models compute in float32, which ends at 3.4e38
LARGEST_SCALED = 1e35  # of a column whose values differ by a hundred thousandth
FAR = 50.0  # of the scale's units away from its middle is no time that training saw
FIRST_COUNTED, LAST_COUNTED = (
    1e8,
    4.2e9,
)  # seconds since 1970: 1973 and 2103, between which today's numbers lie
Numbers = npt.NDArray[np.float32]
Categories = npt.NDArray[np.int64]
Values: TypeAlias = "Array | Sequence[Cell]"


def apply_table(
    state: TableState, rows: pd.DataFrame | Mapping[str, Column], part: slice = slice(None)
) -> tuple[Numbers, Categories]:
    """Rows as a model takes them: numbers float32 [N, F] and category ids int64 [N, K].

    Args:
        state: from `fit_table`.
        rows: a data set's columns, or a frame with a person's raw rows (strings for numbers are read;
            what is missing is filled; a category that training never saw gets id 0).
        part: which of the rows.
    """
    read = _column_reader(state, rows)
    numbers = [_prepare_numbers(entry, read(entry["name"], part), state) for entry in state["numbers"]]
    ids = [_category_ids(entry, read(entry["name"], part)) for entry in state["categories"]]
    count = len((numbers or ids)[0])
    if not state["cardinalities"] and ids:
        numbers += [
            column
            for entry, own in zip(state["categories"], ids, strict=True)
            for column in _encode_onehot(entry, own)
        ]
        ids = []
    return (
        np.stack(numbers, axis=1).astype(np.float32) if numbers else np.zeros((count, 0), np.float32),
        np.stack(ids, axis=1) if ids else np.zeros((count, 0), np.int64),
    )


def write_table(dataset: Dataset, state: TableState, writer: ArrayWriter) -> None:
    """All rows of the data set, piece by piece, as the arrays `numbers` [N, F] and `categories` [N, K]."""
    numbers = writer.create("numbers", (dataset.rows, state["inputs"]), np.float32)
    categories = writer.create("categories", (dataset.rows, len(state["cardinalities"])), np.int64)
    for at in range(0, dataset.rows, PIECE_ROWS):
        piece = slice(at, min(at + PIECE_ROWS, dataset.rows))
        numbers[piece], categories[piece] = apply_table(state, dataset.columns, piece)


def _column_reader(
    state: TableState, rows: pd.DataFrame | Mapping[str, Column]
) -> Callable[[str, slice], Values]:
    """(name, part) → the values of one column."""
    needed = [entry["name"] for entry in (*state["numbers"], *state["categories"])]
    present = list(rows) if isinstance(rows, Mapping) else [str(name) for name in rows.columns]
    absent = [name for name in needed if name not in present]
    if absent:
        found = f"none named {', '.join(map(repr, absent))}"
        raise InputError(
            "rows must have every column that the model was trained on", found, advice(absent[0], present)
        )
    if isinstance(rows, Mapping):
        return lambda name, part: rows[name].values[part]
    return lambda name, part: rows[name].to_numpy(dtype=object)[part]


def _prepare_numbers(entry: NumberEntry, values: Values, state: TableState) -> npt.NDArray[np.float64]:
    read = given = (
        values
        if isinstance(values, np.ndarray) and values.dtype == np.float64
        else _read_numbers(entry, values)
    )
    missing = ~np.isfinite(read)
    if missing.any():
        if state["prepare"]["missing"] in ("none", "drop"):
            must = f"column {entry['name']!r} must have a value in every row"
            raise InputError(
                must, f"{int(missing.sum())} missing", "fill them, or train with missing: median"
            )
        read = np.where(missing, np.nan if entry["fill"] is None else entry["fill"], read)
    scaled: npt.NDArray[np.float64] = (read - entry["shift"]) * entry["factor"]
    own = given is values
    beyond = np.abs(scaled) > (FLOAT32_MAX if own else LARGEST_SCALED)
    _check_size(entry, values, beyond if own else beyond | (np.abs(read) > LARGEST), own=own)
    return scaled


def _check_size(entry: NumberEntry, values: Values, beyond: npt.NDArray[np.bool_], *, own: bool) -> None:
    """Refuses what would be infinite in float32, whose answer is no number.

    Args:
        own: they are a data set's own values, which the training part's fit has held to it: all that float32
            has is left to them.
    """
    too_large = np.flatnonzero(beyond)
    if not len(too_large):
        return
    at = int(too_large[0])
    must = f"column {entry['name']!r} must hold numbers that a model can compute with"
    if not own:
        raise CellError(must, repr(values[at]), at, "correct it, or leave it empty if it is none")
    raise InputError(
        must, repr(values[at]), "correct it, or leave the row out", key=("data", "prepare", "scale")
    )


def _read_numbers(entry: NumberEntry, values: Values) -> npt.NDArray[np.float64]:
    if entry["kind"] == "time":
        return _parse_times(entry, values)
    spelling = NumberSpelling.from_json(entry["spelling"]) if "spelling" in entry else None
    numbers = np.empty(len(values), np.float64)
    for at, value in enumerate(values):
        try:
            numbers[at] = read_number(value, spelling)
        except (TypeError, ValueError, OverflowError):
            raise CellError(f"column {entry['name']!r} must hold numbers", repr(value), at)
    return numbers


def _parse_times(entry: NumberEntry, values: Values) -> npt.NDArray[np.float64]:
    """Seconds since 1970, each value by itself: whoever is asked together with others is answered alike."""
    numbers = np.full(len(values), np.nan)
    texts: dict[int, str] = {}
    for at, value in enumerate(values):
        text = spell_value(value)
        if text is None or text.strip().lower() in MISSING_WORDS:
            continue
        try:
            if "time_format" in entry and isinstance(value, str):
                raise ValueError
            numbers[at] = read_number(value)
        except (ValueError, OverflowError):
            texts[at] = text  # a date, then
    seconds = _in_seconds(entry, numbers)
    _refuse_uncounted(entry, seconds, values)
    seconds[list(texts)] = _parse_dates(entry, texts)
    return seconds


def _parse_dates(entry: NumberEntry, texts: Mapping[int, str]) -> npt.NDArray[np.float64]:
    """Seconds since 1970 of dates, by their rows."""
    import pandas as pd

    time_format = entry.get("time_format")
    given = pd.Series(list(texts.values()), dtype=object)
    moments = pd.to_datetime(given, utc=True, format=time_format or "ISO8601", errors="coerce")
    if time_format is not None:
        moments = moments.fillna(pd.to_datetime(given, utc=True, format="ISO8601", errors="coerce"))
    wrong = next((row for row, moment in zip(texts, moments, strict=True) if pd.isna(moment)), None)
    if wrong is not None:
        what = f"dates of the format {time_format!r}" if time_format else "ISO 8601 dates"
        do = "" if time_format else "write it as 2024-05-31 or 2024-05-31T12:00:00Z"
        raise CellError(f"column {entry['name']!r} must hold {what}", repr(texts[wrong]), wrong, do)
    seconds: npt.NDArray[np.float64] = moments.astype("datetime64[us, UTC]").astype("int64").to_numpy() / 1e6
    return seconds


def _in_seconds(entry: NumberEntry, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Numbers that stand for times as seconds since 1970. Those that would lie far outside of what training
    saw, and as milliseconds (which pandas and JavaScript write), micro- or nanoseconds, as Excel's days, as
    20240531 or as a year within it, are that."""

    if (
        entry["factor"] == 1.0 or not (_distance(entry, numbers) > FAR).any()
    ):  # prepare.scale: none tells no range
        return numbers
    days = (numbers - EXCELS_1970) * 86_400
    compact = (_compact_days(numbers), _compact_days(numbers * 10_000 + 101))  # and the first day of a year
    for other in (numbers / 1e3, numbers / 1e6, numbers / 1e9, days, *compact):
        numbers = np.where(
            (_distance(entry, numbers) > FAR) & (_distance(entry, other) <= FAR), other, numbers
        )
    return numbers


def _refuse_uncounted(entry: NumberEntry, seconds: npt.NDArray[np.float64], values: Values) -> None:
    """Where training saw times of our days, a number far from them that is no time in any unit: thousands of
    seconds, say, or milliseconds of a year that training did not see. As seconds it would be answered without
    a word."""
    if not FIRST_COUNTED <= entry["shift"] <= LAST_COUNTED:
        return
    far = _distance(entry, seconds) > FAR
    wrong = np.flatnonzero(far & ((seconds < FIRST_COUNTED) | (seconds > LAST_COUNTED)))
    if len(wrong):
        at = int(wrong[0])
        must = f"column {entry['name']!r} must hold times near those of training, or written as dates"
        raise CellError(must, repr(values[at]), at, "write it as 2024-05-31 or 2024-05-31T12:00:00Z")


def _distance(entry: NumberEntry, seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """From the middle of what training saw, in the scale's units."""
    return np.abs(seconds - entry["shift"]) * entry["factor"]


def _compact_days(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Seconds since 1970 of 20240531; NaN where a number is no such day."""
    import pandas as pd

    sound = (numbers >= 1900_01_01) & (numbers <= 2100_12_31) & (numbers == np.floor(numbers))
    texts = pd.Series([f"{number:.0f}" if use else None for number, use in zip(numbers, sound, strict=True)])
    days = pd.to_datetime(texts.astype(object), format="%Y%m%d", errors="coerce")
    return np.array([np.nan if pd.isna(day) else day.timestamp() for day in days], np.float64)


def _category_ids(entry: CategoryEntry, values: Values) -> Categories:
    read = category_reader(entry["values"])
    fill = 0 if entry["fill"] is None else read(entry["fill"]) or 0
    found = (read(value) for value in values)
    return np.fromiter((fill if number is None else number for number in found), np.int64, len(values))


def count_unseen(state: TableState, rows: pd.DataFrame) -> dict[str, int]:
    """Column of categories → how many of the rows' values it never had in training; missing ones are not
    counted."""
    return {
        entry["name"]: list(
            map(category_reader(entry["values"]), rows[entry["name"]].to_numpy(dtype=object))
        ).count(0)
        for entry in state["categories"]
    }


def _encode_onehot(entry: CategoryEntry, ids: Categories) -> list[npt.NDArray[np.float64]]:
    """One column a known value; what training never saw is all zeros."""
    return [(ids == number).astype(np.float64) for number in range(1, len(entry["values"]) + 1)]
