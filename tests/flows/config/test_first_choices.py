"""What `new` chooses follows from the data, and stands in the file with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.config.loading import load_sweep
from flows.config.resolving import resolve_sweep
from flows.config.writing.first_choices import first_choices
from flows.config.writing.sweep_text import sweep_text
from trainers.data_profile import DataProfile
from trainers.types import Json

TABLE = ("logistic_regression", "gradient_boosting", "mlp")


def profile(rows: int, kind: str = "table", **classes: int) -> DataProfile:
    return DataProfile(
        rows=rows, kind=kind, task="classification", source="csv:x.csv", fingerprint="", columns={},
        parts={"train": rows}, classes=classes or {"a": rows // 2, "b": rows // 2},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "kind", "epochs"),
    [
        (400, "table", 100),
        (4_800, "table", 60),
        (100_000, "table", 8),
        (200, "image", 30),
        (1_400, "image", 30),
        (4_945, "text", 10),
        (8_524, "text", 5),
    ],
)
def test_epochs_follow_from_rows_and_what_a_row_takes(rows: int, kind: str, epochs: int) -> None:
    families = TABLE if kind == "table" else ("image_cnn",)
    found = first_choices(profile(rows, kind), families)
    assert (found.length.epochs, found.length.steps) == (epochs, None)
    assert 2 <= found.length.rung < found.length.epochs
    late = kind != "table" and epochs <= 10  # an epoch of a table with few has hundreds of steps
    assert found.length.rung == ((epochs + 1) // 2 if late else epochs // 4)
    assert found.length.pruner.endswith(", reduction: 2}") == late
    assert 12 <= found.trials <= 40


def test_trials_follow_from_parameters_where_they_are_short_and_are_few_where_they_are_long() -> None:
    assert first_choices(profile(400), TABLE).trials == 36
    assert first_choices(profile(400), ("linear_regression",)).trials == 24
    pictures = first_choices(profile(1_400, "image"), ("image_cnn", "transformer"))
    assert pictures.trials == 12
    assert pictures.reasons["trials"] == "a family; `plan` says how long all of them take here"


@pytest.mark.parametrize(("kind", "rows"), [("text", 1_200), ("pairs", 29_000), ("image", 60_000)])
def test_search_of_long_trials_has_a_limit_small_models_and_few_examples(
    tmp_path: Path, kind: str, rows: int
) -> None:
    pairs = kind == "pairs"
    seen = replace(profile(rows, kind), task="seq2seq" if pairs else "classification")
    families = ("transformer", "t5") if pairs else ("text_cnn", "rnn", "transformer")
    choices = first_choices(seen, families)
    path = tmp_path / "x.yaml"
    path.write_text(sweep_text("x", {"source": "csv:x.csv"}, seen, families, choices))
    spec = resolve_sweep(load_sweep(path), default_metric=choices.metric)
    assert spec.minutes == 30
    for family in spec.families:
        assert (family.budget.steps or (family.budget.epochs or 0) * rows / 64) * 64 <= 64_000
        assert 2 <= choices.length.rung < family.budget.reports
    drawn = {family.name: {p["name"]: p for p in family.space["parameters"]} for family in spec.families}
    assert drawn["transformer"]["width"]["choices"] == [64, 128]
    assert drawn[families[1]].get("hidden", drawn["transformer"]["width"])["choices"] == [64, 128]
    assert all("learning_rate" in names for names in drawn.values())
    optimizers = {tuple(names["optimizer"]["choices"]) for names in drawn.values()}
    assert optimizers == {("sgd", "adam", "rmsprop") if kind == "image" else ("adam", "rmsprop")}


def test_search_of_a_table_has_no_limit_of_minutes() -> None:
    assert first_choices(profile(400), TABLE).minutes is None


@pytest.mark.parametrize(
    ("kind", "task"), [("time", "regression"), ("time", "classification"), ("number", "regression")]
)
def test_table_with_a_time_and_a_number_as_target_says_how_to_read_it_as_a_series(
    kind: str, task: str
) -> None:
    seen = replace(profile(1_600), task=task, columns={"hour": kind, "load: kW": "number"})
    data: dict[str, Json] = {"source": "csv:x.csv", "columns": {"target": "load: kW"}}
    text = sweep_text("x", data, seen, TABLE, first_choices(seen, TABLE))
    hint = 'data: {columns: {target: "load: kW", time: hour}, split: {by: time}}'
    assert (hint in text) == (kind == "time" and task == "regression")


@pytest.mark.parametrize("rows", [40, 1_600, 100_000])
def test_family_that_is_advised_for_a_series_can_be_swept(tmp_path: Path, rows: int) -> None:
    seen = replace(profile(rows), task="regression", columns={"hour": "time", "load": "number"})
    data: dict[str, Json] = {"source": "csv:x.csv", "columns": {"target": "load"}}
    text = sweep_text("x", data, seen, ("mlp",), first_choices(seen, ("mlp",)))
    path = tmp_path / "x.yaml"
    path.write_text(text.replace("# rnn:", "rnn:"))
    *_, rnn = resolve_sweep(load_sweep(path), default_metric="mse").families
    assert (rnn.name, rnn.trials, rnn.options["window"]) == ("rnn", 12, 40)
    assert (rnn.budget.steps or (rnn.budget.epochs or 0) * rows / 64) * 64 <= 64_000


@pytest.mark.parametrize(
    ("classes", "metric"),
    [
        ({"a": 50, "b": 50}, "accuracy"),
        ({"a": 79, "b": 21}, "accuracy"),
        ({"a": 97, "b": 3}, "balanced_accuracy"),
    ],
)
def test_objective_follows_from_the_balance_of_classes(classes: dict[str, int], metric: str) -> None:
    assert first_choices(profile(100, "table", **classes), TABLE).metric == metric


@pytest.mark.parametrize("rows", [40, 5_000, 50_000])
def test_file_of_the_choices_is_one_that_can_be_swept(tmp_path: Path, rows: int) -> None:
    seen = replace(profile(rows), classes={"a": rows - 2, "b": 2})
    choices = first_choices(seen, TABLE)
    path = tmp_path / "x.yaml"
    path.write_text(sweep_text("x", {"source": "csv:x.csv"}, seen, TABLE, choices))
    spec = resolve_sweep(load_sweep(path), default_metric="accuracy")
    mlp = next(family for family in spec.families if family.name == "mlp")
    assert (mlp.trials, mlp.budget.reports) == (choices.trials, choices.length.epochs)
    assert mlp.budget.patience == choices.length.patience
    drawn = {entry["name"]: entry for entry in mlp.space["parameters"]}
    assert drawn["batch_size"].get("high") == (512 if rows == 50_000 else 128)
    assert len(drawn["hidden"]["choices"]) == 5
    assert [256, 128] in drawn["hidden"]["choices"] if rows > 3000 else [32] in drawn["hidden"]["choices"]
