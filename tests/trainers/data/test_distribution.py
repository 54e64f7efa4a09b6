"""Distributions in a few numbers, and their distance."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from tests.trainers.data.conftest import Open
from trainers.data.distribution import (
    TARGET,
    count_values,
    describe_values,
    measure_value,
    stability_index,
    training_distributions,
)

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("kind", ["number", "category", "text"])
def test_value_is_counted_once(kind: Any) -> None:
    values: list[Any] = [None, "", "3", "3.0", 3, 7.5, True, "x" * 40, *range(30)]
    if kind == "number":
        values = [None, "", "3", 3, 7.5, float("nan"), *range(30)]
    found = describe_values(kind, values)
    assert sum(found["counts"]) == found["rows"] == len(values)
    assert found["counts"][-1] == round(found["missing"] * len(values))
    json.dumps(found, allow_nan=False)


def test_numbers_fall_into_tenths_and_what_is_beyond_into_the_outer_ones() -> None:
    found = describe_values("number", list(map(float, range(1000))))
    assert (found["least"], found["most"]) == (0.0, 999.0)
    assert max(found["counts"][:10]) - min(found["counts"][:10]) <= 2
    assert count_values(found, [-1e9, 1e9, None]) == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_categories_are_one_however_they_are_spelt() -> None:
    found = describe_values("category", ["1", "1.0", "yes", "yes", "yes"])
    assert (found["values"], found["counts"]) == (["yes", "1"], [3, 2, 0, 0])
    assert count_values(found, [1, 1.0, "no", None, "NA"]) == [0, 2, 1, 2]


def test_image_in_the_wrong_scale_is_darker_than_all_of_training(opened: Open) -> None:
    known = training_distributions(opened("builtin:digits"))["image"]
    sixteenths = DRAW.integers(0, 17, (8, 8)).tolist()
    assert count_values(known, [sixteenths])[0] == 1
    assert measure_value("image", 0.25) == 0.25


def test_constant_column_has_one_place() -> None:
    found = describe_values("number", [5.0] * 20)
    assert (found["edges"], found["counts"]) == ([], [20, 0])


@pytest.mark.parametrize(("rows", "shift", "low", "high"), [(500, 0.0, 0.0, 0.1), (500, 1.0, 0.25, 9.0)])
def test_index_tells_a_shift_from_chance(rows: int, shift: float, low: float, high: float) -> None:
    known = describe_values("number", DRAW.normal(size=5000).tolist())
    same = [
        stability_index(known["counts"], count_values(known, (DRAW.normal(size=rows) + shift).tolist()))
        for _ in range(50)
    ]
    assert low <= np.mean(same) <= high
    if not shift:
        assert np.mean(same) < 0.01  # what chance makes is taken off


def test_index_is_what_its_definition_gives() -> None:
    expected, observed = [700, 300], [400, 600]
    shares = [((a + 0.5) / 1001, (b + 0.5) / 1001) for a, b in zip(expected, observed, strict=True)]
    by_hand = sum((b - a) * math.log(b / a) for a, b in shares) - 2 / 1000
    assert stability_index(expected, observed) == pytest.approx(by_hand)
    assert stability_index(expected, [0, 0]) == 0.0


def test_training_alone_is_described_and_the_target_with_it(opened: Open) -> None:
    dataset = opened("builtin:diabetes")
    found = training_distributions(dataset)
    assert set(found) == {*dataset.columns, TARGET}
    train = dataset.splits["train"]
    ages = np.asarray(dataset.columns["age"].values)[train]
    assert (found["age"]["rows"], found["age"]["most"]) == (len(train), ages.max())
