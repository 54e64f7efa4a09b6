"""Interactions from a table to items for users, by the real commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.faults.harness import Stage

USERS, ITEMS, TASTES = 120, 60, 4


def write_interactions(file: Path) -> None:
    """Each user likes the items of one of four tastes, some more than others, at random times."""
    draw = np.random.default_rng(0)
    popular = draw.gamma(1.0, size=ITEMS) + 0.1
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["user", "item", "timestamp"])
        for user in range(USERS):
            weights = popular * np.where(np.arange(ITEMS) % TASTES == user % TASTES, 20, 1)
            for item in draw.choice(ITEMS, 12, replace=False, p=weights / weights.sum()):
                writer.writerow([f"u{user}", f"i{item}", int(draw.integers(1_600_000_000, 1_700_000_000))])


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(600)
def test_interactions_are_swept_confirmed_promoted_and_answered(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"OMP_NUM_THREADS": "1", "COLUMNS": "120"})
    write_interactions(tmp_path / "liked.csv")
    made = stage.run("new", "csv:liked.csv", "--json")
    assert made.returncode == 0, made.stderr
    document = json.loads(made.stdout)
    assert (document["families"], document["metric"]) == (["two_tower"], "ndcg_10")
    few = ("budget.trials=3", "budget.epochs=15", "objective.metric=ndcg_10_gain", "resources.lanes=2")
    changes = [word for change in few for word in ("--set", change)]
    asked = ["u1", "u2", "nobody"]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps({"user": user}) + "\n" for user in asked))
    for words in (
        ("sweep", "liked.yaml", *changes),
        ("confirm", "liked", "--top", "1", "--seeds", "2"),
        ("promote", "liked"),
        ("predict", "liked@champion", "asked.jsonl", "--out", "answers.jsonl"),
    ):
        done = stage.run(*words, limit_s=300)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [len(row["items"]) for row in answers] == [10, 10, 10]
    refused = stage.run("explain", "liked@champion", "asked.jsonl", "--out", "why")
    assert refused.returncode == 2
    assert "recommendation" in refused.stderr
