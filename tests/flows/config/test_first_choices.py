"""What `new` chooses follows from the data, and stands in the file with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config.first_choices import first_choices
from flows.config.loading import load_sweep
from flows.config.resolving import resolve_sweep
from flows.config.sweep_text import sweep_text
from trainers.data_profile import DataProfile

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
        (1_400, "image", 40),
        (60_000, "image", 8),
    ],
)
def test_epochs_follow_from_rows_and_their_steps(rows: int, kind: str, epochs: int) -> None:
    families = TABLE if kind == "table" else ("image_cnn",)
    found = first_choices(profile(rows, kind), families)
    assert found.epochs == epochs
    assert 2 <= found.rung < found.epochs
    assert found.rung * 4 <= max(8, epochs)
    assert 20 <= found.trials <= 40


def test_trials_follow_from_parameters_where_they_are_short_and_are_few_where_they_are_long() -> None:
    assert first_choices(profile(400), TABLE).trials == 36
    assert first_choices(profile(400), ("linear_regression",)).trials == 24
    pictures = first_choices(profile(1_400, "image"), ("image_cnn", "transformer"))
    assert pictures.trials == 20
    assert pictures.reasons["trials"] == "a family, of 880 steps each; `plan` says how long"


@pytest.mark.parametrize(
    ("classes", "metric"),
    [
        ({"a": 50, "b": 50}, "accuracy"),
        ({"a": 79, "b": 21}, "accuracy"),
        ({"a": 97, "b": 3}, "balanced_accuracy"),
    ],
)
def test_objective_follows_from_the_balance_of_classes(classes: dict[str, int], metric: str) -> None:
    assert first_choices(profile(100, **classes), TABLE).metric == metric


@pytest.mark.parametrize("rows", [40, 5_000, 50_000])
def test_file_of_the_choices_is_one_that_can_be_swept(tmp_path: Path, rows: int) -> None:
    seen = profile(rows, a=rows - 2, b=2)
    choices = first_choices(seen, TABLE)
    path = tmp_path / "x.yaml"
    path.write_text(sweep_text("x", {"source": "csv:x.csv"}, seen, TABLE, choices))
    spec = resolve_sweep(load_sweep(path), default_metric="accuracy")
    mlp = next(family for family in spec.families if family.name == "mlp")
    assert (mlp.trials, mlp.budget.reports) == (choices.trials, choices.epochs)
    assert mlp.budget.patience == choices.patience
    drawn = {entry["name"]: entry for entry in mlp.space["parameters"]}
    assert drawn["batch_size"].get("high") == (512 if rows == 50_000 else 128)
    assert len(drawn["hidden"]["choices"]) == 5
    assert [256, 128] in drawn["hidden"]["choices"] if rows > 3000 else [32] in drawn["hidden"]["choices"]
