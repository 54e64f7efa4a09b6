"""Promotions of recommendation: users are the examples, and their ranked items the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.config.policy import Policy
from flows.promotion.gates.paired_comparison import compare_paired
from flows.promotion.gates.predictions import Truth, UnreadablePredictions, parse_predictions
from flows.promotion.gates.scoring import compute_metrics
from flows.promotion.judging.examples import TrainingRows, gather_examples
from trainers.data.dataset import Dataset
from trainers.data.sources.opening import open_dataset

TRUTH = Truth(task="recommendation", values=[["a", "b"], ["c"], ["d"]])


def test_metrics_of_answers_are_means_over_users() -> None:
    answers = parse_predictions(pd.DataFrame({"items": [["a", "b"], ["x", "c"], ["y"]]}), TRUTH)
    found = compute_metrics(TRUTH, answers)
    assert found["recall_10"] == pytest.approx(2 / 3)
    assert found["ndcg_10"] == pytest.approx((1 + 1 / np.log2(3) + 0) / 3)


def test_answers_without_lists_of_items_are_unreadable() -> None:
    with pytest.raises(UnreadablePredictions, match="no lists"):
        parse_predictions(pd.DataFrame({"items": ["a", "c", "d"]}), TRUTH)


def test_better_rankings_are_told_from_worse_user_by_user() -> None:
    truth = Truth(task="recommendation", values=[[f"i{user}"] for user in range(60)])
    frames = [
        [[f"i{user}", "x"][:: 1 if user % 3 else -1] for user in range(60)],
        [["x", f"i{u}"] for u in range(60)],
    ]
    better, worse = (parse_predictions(pd.DataFrame({"items": items}), truth) for items in frames)
    found = compare_paired("ndcg_10", truth, better, worse, margin=0.0, confidence=0.95)
    assert found.better
    assert found.examples == 60
    assert not compare_paired("ndcg_10", truth, worse, better, margin=0.0, confidence=0.95).better


def read_interactions(tmp_path: Path) -> Dataset:
    lines = [
        f"{user},{item},{10 * item + user}" for user in range(9) for item in range(20) if (user + item) % 3
    ]
    (tmp_path / "made.csv").write_text("\n".join(["user,item,time", *lines, "new,19,999"]) + "\n")
    return open_dataset({"source": "csv:made.csv"}, base=tmp_path, cache=tmp_path / "cache")


def test_examples_are_users_of_the_test_part_that_training_knows(tmp_path: Path) -> None:
    dataset = read_interactions(tmp_path)
    columns = frozenset(["user"])
    known = TrainingRows(whose="challenger", rows=np.zeros(0, np.uint64), by="inputs", columns=columns)
    found = gather_examples(dataset, "test", [known], Policy())
    names = found.frame["user"].tolist()
    assert list(found.frame.columns) == ["user"]
    assert len(names) == len({*names}) == len(found.truth) == len(found.hashes)
    assert "new" not in names
    rows = dataset.splits["test"]
    users, items = (np.array(dataset.columns[name].values)[rows] for name in ("user", "item"))
    assert found.truth.values == [items[users == name].tolist() for name in names]
    everything = gather_examples(dataset, "all", [known], Policy())
    assert "new" in everything.frame["user"].tolist()


def test_interactions_that_a_model_was_trained_on_are_no_evidence(tmp_path: Path) -> None:
    dataset = read_interactions(tmp_path)
    rows = dataset.splits["test"]
    seen = TrainingRows(
        whose="champion",
        rows=np.sort(dataset.input_hashes[rows[:3]]),
        by="inputs",
        columns=frozenset(["user"]),
    )
    found = gather_examples(dataset, "test", [seen], Policy())
    assert found.left_out == 3
    judged = sum(len(items) for items in found.truth.values)
    new = int((np.array(dataset.columns["user"].values)[rows[3:]] == "new").sum())
    assert judged == len(rows) - 3 - new
