"""What is said of a column that may not be what it seems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from trainers.column_profiles import profile_columns
from trainers.data.sources.opening import open_dataset

RNG = np.random.default_rng(0)
PRICES = RNG.random(200) * 5000


def describe(folder: Path, values: object, name: str = "v") -> str:
    frame = pd.DataFrame({name: values, "x": RNG.normal(size=200), "label": ["a", "b"] * 100})
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
        ([f"{n % 12 + 1}/{n % 28 + 1:02}/20" for n in range(200)], 'format: "%m/%d/%y"'),
        ([f"{n % 28 + 1}-Jan-2020" for n in range(200)], '"%d-%b-%Y"'),
        ([f"May {n % 28 + 1}, 2020" for n in range(200)], 'format: "%b %d, %Y"'),
        ([f"2{n % 1000:03}-{n % 12 + 1:02}" for n in range(200)], '"%Y-%m"'),
        ([f"{n % 12 + 1}:{n % 60:02} {'AP'[n % 2]}M" for n in range(200)], '"%I:%M %p"'),
        ([20200100 + n % 28 + 1 for n in range(200)], 'format: "%Y%m%d"'),
        ([f"20{n % 20 + 10}Q{n % 4 + 1}" for n in range(200)], "quarters or weeks"),
        ([f"20{n % 20 + 10}-W{n % 50 + 1}" for n in range(200)], "quarters or weeks"),
        ([f"{n % 9 + 1}/{n % 7 + 2}" for n in range(200)], "fractions or scores"),
        ([f"{n % 5} {n % 3 + 1}/4" for n in range(200)], "fractions or scores"),
        ([f"{n % 90}:{n % 60:02}:{n % 59:02}" for n in range(200)], "durations: write them as a number of s"),
        ([f"{n % 90}h {n % 60}m" for n in range(200)], "durations: write them as a number of m"),
        ([hex(n % 90) for n in range(200)], "hexadecimal"),
        ([f"{n / 7:.3E}".replace("E", "D") for n in range(200)], "Fortran"),
        ([f"{n % 50}%" if n % 2 else n % 50 for n in range(200)], "with and without '%'"),
        ([f"{n % 50}%" if n % 9 else n % 50 for n in range(200)], "with and without '%'"),
        (["Total", *(n % 7 for n in range(199))], "numbers but for 'Total' in 1 row;"),
        ([4930 * 10**7 + n * 7919 for n in range(200)], "long numbers, nearly all different"),
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
        RNG.integers(30_000, 99_000, 200),
        RNG.integers(10**4, 10**9, 200),
        [f"{n % 4}.{n % 3}.{n % 5}" for n in range(200)],  # versions
        ["S", "M", "L", "XL", "42"] * 40,
    ],
)
def test_usual_column_is_not_warned_of(tmp_path: Path, values: object) -> None:
    assert "beware" not in describe(tmp_path, values)


@pytest.mark.parametrize("name", ["zip", "Zip Code", "home_phone", "customerId", "EAN", "id"])
def test_numbers_that_name_something_by_their_columns_name_are_warned_of(tmp_path: Path, name: str) -> None:
    numbers = RNG.integers(10_000, 99_999, 200)
    assert "by its name numbers that name something" in describe(tmp_path, numbers, name)
    assert "beware" not in describe(tmp_path, numbers, "acid")


@pytest.mark.parametrize(
    ("most", "said"), [(4095, "12 are used, so that 16 greys"), (1023, "x * 64"), (60_000, "")]
)
def test_pictures_that_use_few_of_their_bits_are_warned_of(tmp_path: Path, most: int, said: str) -> None:
    for number in range(40):
        folder = tmp_path / "d" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = RNG.integers(0, most, (6, 6)).astype(np.uint16)
        noise[0, 0] = most
        Image.fromarray(noise).save(folder / f"{number}.png")
    dataset = open_dataset({"source": "images:d"}, base=tmp_path, cache=tmp_path / "cache")
    (profile,) = profile_columns(dataset)
    assert said in profile.warning if said else profile.warning == ""
