"""Tables as numbers: missing values, scaling and categories, fitted on the training split alone.

Shape legend: N rows, F numbers, K categories a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainers.data.raw import check_names, nearest
from trainers.dataset import Column, Dataset
from trainers.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from trainers.family import ArrayWriter

CHOICES: Mapping[str, tuple[str, ...]] = {
    "missing": ("median", "mean", "most_frequent", "drop", "none"),
    "scale": ("standard", "minmax", "none"),
    "categories": ("embed", "onehot"),
}
DEFAULTS: Mapping[str, Any] = {
    "missing": "median",
    "scale": "standard",
    "categories": "embed",
    "rare_below": 1,
}
PIECE_ROWS = 65_536
MISSING_WORDS = {"", "na", "n/a", "nan", "null", "#n/a", "none", "<na>", "nat"}
Numbers = npt.NDArray[np.float32]
Categories = npt.NDArray[np.int64]


def read_prepare(given: Any) -> dict[str, Any]:
    """The sweep file's `data.prepare` with its defaults.

    Raises:
        InputError: an unknown key, or a value that it does not take.
    """
    key = ("data", "prepare")
    if not isinstance(given, Mapping):
        raise InputError("data.prepare must be a mapping", repr(given), key=key)
    check_names(given, DEFAULTS, *key)
    prepare = {**DEFAULTS, **{k: "none" if v is None else v for k, v in given.items()}}
    for name, choices in CHOICES.items():
        if prepare[name] not in choices:
            do = nearest(str(prepare[name]), choices)
            must = f"prepare.{name} must be one of {', '.join(choices)}"
            raise InputError(must, repr(prepare[name]), do, key=(*key, name))
    rare = prepare["rare_below"]
    if not isinstance(rare, int) or isinstance(rare, bool) or rare < 0:
        must = "prepare.rare_below must be a whole number, 0 at least"
        raise InputError(must, repr(rare), key=(*key, "rare_below"))
    return prepare


def fit_table(dataset: Dataset, prepare: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the training split says about each column, as JSON.

    The state holds `numbers` (name, fill, shift, factor), `categories` (name, values; id 0 is everything
    that training never saw), `left_out` (name → why), `target` (mean and standard deviation of a regression
    target, else None) and the widths `inputs` (F) and `cardinalities` (K numbers, id 0 counted).

    Args:
        dataset: of kind `table`.
        prepare: as in the sweep file; by default the data set's own.

    Raises:
        InputError: values are missing where `missing: none` allows none, or no column is left.
    """
    rules = read_prepare(dataset.prepare if prepare is None else prepare)
    train = dataset.splits["train"]
    numbers: list[dict[str, Any]] = []
    categories: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for column in dataset.columns.values():
        _check_missing(column, rules)
        if column.kind in ("number", "time"):
            _add(_fit_numbers(column, train, rules), column, numbers, left_out)
        elif column.kind == "category":
            _add(_fit_category(column, train, rules), column, categories, left_out)
        else:
            left_out[column.name] = f"holds {column.kind}s, which tables can't use"
    if not numbers and not categories:
        found = "; ".join(f"{name} {why}" for name, why in left_out.items())
        raise InputError("a table must have a column that varies in training", found, key=("data", "columns"))
    onehot = rules["categories"] == "onehot"
    sizes = [len(entry["values"]) + 1 for entry in categories]
    return {
        "prepare": rules,
        "numbers": numbers,
        "categories": categories,
        "left_out": left_out,
        "target": _fit_target(dataset),
        "inputs": len(numbers) + (sum(size - 1 for size in sizes) if onehot else 0),
        "cardinalities": [] if onehot else sizes,
    }


def _add(
    entry: dict[str, Any] | None, column: Column, entries: list[dict[str, Any]], left_out: dict[str, str]
) -> None:
    if entry is None:
        left_out[column.name] = "has one value in all of training"
    else:
        entries.append(entry)


def _check_missing(column: Column, rules: Mapping[str, Any]) -> None:
    if rules["missing"] != "none" or column.kind not in ("number", "time", "category"):
        return
    count = int(np.isnan(np.asarray(column.values)).sum()) if column.kind != "category" else 0
    if column.kind == "category":
        count = sum(value is None for value in column.values)
    if count:
        found = f"{count:,} missing in column {column.name!r}"
        do = "write missing: median, mean, most_frequent or drop"
        raise InputError(
            "prepare.missing: none needs every value", found, do, key=("data", "prepare", "missing")
        )


def _fit_numbers(
    column: Column, train: npt.NDArray[np.int64], rules: Mapping[str, Any]
) -> dict[str, Any] | None:
    values = np.asarray(column.values)[train]
    present = values[~np.isnan(values)]
    if not len(present):
        return None
    fill = _fill_of(present, rules["missing"])
    filled = np.where(np.isnan(values), fill, values)
    low, high = float(filled.min()), float(filled.max())
    if low == high:
        return None
    shift, spread = 0.0, 1.0
    if rules["scale"] == "standard":
        shift, spread = float(filled.mean()), float(filled.std())
    elif rules["scale"] == "minmax":
        shift, spread = low, high - low
    factor = 1.0 / spread if spread > 0 else 1.0
    return {"name": column.name, "kind": column.kind, "fill": fill, "shift": shift, "factor": factor}


def _fill_of(present: npt.NDArray[np.float64], missing: str) -> float:
    if missing == "mean":
        return float(present.mean())
    if missing == "most_frequent":
        values, counts = np.unique(present, return_counts=True)
        return float(values[counts.argmax()])
    return float(np.median(present))


def _fit_category(
    column: Column, train: npt.NDArray[np.int64], rules: Mapping[str, Any]
) -> dict[str, Any] | None:
    counts = Counter(column.values[int(row)] for row in train)
    missing = counts.pop(None, 0)
    if len(counts) + bool(missing) < 2:
        return None
    kept = sorted(value for value, count in counts.items() if count >= max(1, rules["rare_below"]))
    fill = None
    if rules["missing"] == "most_frequent" and counts:
        fill = min(counts, key=lambda value: (-counts[value], value))
    return {"name": column.name, "values": kept, "fill": fill}


def _fit_target(dataset: Dataset) -> dict[str, float] | None:
    if dataset.task != "regression" or dataset.target is None:
        return None
    values = np.asarray(dataset.target.values, np.float64)[dataset.splits["train"]]
    spread = float(values.std())
    return {"mean": float(values.mean()), "std": spread if spread > 0 else 1.0}


def scaled_target(state: Mapping[str, Any], values: npt.NDArray[Any]) -> Numbers:
    """A regression target as it is trained on: zero mean, unit deviation over the training split."""
    target = state["target"]
    scaled = (np.asarray(values, np.float64) - target["mean"]) / target["std"]
    result: Numbers = scaled.astype(np.float32)
    return result


def unscaled_target(state: Mapping[str, Any], values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The inverse of `scaled_target`: predictions in the target's own unit."""
    target = state["target"]
    unscaled: npt.NDArray[np.float64] = np.asarray(values, np.float64) * target["std"] + target["mean"]
    return unscaled


def apply_table(
    state: Mapping[str, Any], rows: pd.DataFrame | Mapping[str, Column], part: slice = slice(None)
) -> tuple[Numbers, Categories]:
    """Rows as a model takes them: numbers float32 [N, F] and category ids int64 [N, K].

    Args:
        state: from `fit_table`.
        rows: a data set's columns, or a frame with a person's raw rows (strings for numbers are read;
            what is missing is filled; a category that training never saw gets id 0).
        part: which of the rows.

    Raises:
        InputError: a column is missing, or holds what can't be read as a number.
    """
    read = _reader(state, rows)
    numbers = [_numbers(entry, read(entry["name"], part), state) for entry in state["numbers"]]
    ids = [_ids(entry, read(entry["name"], part)) for entry in state["categories"]]
    count = len((numbers or ids)[0])
    if not state["cardinalities"] and ids:
        numbers += [
            column
            for entry, own in zip(state["categories"], ids, strict=True)
            for column in _onehot(entry, own)
        ]
        ids = []
    return (
        np.stack(numbers, axis=1).astype(np.float32) if numbers else np.zeros((count, 0), np.float32),
        np.stack(ids, axis=1) if ids else np.zeros((count, 0), np.int64),
    )


def write_table(dataset: Dataset, state: Mapping[str, Any], writer: ArrayWriter) -> None:
    """All rows of the data set, piece by piece, as the arrays `numbers` [N, F] and `categories` [N, K]."""
    numbers = writer.create("numbers", (dataset.rows, state["inputs"]), np.float32)
    categories = writer.create("categories", (dataset.rows, len(state["cardinalities"])), np.int64)
    for at in range(0, dataset.rows, PIECE_ROWS):
        piece = slice(at, min(at + PIECE_ROWS, dataset.rows))
        numbers[piece], categories[piece] = apply_table(state, dataset.columns, piece)


def _reader(state: Mapping[str, Any], rows: pd.DataFrame | Mapping[str, Column]) -> Any:
    """(name, part) → the values of one column."""
    needed = [entry["name"] for entry in (*state["numbers"], *state["categories"])]
    present = list(rows) if isinstance(rows, Mapping) else [str(name) for name in rows.columns]
    absent = [name for name in needed if name not in present]
    if absent:
        found = f"none named {', '.join(map(repr, absent))}"
        raise InputError(
            "rows must have every column that the model was trained on", found, nearest(absent[0], present)
        )
    if isinstance(rows, Mapping):
        return lambda name, part: rows[name].values[part]
    return lambda name, part: rows[name].to_numpy(dtype=object)[part]


def _numbers(entry: Mapping[str, Any], values: Any, state: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    read = (
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
        read = np.where(missing, entry["fill"], read)
    scaled: npt.NDArray[np.float64] = (read - entry["shift"]) * entry["factor"]
    return scaled


def _read_numbers(entry: Mapping[str, Any], values: Any) -> npt.NDArray[np.float64]:
    if entry["kind"] == "time":
        return _seconds(entry["name"], values)
    numbers = np.empty(len(values), np.float64)
    for at, value in enumerate(values):
        try:
            numbers[at] = np.nan if _is_missing(value) else float(value)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"column {entry['name']!r} must hold numbers", f"{value!r} in row {at}")
    return numbers


def _seconds(name: str, values: Any) -> npt.NDArray[np.float64]:
    import pandas as pd

    if all(isinstance(value, (int, float)) for value in values):
        return np.array(values, np.float64)
    try:
        moments = pd.to_datetime(pd.Series(list(values), dtype=object), utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise InputError(f"column {name!r} must hold ISO 8601 dates", str(error)) from error
    seconds: npt.NDArray[np.float64] = moments.astype("datetime64[us, UTC]").astype("int64").to_numpy() / 1e6
    return np.where(moments.isna().to_numpy(), np.nan, seconds)


def _is_missing(value: Any) -> bool:
    if value is None or (isinstance(value, str) and value.strip().lower() in {*MISSING_WORDS, "?", "-", "."}):
        return True
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return bool(value != value)


def _ids(entry: Mapping[str, Any], values: Sequence[Any]) -> Categories:
    ids = {value: number for number, value in enumerate(entry["values"], start=1)}
    fill = ids.get(entry["fill"], 0)
    found = (fill if _no_category(value) else ids.get(_label(value), 0) for value in values)
    return np.fromiter(found, np.int64, len(values))


def _no_category(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or str(value) in ("", "<NA>", "NaT")


def _label(value: Any) -> str:
    """A category as training saw it: 3.0 in a frame is the category 3."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    return str(value)


def _onehot(entry: Mapping[str, Any], ids: Categories) -> list[npt.NDArray[np.float64]]:
    """One column a known value; what training never saw is all zeros."""
    return [(ids == number).astype(np.float64) for number in range(1, len(entry["values"]) + 1)]
