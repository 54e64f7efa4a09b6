"""How a column's values are distributed, in a few numbers, and how far two samples of it lie apart.

What training saw is kept in a model's bundle, so that whoever serves it can tell when its inputs change. The
distance is the population stability index, the symmetrised Kullback-Leibler divergence of the bins' shares.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict

import numpy as np

from trainers.data.audio import loudness
from trainers.data.cell_values import MISSING_WORDS, category_key, read_number, spell_value
from trainers.data.dataset import Column, Dataset
from trainers.data.images import decode_user_images
from trainers.types import Cell

SAMPLE_ROWS = 20_000
SAMPLE_IMAGES = 512
BINS = 10
MOST_VALUES = 50
MOST_COLUMNS = 1000
PICTURE = (16, 16)
TARGET = ""

DistributionKind = Literal["number", "category", "text", "image", "audio"]


class Distribution(TypedDict):
    """One column's values: of texts their number of characters, of images their mean brightness, 0 to 1,
    of clips their loudness in decibels below full scale.

    Attributes:
        rows: that were looked at.
        missing: the share of them without a value.
        least, most: of numbers.
        edges: between the bins of numbers, ascending.
        values: the commonest categories.
        counts: rows in each bin of numbers, or of each of `values` and then of all others; missing ones last.
    """

    kind: DistributionKind
    rows: int
    missing: float
    least: float | None
    most: float | None
    edges: list[float]
    values: list[str]
    counts: list[int]


def training_distributions(dataset: Dataset) -> dict[str, Distribution]:
    """Column → how its values are distributed in the training part; `TARGET` is the target's.

    Rows are sampled evenly where there are many, and of very wide tables the first columns are told.
    """
    train = dataset.splits.get("train")
    if dataset.kind in ("corpus", "none") or train is None or not len(train):
        return {}
    columns = dict(list(dataset.columns.items())[:MOST_COLUMNS])
    if dataset.target is not None:
        columns[TARGET] = dataset.target
    return {name: _column_distribution(column, train.tolist()) for name, column in columns.items()}


def _column_distribution(column: Column, rows: list[int]) -> Distribution:
    most = SAMPLE_IMAGES if column.kind in ("image", "audio") else SAMPLE_ROWS
    chosen = rows[:: max(1, math.ceil(len(rows) / most))]
    kind: DistributionKind = "number" if column.kind == "time" else column.kind
    return describe_values(kind, [column.values[row] for row in chosen])


def describe_values(kind: DistributionKind, values: Sequence[Cell]) -> Distribution:
    """The distribution of a column's values, of one at least."""
    known = [value for value in (measure_value(kind, value) for value in values) if value is not None]
    numbers = sorted(value for value in known if isinstance(value, float))
    names = Counter(value for value in known if isinstance(value, str))
    edges: list[float] = []
    if numbers:
        cuts = np.quantile(numbers, np.arange(1, BINS) / BINS, method="lower")
        edges = sorted(set(cuts.tolist()) - {numbers[0]})
    found: Distribution = {
        "kind": kind, "rows": len(values), "missing": round(1 - len(known) / len(values), 6),
        "least": numbers[0] if numbers else None, "most": numbers[-1] if numbers else None,
        "edges": edges, "values": [name for name, _ in names.most_common(MOST_VALUES)], "counts": [],
    }  # fmt: skip
    return {**found, "counts": count_values(found, values)}


def measure_value(kind: DistributionKind, value: Cell) -> float | str | None:
    """What is counted of a value; None where it is missing, or cannot be read."""
    if kind in ("image", "audio"):  # a number is one that was measured before
        if value is None or isinstance(value, float):
            return value
        return loudness(value) if kind == "audio" else _measure_brightness(value)
    if kind == "number":
        try:
            number = read_number(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None
    text = spell_value(value)
    if kind == "text":
        return None if text is None else float(len(text))
    return None if text is None or text.strip().lower() in MISSING_WORDS else category_key(text)


def _measure_brightness(value: Cell) -> float:
    pixels = decode_user_images([value], size=PICTURE, channels=1, fit="stretch")
    return float(pixels.mean()) / 255


def empty_counts(known: Distribution) -> list[int]:
    """No rows in any of the distribution's places."""
    return [0] * ((len(known["values"]) + 1 if known["kind"] == "category" else len(known["edges"]) + 1) + 1)


def count_values(known: Distribution, values: Iterable[Cell]) -> list[int]:
    """How many of the values fall into each of the distribution's places, missing ones into the last."""
    counts = empty_counts(known)
    places = {name: place for place, name in enumerate(known["values"])}
    for value in values:
        found = measure_value(known["kind"], value)
        if found is None:
            counts[-1] += 1
        elif isinstance(found, str):
            counts[places.get(found, -2)] += 1
        else:
            counts[bisect_right(known["edges"], found)] += 1
    return counts


def stability_index(expected: Sequence[int], observed: Sequence[int]) -> float:
    """The population stability index of two samples' counts, less what chance alone makes of it.

    Below 0.1 is taken for the same, above 0.25 for another distribution. Two samples of one distribution with
    k places and n and m rows have (k - 1) (1/n + 1/m) on average.
    """
    places = [(a, b) for a, b in zip(expected, observed, strict=True) if a or b]
    first, second = sum(a for a, _ in places), sum(b for _, b in places)
    if not first or not second:
        return 0.0
    total = 0.0
    for a, b in places:
        one = (a + 0.5) / (first + 0.5 * len(places))
        other = (b + 0.5) / (second + 0.5 * len(places))
        total += (other - one) * math.log(other / one)
    return max(0.0, total - (len(places) - 1) * (1 / first + 1 / second))
