"""Metrics by group: what pandas and scikit-learn say of each group's rows, in one piece or in many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.tasks.merged import merge_metrics
from tests.trainers.tasks.test_metrics import fill, score_in_pieces
from trainers.data.batches import GROUPS
from trainers.metric_names import GAP, direction_of, names_of_groups
from trainers.tasks import rules_for

COLUMNS = [["gender", ["female", "male", "(missing)"]], ["region", ["north", "south"]]]


def judged(rows: int = 240) -> tuple[Any, dict[str, torch.Tensor], pd.DataFrame]:
    """Logits, a batch, and the same as a table with a column `right`."""
    draw = np.random.default_rng(0)
    target, guess = draw.integers(0, 3, (2, rows))
    guess = np.where(draw.random(rows) < 0.6, target, guess)
    codes = np.stack([draw.integers(0, len(names), rows) for _, names in COLUMNS], axis=1)
    logits = torch.nn.functional.one_hot(torch.from_numpy(guess), 3).float()
    frame = pd.DataFrame({column: [names[code] for code in codes[:, place]]
                          for place, (column, names) in enumerate(COLUMNS)})  # fmt: skip
    batch = {"target": torch.from_numpy(target), GROUPS: torch.from_numpy(codes)}
    return logits, batch, frame.assign(right=(target == guess).astype(float))


@pytest.mark.parametrize("cuts", [(), (100, 101)], ids=["whole", "pieces"])
def test_accuracies_by_group_and_their_gap_are_those_of_pandas(cuts: tuple[int, ...]) -> None:
    logits, batch, frame = judged()
    rules = rules_for({"task": "classification", "classes": ["a", "b", "c"], "groups": COLUMNS})
    values = score_in_pieces(rules, logits, batch, cuts)
    means = {column: frame.groupby(column)["right"].mean() for column, _ in COLUMNS}
    for column, found in means.items():
        for group, share in found.items():
            assert values[f"accuracy_{column}={group}"] == pytest.approx(share, abs=1e-12)
    gaps = [found.max() - found.min() for found in means.values()]
    assert values[GAP] == pytest.approx(max(gaps), abs=1e-12)
    assert len(names_of_groups(values)) == 5


def test_passes_of_two_ranks_merge_to_the_groups_of_all_rows() -> None:
    logits, batch, _ = judged()
    rules = rules_for({"task": "classification", "classes": ["a", "b", "c"], "groups": COLUMNS})
    halves = [rules.metric_set("cpu") for _ in range(2)]
    for half, rows in zip(halves, (slice(0, 90), slice(90, None)), strict=True):
        fill(half, logits[rows], {name: values[rows] for name, values in batch.items()})
    merge_metrics(*halves)
    assert halves[0].compute() == pytest.approx(score_in_pieces(rules, logits, batch))


def test_errors_by_group_are_in_the_targets_units() -> None:
    _, batch, frame = judged()
    draw = np.random.default_rng(1)
    target, guess = draw.normal(size=(2, len(frame)))
    rules = rules_for({"task": "regression", "target_mean": 5.0, "target_std": 2.0, "groups": COLUMNS})
    batch = {**batch, "target": torch.from_numpy(target)}
    values = score_in_pieces(rules, torch.from_numpy(guess), batch, (17,))
    error = pd.Series(2.0 * (guess - target))
    for column, names in COLUMNS:
        for group in names:
            own = error[frame[column] == group]
            assert values[f"mae_{column}={group}"] == pytest.approx(own.abs().mean(), rel=1e-12)
            assert values[f"rmse_{column}={group}"] == pytest.approx((own**2).mean() ** 0.5, rel=1e-12)
    assert GAP not in values


def test_group_without_examples_has_no_metric_and_does_not_widen_the_gap() -> None:
    logits, batch, frame = judged()
    there = (frame["gender"] != "(missing)") & (frame["region"] == "north")
    only = torch.from_numpy(there.to_numpy(copy=True))
    rules = rules_for({"task": "classification", "classes": ["a", "b", "c"], "groups": COLUMNS})
    values = score_in_pieces(rules, logits[only], {name: each[only] for name, each in batch.items()})
    assert "accuracy_gender=(missing)" not in values
    found = frame[only.numpy()].groupby("gender")["right"].mean()
    assert values[GAP] == pytest.approx(found.max() - found.min(), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val/accuracy_gap", "minimize"),
        ("val/accuracy_gender=female", "maximize"),
        ("mae_gender=a/b", "minimize"),
        ("val/accuracies=1", None),
    ],
)
def test_directions_of_metrics_by_group_are_known(name: str, direction: str | None) -> None:
    assert direction_of(name) == direction
