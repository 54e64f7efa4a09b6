"""What is said of a column that may not be what it seems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainers.column_profiles import profile_columns
from trainers.data.sources.opening import open_dataset

RNG = np.random.default_rng(0)
PRICES = RNG.random(200) * 5000


def describe(folder: Path, values: object) -> str:
    frame = pd.DataFrame({"v": values, "x": RNG.normal(size=200), "label": ["a", "b"] * 100})
    frame.to_csv(folder / "rows.csv", index=False)
    dataset = open_dataset({"source": "csv:rows.csv"}, base=folder, cache=folder)
    return profile_columns(dataset)[0].describe()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["red", "red ", "blue", "teal"] * 50, "'red', 'red ' differ by blanks or case alone"),
        (["red", "Red", "blue", "Blue"] * 50, "case alone: each is learned, and 1 more"),
        (["caf\u00e9", "cafe\u0301"] * 100, r"'caf\xe9', 'cafe\u0301' differ"),
        (["red", "red\u200b"] * 100, r"'red', 'red\u200b' differ"),
        ([f"{n % 12 + 1:02}/{n % 11 + 1:02}/2020" for n in range(200)], '(or "%d/%m/%Y": they fit both)'),
        ([f"{n % 12 + 1:02}/{n % 28 + 1:02}/2020" for n in range(200)], 'format: "%m/%d/%Y"}}}'),
        ([f"{n % 24}:{n % 60:02}" for n in range(200)], '"%H:%M"'),
        (np.where(np.arange(200) % 9, PRICES, -999), "-999 stands in 23 rows, far from all others"),
        (np.where(np.arange(200) % 9, PRICES, 99999), "99999 stands in 23 rows"),
        (np.where(np.arange(200) % 9, PRICES, -1), "-1 stands in 23 rows"),
    ],
)  # fmt: skip
def test_column_that_may_not_be_what_it_seems_is_warned_of(tmp_path: Path, values: object, said: str) -> None:
    assert said in describe(tmp_path, values)


@pytest.mark.parametrize(
    "values",
    [
        ["red", "blue", "green", "teal"] * 50,
        PRICES,
        np.where(np.arange(200) % 9, PRICES, 999),  # among the others
        np.where(np.arange(200) % 9, -PRICES, -1),
        RNG.integers(0, 2, 200),
        RNG.integers(-1, 2, 200),
    ],
)
def test_usual_column_is_not_warned_of(tmp_path: Path, values: object) -> None:
    assert "beware" not in describe(tmp_path, values)
