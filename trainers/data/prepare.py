"""How tables become numbers: missing values, scaling and categories, fitted on the training split alone.

Shape legend: F numbers, K categories a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NotRequired, TypedDict, TypeVar, cast

import numpy as np
import numpy.typing as npt

from trainers.data.dataset import Column, ColumnKind, Dataset
from trainers.data.number_spellings import KeptSpelling
from trainers.data.raw import check_names
from trainers.errors import InputError
from trainers.nearest import advice
from trainers.types import Json, JsonObject

CHOICES: Mapping[str, tuple[str, ...]] = {
    "missing": ("median", "mean", "most_frequent", "drop", "none"),
    "scale": ("standard", "minmax", "none"),
    "categories": ("embed", "onehot"),
}
DEFAULTS: Mapping[str, Json] = {
    "missing": "median",
    "scale": "standard",
    "categories": "embed",
    "rare_below": 1,
}


FLOAT32_MAX = float(np.finfo(np.float32).max)


class PrepareRules(TypedDict):
    """The sweep file's `data.prepare`, checked and complete."""

    missing: str | float
    scale: str
    categories: str
    rare_below: int


class NumberEntry(TypedDict):
    """A column of numbers: what stands for a missing one (None: it stays NaN), (x - shift) * factor, and how
    cells spell x."""

    name: str
    kind: ColumnKind
    fill: float | None
    shift: float
    factor: float
    spelling: NotRequired[KeptSpelling]
    time_format: NotRequired[str]


class CategoryEntry(TypedDict):
    """A column of categories: those that training knows, and what stands for a missing one."""

    name: str
    values: list[str]
    fill: str | None


class TableState(TypedDict):
    """What the training split says about each column, as JSON; id 0 is all that training never saw.

    Attributes:
        left_out: name of a column → why.
        inputs: F.
        cardinalities: K numbers, id 0 counted; none where categories become columns of zeros and ones.
    """

    prepare: PrepareRules
    numbers: list[NumberEntry]
    categories: list[CategoryEntry]
    left_out: dict[str, str]
    inputs: int
    cardinalities: list[int]


def read_prepare(given: Json) -> JsonObject:
    """The sweep file's `data.prepare` with its defaults.

    Raises:
        InputError: an unknown key, or a value that it does not take.
    """
    key = ("data", "prepare")
    if not isinstance(given, Mapping):
        raise InputError("data.prepare must be a mapping", repr(given), key=key)
    check_names(given, DEFAULTS, *key)
    prepare: JsonObject = {**DEFAULTS, **{k: "none" if v is None else v for k, v in given.items()}}
    for name, choices in CHOICES.items():
        if prepare[name] not in choices and not (name == "missing" and _is_filler(prepare[name])):
            do = advice(str(prepare[name]), choices)
            more = " or a finite number" if name == "missing" else ""
            must = f"prepare.{name} must be one of {', '.join(choices)}{more}"
            raise InputError(must, repr(prepare[name]), do, key=(*key, name))
    rare = prepare["rare_below"]
    if not isinstance(rare, int) or isinstance(rare, bool) or rare < 0:
        must = "prepare.rare_below must be a whole number, 0 at least"
        raise InputError(must, repr(rare), key=(*key, "rare_below"))
    return prepare


def _is_filler(value: Json) -> bool:
    """Whether it is a number that may stand for what is missing."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def fit_table(dataset: Dataset, prepare: Mapping[str, Json] | None = None) -> TableState:
    """What the training split says about each column.

    Args:
        dataset: of kind `table`.
        prepare: as in the sweep file; by default the data set's own.

    Raises:
        InputError: values are missing where `missing: none` allows none, or no column is left.
    """
    rules = cast("PrepareRules", read_prepare(dataset.prepare if prepare is None else prepare))
    train = dataset.splits["train"]
    numbers: list[NumberEntry] = []
    categories: list[CategoryEntry] = []
    left_out: dict[str, str] = {}
    for column in dataset.columns.values():
        _check_missing(column, rules)
        if column.kind in ("number", "time"):
            _add_entry(_fit_numbers(column, train, rules), column, numbers, left_out)
        elif column.kind == "category":
            _add_entry(_fit_category(column, train, rules), column, categories, left_out)
        else:
            left_out[column.name] = f"holds {column.kind}s, which tables cannot use"
    if not numbers and not categories:
        raise _nothing_left(left_out)
    onehot = rules["categories"] == "onehot"
    sizes = [len(entry["values"]) + 1 for entry in categories]
    return {
        "prepare": rules,
        "numbers": numbers,
        "categories": categories,
        "left_out": left_out,
        "inputs": len(numbers) + (sum(size - 1 for size in sizes) if onehot else 0),
        "cardinalities": [] if onehot else sizes,
    }


Entry = TypeVar("Entry", NumberEntry, CategoryEntry)


def _nothing_left(left_out: Mapping[str, str]) -> InputError:
    found = "; ".join(f"{name} {why}" for name, why in left_out.items())
    do = "from these columns nothing can be learned: name a source with others"
    return InputError(
        "a table must have a column that varies in training", found, do, key=("data", "columns")
    )


def _add_entry(entry: Entry | None, column: Column, entries: list[Entry], left_out: dict[str, str]) -> None:
    if entry is None:
        left_out[column.name] = "has one value in all of training"
    else:
        entries.append(entry)


def _check_missing(column: Column, rules: PrepareRules) -> None:
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


def _fit_numbers(column: Column, train: npt.NDArray[np.int64], rules: PrepareRules) -> NumberEntry | None:
    values = np.asarray(column.values)[train]
    present = values[~np.isnan(values)]
    if not len(present):
        return None
    fill = _fill_value(present, rules["missing"])
    filled = np.where(np.isnan(values), fill, values)
    low, high = float(filled.min()), float(filled.max())
    if low == high:
        return None
    shift, factor = _scaling(filled, rules["scale"])
    _check_range(column.name, (low, high), shift, factor)
    entry: NumberEntry = {
        "name": column.name, "kind": column.kind, "fill": fill, "shift": shift, "factor": factor,
    }  # fmt: skip
    if column.reading is not None and column.reading.spelling is not None:
        entry["spelling"] = column.reading.spelling.to_json()
    if column.reading is not None and column.reading.time_format is not None:
        entry["time_format"] = column.reading.time_format
    return entry


def _scaling(filled: npt.NDArray[np.float64], scale: str) -> tuple[float, float]:
    """The shift and the factor; not finite where the numbers are too large for them."""
    shift, spread = 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        if scale == "standard":
            shift, spread = float(filled.mean()), float(filled.std())
        elif scale == "minmax":
            shift, spread = float(filled.min()), float(np.ptp(filled))
    return shift, 1.0 / spread if spread > 0 else 1.0


def _check_range(name: str, ends: tuple[float, float], shift: float, factor: float) -> None:
    """Refuses what is no number of 32 bits once it is scaled, which models compute with."""
    scaled = [(end - shift) * factor for end in ends]
    if not all(np.isfinite([shift, factor])) or factor == 0.0 or max(map(abs, scaled)) > FLOAT32_MAX:
        found = f"{ends[0]:.4g} to {ends[1]:.4g}"
        do = f"correct them, or leave it out: data.columns.drop: [{name}]"
        must = f"column {name!r} must hold numbers that models can compute with once they are scaled"
        raise InputError(must, found, do, key=("data", "columns"))


def _fill_value(present: npt.NDArray[np.float64], missing: str | float) -> float:
    if not isinstance(missing, str):
        return float(missing)
    if missing == "mean":
        return float(present.mean())
    if missing == "most_frequent":
        values, counts = np.unique(present, return_counts=True)
        return float(values[counts.argmax()])
    return float(np.median(present))


def _fit_category(column: Column, train: npt.NDArray[np.int64], rules: PrepareRules) -> CategoryEntry | None:
    counts = Counter(column.values[int(row)] for row in train)
    missing = counts.pop(None, 0)
    if len(counts) + bool(missing) < 2:
        return None
    kept = sorted(value for value, count in counts.items() if count >= max(1, rules["rare_below"]))
    fill = None
    if rules["missing"] == "most_frequent" and counts:
        fill = min(counts, key=lambda value: (-counts[value], value))
    return {"name": column.name, "values": kept, "fill": fill}
