from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.trainers.data.conftest import Open
from trainers.data_profile import profile_dataset, trivial_baseline


def write_csv(path: Path, **columns: object) -> None:
    pd.DataFrame(columns).to_csv(path, index=False)


def test_data_profile_counts_a_table(opened: Open, tmp_path: Path) -> None:
    x = [*range(200), 0, 1, 2]
    label = ["a" if i % 4 else "b" for i in range(200)]
    write_csv(
        tmp_path / "a.csv", x=x, hole=[None, *[1.5, 2.5] * 101], label=[*label, label[0], label[1], "b"]
    )
    found = profile_dataset(opened("csv:a.csv", columns={"features": ["x"]}))
    assert found.rows == 203
    assert found.classes == {"a": 151, "b": 52}
    assert (found.duplicates, found.conflicts) == (2, 2)
    assert sum(found.parts.values()) == 203
    assert profile_dataset(opened("csv:a.csv")).missing == {"hole": 1}
    json.dumps(found.to_json())


def test_data_profile_guess_is_score_of_majority_or_mean(opened: Open) -> None:
    cancer = opened("builtin:cancer")
    labels = cancer.labels()
    guess = trivial_baseline(cancer)
    assert guess is not None
    benign = labels[cancer.splits["validation"]] == cancer.classes.index("benign")
    assert (guess.metric, guess.answer, guess.value) == ("accuracy", "benign", benign.mean())
    assert guess.scores["balanced_accuracy"] == 0.5
    assert "loss" not in guess.scores
    diabetes = opened("builtin:diabetes")
    assert diabetes.target is not None
    values = np.asarray(diabetes.target.values)
    mean = values[diabetes.splits["train"]].mean()
    found = trivial_baseline(diabetes, "test")
    assert found is not None
    assert found.metric == "mse"
    assert found.value == pytest.approx(((values[diabetes.splits["test"]] - mean) ** 2).mean())


def test_data_profile_finds_columns_that_give_the_target_away(opened: Open, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    label = random.choice(["yes", "no"], 500)
    write_csv(
        tmp_path / "a.csv",
        identifier=[f"c{i}" for i in range(500)],
        noise=random.normal(size=500),
        code=np.where(label == "yes", "K7", random.choice(["K1", "K2"], 500)),
        paid=np.where(label == "yes", 3.0, 1.0) + random.uniform(size=500),
        label=label,
    )
    assert {g.column for g in profile_dataset(opened("csv:a.csv")).giveaways} == {"code", "paid"}
    y = random.normal(size=500)
    write_csv(tmp_path / "b.csv", noise=random.normal(size=500), twice=2 * y, y=y)
    assert [g.column for g in profile_dataset(opened("csv:b.csv")).giveaways] == ["twice"]


def test_data_profile_of_honest_data_has_no_giveaways(opened: Open) -> None:
    assert profile_dataset(opened("builtin:cancer")).giveaways == ()
    assert profile_dataset(opened("builtin:diabetes")).giveaways == ()


@pytest.mark.parametrize("task", ["seq2seq", "language-model"])
def test_data_profile_takes_every_kind_of_data(opened: Open, task: str) -> None:
    assert profile_dataset(opened("builtin:docstrings", task=task)).guess is None
    assert profile_dataset(opened("builtin:photos")).duplicates >= 0


def test_column_that_gives_a_rare_class_away_is_found_and_noise_is_not(opened: Open, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rare = random.permutation(6000) < 20
    noise = {f"noise{n}": random.normal(size=6000) for n in range(20)}
    write_csv(tmp_path / "a.csv", **noise, copy=3 * rare, label=np.where(rare, "fraud", "fine"))
    found = profile_dataset(opened("csv:a.csv")).giveaways
    assert [(leak.column, leak.metric) for leak in found] == [("copy", "balanced_accuracy")]


def test_huge_numbers_are_judged_by_their_order_without_a_warning(opened: Open, tmp_path: Path) -> None:
    """Trees compute in float32: 1e304 made scikit-learn warn of an overflow, on the screen."""
    labels = ["a", "b"] * 100
    write_csv(
        tmp_path / "a.csv",
        paid=[1e304 * (1 + n % 7) if label == "a" else float(n) for n, label in enumerate(labels)],
        noise=np.random.default_rng(0).normal(size=200),
        label=labels,
    )
    assert [leak.column for leak in profile_dataset(opened("csv:a.csv")).giveaways] == ["paid"]
