"""A value means the same in training, in files, in frames and to the server."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.predicting.format import BadValue, PartSizes
from infra.predicting.parquet_and_images import open_input
from infra.serving.column_values import check_values
from infra.serving.model_schema import Field
from trainers.data.cell_values import category_reader, read_number, spell_value, unify_spellings
from trainers.data.prepare import TableState, fit_table
from trainers.data.sources.opening import open_dataset
from trainers.data.tables import apply_table, count_unseen

FIELDS = [Field(name="plan", type="string"), Field(name="x", type="double")]
SPELLINGS: list[list[Any]] = [
    [True, "True", "true", "TRUE", np.True_],
    [False, "False", "false", np.False_],
    [1, 1.0, "1", "1.0", "+1", np.int64(1), np.float32(1)],
    [0, -0.0, "0", "-0", "-0.0", "+0", np.float32(-0.0)],
    ["gold", " gold", "gold ", "gold\u00a0", "\ufeffgold", "go\u200bld"],
    ["caf\u00e9", "cafe\u0301"],
    [["gold", "eu"], '["gold", "eu"]', '["gold","eu"]', np.array(["gold", "eu"])],
    [{"a": 1}, '{"a": 1}', '{"a":1}'],
    [None, "", "NA", "n/a", "NULL", math.nan, pd.NA, pd.NaT],
    ["gold", b"gold", np.bytes_(b"gold")],
]
WORDS = ["True", "False", "1", "0", "caf\u00e9", '["gold", "eu"]', '{"a": 1}', "gold"]


@pytest.mark.parametrize("spellings", SPELLINGS, ids=lambda spellings: str(spellings[0]))
def test_category_in_any_spelling_has_one_number(spellings: list[Any]) -> None:
    assert len({category_reader(WORDS)(value) for value in spellings}) == 1
    assert len({category_reader([str(spell_value(s)) for s in WORDS])(value) for value in spellings}) == 1


def test_known_spelling_comes_before_what_is_alike() -> None:
    read = category_reader(["True", "true", "x"])
    assert [read("True"), read("true"), read(True), read("TRUE"), read("X")] == [1, 2, 2, 1, 0]


def test_blanks_that_training_tells_apart_stay_apart() -> None:
    read = category_reader(["no", "no ", "cafe\u0301"])
    assert [read("no"), read("no "), read(" no"), read("caf\u00e9"), read("No")] == [1, 2, 0, 3, 0]


def test_versions_and_postal_codes_stay_apart() -> None:
    assert unify_spellings(["1.1", "1.10", "7", "007", "a", "A"]) == {}
    assert unify_spellings(["1", "1.0", "true", "True", "x"]) == {
        "1": "1",
        "1.0": "1",
        "true": "true",
        "True": "true",
    }


@pytest.mark.parametrize("value", ["1_000", "one", True, "true"])
def test_text_that_no_file_reads_as_a_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        read_number(value)


def fit(folder: Path, frame: pd.DataFrame) -> TableState:
    frame.to_csv(folder / "rows.csv", index=False)
    return fit_table(
        open_dataset({"source": f"csv:{folder / 'rows.csv'}"}, base=folder, cache=folder / "cache")
    )


def read_file(path: Path) -> pd.DataFrame:
    kind = open_input(path)
    (part,) = kind.parts(PartSizes())
    return kind.frame(part, FIELDS)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> TableState:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"plan": draw.choice([*WORDS, ""], 400), "x": draw.normal(size=400).round(2)})
    return fit(tmp_path_factory.mktemp("fit"), frame.assign(label=draw.choice(["a", "b"], 400)))


PLANS = st.one_of(st.booleans(), st.none(), st.sampled_from(["gold", "lead", "", "NA"]))
NUMBERS = st.one_of(st.none(), st.integers(-99, 99), st.floats(-99, 99).map(lambda number: round(number, 3)))


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(PLANS, NUMBERS), min_size=1, max_size=8))
def test_same_rows_in_every_format_are_the_same_to_the_model(
    rows: list[tuple[Any, Any]], fitted: TableState, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    frame = pd.DataFrame({"plan": pd.Series([plan for plan, _ in rows], dtype=object),
                          "x": pd.Series([x for _, x in rows], dtype="float64")})  # fmt: skip
    frame.to_csv(folder / "rows.csv", index=False)
    lines = [json.dumps({"plan": plan, "x": x}) for plan, x in rows]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    frame.assign(plan=[spell_value(plan) for plan in frame["plan"]]).to_parquet(folder / "rows.parquet")
    asked = pd.DataFrame(
        {field.name: check_values(field.name, field.type, list(values))
         for field, values in zip(FIELDS, zip(*rows, strict=True), strict=True)}
    )  # fmt: skip
    wanted = apply_table(fitted, frame)
    for found in (*(read_file(folder / f"rows.{end}") for end in ("csv", "jsonl", "parquet")), asked):
        numbers, ids = apply_table(fitted, found)
        np.testing.assert_array_equal(numbers, wanted[0])
        np.testing.assert_array_equal(ids, wanted[1])
        assert count_unseen(fitted, found) == {"plan": sum(plan == "lead" for plan, _ in rows)}


def test_booleans_of_csv_are_those_of_jsonl_and_parquet(fitted: TableState, tmp_path: Path) -> None:
    flags = pd.DataFrame({"plan": [True, False], "x": [0.5, 1.0]})
    flags.to_parquet(tmp_path / "flags.parquet")
    flags.to_csv(tmp_path / "flags.csv", index=False)
    flags.to_json(tmp_path / "flags.jsonl", orient="records", lines=True)
    ids = [
        apply_table(fitted, read_file(tmp_path / f"flags.{end}"))[1].tolist()
        for end in ("csv", "jsonl", "parquet")
    ]
    assert ids[0] == ids[1] == ids[2] == apply_table(fitted, flags)[1].tolist()
    assert 0 not in np.ravel(ids)


def test_missing_word_is_filled_in_use_as_in_training(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    plans = draw.choice(["gold", "lead"], 200, p=[0.7, 0.3])
    frame = pd.DataFrame({"plan": plans, "x": range(200), "label": draw.choice(["a", "b"], 200)})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    spec = {"source": f"csv:{tmp_path / 'rows.csv'}", "prepare": {"missing": "most_frequent"}}
    state = fit_table(open_dataset(spec, base=tmp_path, cache=tmp_path / "cache"))
    used = pd.DataFrame({"plan": ["NA", "", None, "#n/a", "gold"], "x": 0.0})
    assert len(set(apply_table(state, used)[1].ravel().tolist())) == 1


def test_one_column_spelt_in_two_ways_has_one_category_each(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for part, spelling in (("train", {1: "0", 0: "1"}), ("test", {1: "0.0", 0: "1.0"})):
        labels = [spelling[int(draw.integers(2))] for _ in range(90)]
        plans = ["True" if part == "train" else "true", "False" if part == "train" else "false", "x"] * 30
        frame = pd.DataFrame({"x": draw.normal(size=90), "plan": plans, "label": labels})
        frame.to_csv(tmp_path / f"{part}.csv", index=False)
    dataset = open_dataset(
        {"source": f"csv:{tmp_path}", "task": "classification"}, base=tmp_path, cache=tmp_path / "c"
    )
    assert dataset.classes == ("0", "1")
    assert set(dataset.columns["plan"].values) == {"true", "false", "x"}


def test_boolean_in_a_column_of_numbers_is_named_by_its_row(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"plan": "a", "x": 1}\n{"plan": "a", "x": true}\n')
    with pytest.raises(BadValue) as error:
        read_file(tmp_path / "rows.jsonl")
    assert (error.value.column, error.value.row) == ("x", 1)


def test_jsonl_whose_first_object_leaves_a_key_out_has_all_columns(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"x": 1}\n{"x": 2, "plan": "gold"}\n')
    assert open_input(tmp_path / "rows.jsonl").columns() == ["x", "plan"]
    assert read_file(tmp_path / "rows.jsonl")["plan"].tolist() == [None, "gold"]


def test_labels_that_differ_by_blanks_or_case_are_said(tmp_path: Path) -> None:
    lines = [f"{number},{label}" for number, label in enumerate(["no", "no ", "Yes", "yes", "maybe"] * 20)]
    (tmp_path / "rows.csv").write_text("x,label\n" + "\n".join(lines) + "\n")
    dataset = open_dataset(
        {"source": f"csv:{tmp_path / 'rows.csv'}"}, base=tmp_path, cache=tmp_path / "cache"
    )
    alike = [note for note in dataset.notes if "blanks or case" in note]
    assert len(alike) == 2
    assert "'no', 'no '" in alike[0] + alike[1]
