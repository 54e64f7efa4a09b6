from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from infra.serving.column_values import LARGEST
from tests.trainers.data.conftest import Open
from trainers.data.dataset import Column, Dataset
from trainers.data.prepare import fit_table, read_prepare
from trainers.data.tables import apply_table
from trainers.errors import CellError, InputError
from trainers.inputs.encoded_arrays import FolderWriter
from trainers.inputs.targets import write_target

NUMBERS = [1.0, 2.0, np.nan, 5.0, 1000.0, np.nan]
WORDS = ["a", "b", "a", None, "z", "a"]


def table(**prepare: Any) -> Dataset:
    """Four training rows, one validation row, one test row."""
    return Dataset(
        kind="table",
        task="regression",
        columns={
            "n": Column(name="n", kind="number", values=np.array(NUMBERS)),
            "w": Column(name="w", kind="category", values=WORDS),
            "c": Column(name="c", kind="number", values=np.array([7.0, 7, 7, 7, 8, 9])),
            "t": Column(name="t", kind="text", values=["some words"] * 6),
        },
        target=Column(name="y", kind="number", values=np.array([1.0, 2, 3, 4, 500, 600])),
        splits={
            "train": np.arange(4),
            "validation": np.array([4]),
            "test": np.array([5]),
        },
        row_hashes=np.arange(6, dtype=np.uint64),
        prepare=read_prepare(prepare),
    )


def test_table_preparation_is_fitted_on_train_alone() -> None:
    state = fit_table(table())
    entry = state["numbers"][0]
    filled = np.array([1, 2, 2, 5])
    assert entry["fill"] == 2.0
    assert entry["shift"] == filled.mean()
    assert entry["factor"] == pytest.approx(1 / filled.std())
    assert state["categories"][0]["values"] == ["a", "b"]
    assert state["left_out"].keys() == {"c", "t"}
    assert (state["inputs"], state["cardinalities"]) == (1, [3])
    assert json.loads(json.dumps(state)) == state


def test_table_rows_become_numbers_and_ids() -> None:
    dataset = table()
    numbers, ids = apply_table(fit_table(dataset), dataset.columns)
    filled = np.array([1, 2, 2, 5, 1000, 2])
    assert numbers[:, 0] == pytest.approx((filled - 2.5) / np.std([1, 2, 2, 5]))
    assert ids[:, 0].tolist() == [1, 2, 1, 0, 0, 1]
    assert (numbers.dtype, ids.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(("missing", "fill"), [("median", 2.0), ("mean", 8 / 3), ("most_frequent", 1.0)])
def test_missing_numbers_are_filled(missing: str, fill: float) -> None:
    assert fit_table(table(missing=missing))["numbers"][0]["fill"] == pytest.approx(fill)


def test_missing_none_refuses_a_missing_value() -> None:
    with pytest.raises(InputError, match="2 missing in column 'n'"):
        fit_table(table(missing="none"))


def test_table_scale_minmax_and_none_give_their_numbers() -> None:
    dataset = table(scale="minmax")
    numbers, _ = apply_table(fit_table(dataset), dataset.columns)
    assert numbers[:4, 0] == pytest.approx([0, 0.25, 0.25, 1])
    dataset = table(scale="none")
    numbers, _ = apply_table(fit_table(dataset), dataset.columns)
    assert numbers[:, 0] == pytest.approx([1, 2, 2, 5, 1000, 2])


def test_rare_categories_are_the_unknown_one() -> None:
    assert fit_table(table(rare_below=2))["categories"][0]["values"] == ["a"]


def test_table_onehot_categories_become_columns() -> None:
    dataset = table(categories="onehot")
    state = fit_table(dataset)
    numbers, ids = apply_table(state, dataset.columns)
    assert ids.shape == (6, 0)
    assert numbers.shape == (6, state["inputs"]) == (6, 3)
    assert numbers[:, 1:].tolist() == [[1, 0], [0, 1], [1, 0], [0, 0], [0, 0], [1, 0]]


def test_user_rows_are_prepared_as_in_training() -> None:
    state = fit_table(table())
    rows = pd.DataFrame({"w": ["b", "never seen", None, 3], "n": ["5", None, "?", 2], "extra": [1, 2, 3, 4]})
    numbers, ids = apply_table(state, rows)
    expected = (np.array([5, 2, 2, 2]) - 2.5) / np.std([1, 2, 2, 5])
    assert numbers[:, 0] == pytest.approx(expected)
    assert ids[:, 0].tolist() == [2, 0, 0, 0]


def test_user_rows_with_faults_are_refused_by_column() -> None:
    state = fit_table(table())
    with pytest.raises(InputError, match="'n'"):
        apply_table(state, pd.DataFrame({"w": ["a"]}))
    with pytest.raises(InputError, match="'many' in row 1"):
        apply_table(state, pd.DataFrame({"w": ["a", "a"], "n": [1, "many"]}))
    strict = fit_table(table(missing="drop"))
    with pytest.raises(InputError, match="'n' must have a value"):
        apply_table(strict, pd.DataFrame({"w": ["a"], "n": [None]}))


def test_a_target_is_scaled_by_train_alone(tmp_path: Path) -> None:
    state = write_target(table(), FolderWriter(tmp_path, 6))
    assert state["target_mean"] == 2.5
    assert state["target_std"] == pytest.approx(np.std([1, 2, 3, 4]))
    assert np.load(tmp_path / "target.npy")[:4].mean() == pytest.approx(0, abs=1e-6)


def test_a_table_of_constants_is_refused() -> None:
    dataset = table()
    constant = Dataset(
        kind="table",
        task="regression",
        columns={"c": dataset.columns["c"]},
        target=dataset.target,
        splits=dataset.splits,
        row_hashes=dataset.row_hashes,
    )
    with pytest.raises(InputError, match="varies in training"):
        fit_table(constant)


@pytest.mark.parametrize("number", [0, -1.5])
def test_missing_number_is_filled_with_the_given_one(number: float) -> None:
    dataset = table(missing=number)
    state = fit_table(dataset)
    assert [entry["fill"] for entry in state["numbers"]] == [number]
    numbers, _ = apply_table(state, pd.DataFrame({"n": [None, number], "w": ["a", "a"]}))
    assert numbers[0] == numbers[1]
    for wrong in (float("nan"), True, "zero"):
        with pytest.raises(InputError, match="or a finite number") as error:
            read_prepare({"missing": wrong})
        assert error.value.key == ("data", "prepare", "missing")


@pytest.mark.parametrize("prepare", [{}, {"scale": "minmax"}])
def test_numbers_for_times_are_in_the_unit_in_which_training_saw_them(
    opened: Open, tmp_path: Path, prepare: dict[str, str]
) -> None:
    days = pd.date_range("2020-01-01", periods=200)
    frame = pd.DataFrame({"day": days.strftime("%Y-%m-%d"), "label": ["a", "b"] * 100})
    frame.to_csv(tmp_path / "a.csv", index=False)
    state = fit_table(opened("csv:a.csv", prepare=prepare))
    nanoseconds = (days - pd.Timestamp(0)) // pd.Timedelta(1)
    known = apply_table(state, frame)[0]
    for unit in (10**9, 10**6, 10**3, 1):
        for asked in (nanoseconds // unit, (nanoseconds // unit).astype(str)):
            np.testing.assert_allclose(apply_table(state, frame.assign(day=asked))[0], known, atol=1e-6)
    compact = frame.assign(day=days.strftime("%Y%m%d").astype(int))
    np.testing.assert_allclose(apply_table(state, compact)[0], known, atol=1e-6)
    excels = frame.assign(day=[43831 + n for n in range(200)])  # 43831 is what Excel shows for 2020-01-01
    np.testing.assert_allclose(apply_table(state, excels)[0], known, atol=1e-6)
    later = frame.assign(day="2031-12-31")
    as_seconds = frame.assign(day=(pd.Timestamp("2031-12-31") - pd.Timestamp(0)) // pd.Timedelta("1s"))
    np.testing.assert_allclose(apply_table(state, as_seconds)[0], apply_table(state, later)[0])


@pytest.mark.parametrize("number", [1577836, "1577836.8", 4.0e12, 19.5, -5e9])
def test_number_that_is_no_time_of_training_in_any_unit_is_refused(
    opened: Open, tmp_path: Path, number: object
) -> None:
    """Thousands of seconds, milliseconds of 2096, …: far from all of training as seconds since 1970."""
    days = pd.date_range("2020-01-01", periods=400)
    pd.DataFrame({"day": days.strftime("%Y-%m-%d"), "label": ["a", "b"] * 200}).to_csv(tmp_path / "a.csv")
    state = fit_table(opened("csv:a.csv"))
    with pytest.raises(CellError, match="must hold times near those of training") as caught:
        apply_table(state, pd.DataFrame({"day": ["2020-05-01", number]}, dtype=object))
    assert caught.value.row == 1
    apply_table(
        state, pd.DataFrame({"day": ["1970-01-19", "2300-01-01", 1.7e9]}, dtype=object)
    )  # but dates are


def test_times_long_ago_that_training_saw_are_read_as_seconds(opened: Open, tmp_path: Path) -> None:
    born = pd.Series(pd.date_range("1941-01-01", "2005-01-01", periods=300)).dt.floor("D")
    frame = pd.DataFrame({"born": born.dt.strftime("%Y-%m-%d"), "label": ["a", "b"] * 150})
    frame.to_csv(tmp_path / "a.csv", index=False)
    state = fit_table(opened("csv:a.csv"))
    seconds = frame.assign(born=(born - pd.Timestamp(0)) // pd.Timedelta("1s"))
    np.testing.assert_allclose(apply_table(state, seconds)[0], apply_table(state, frame)[0], atol=1e-6)


def test_time_is_read_alike_whoever_is_asked_beside_it(opened: Open, tmp_path: Path) -> None:
    """A year was 2020 seconds alone, and the first of January beside a date; a number of seconds beside a
    date was refused. A server computes together what different people ask."""
    days = pd.date_range("2020-01-01", periods=400)
    frame = pd.DataFrame({"day": days.strftime("%Y-%m-%d"), "label": ["a", "b"] * 200})
    frame.to_csv(tmp_path / "a.csv", index=False)
    state = fit_table(opened("csv:a.csv"))
    spellings = ["2020", 2020, "1577836800", 1577836800.0, "2020-01-01", "20200101", "2020-01-01T00:00:00Z"]
    alone = [apply_table(state, pd.DataFrame({"day": [one]}, dtype=object))[0][0, 0] for one in spellings]
    together = apply_table(state, pd.DataFrame({"day": spellings}, dtype=object))[0][:, 0]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(alone, alone[4], atol=1e-6)
    with pytest.raises(CellError, match=r"'2020-13-01' in row 2"):
        apply_table(state, pd.DataFrame({"day": ["2020", None, "2020-13-01"]}, dtype=object))


@pytest.mark.parametrize("value", [1e39, -1e308, "1e300", 10**40])
def test_number_that_no_model_computes_with_is_refused_by_its_row(value: object) -> None:
    """Its answer was NaN, which `predict` wrote as an empty field."""
    state = fit_table(table())
    with pytest.raises(CellError, match="'n' must hold numbers that a model can compute with") as caught:
        apply_table(state, pd.DataFrame({"n": [1.0, value], "w": ["a", "a"]}, dtype=object))
    assert caught.value.row == 1


def test_number_that_a_server_says_to_take_is_taken_by_a_column_of_little_spread(
    opened: Open, tmp_path: Path
) -> None:
    pd.DataFrame({"n": np.arange(200) / 1e5, "label": ["a", "b"] * 100}).to_csv(
        tmp_path / "a.csv", index=False
    )
    state = fit_table(opened("csv:a.csv"))
    numbers, _ = apply_table(state, pd.DataFrame({"n": [LARGEST, -LARGEST]}, dtype=object))
    assert np.isfinite(numbers).all()
    assert numbers[0, 0] > LARGEST


@pytest.mark.parametrize("value", ["inf", "1e400", float("inf"), 10**400, "1" + "0" * 400, -(10**400)])
def test_infinite_number_is_missing_however_it_is_spelt(value: object) -> None:
    state = fit_table(table())
    given = apply_table(state, pd.DataFrame({"n": [value], "w": ["a"]}, dtype=object))
    missing = apply_table(state, pd.DataFrame({"n": [None], "w": ["a"]}, dtype=object))
    assert given[0] == pytest.approx(missing[0])
