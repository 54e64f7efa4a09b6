"""Metrics by groups of people's own functions: those of pandas, under the names that families report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainers.data.dataset import Dataset
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError, TrialError
from trainers.functions.group_metrics import compute_group_metrics
from trainers.functions.job import FunctionJob
from trainers.functions.reports import require_goals
from trainers.functions.run import run_function
from trainers.functions.trial import Trial
from trainers.job import SilentHooks
from trainers.metric_names import names_of_groups
from trainers.types import Goal, Length


def people(folder: Path, target: str) -> tuple[Dataset, pd.DataFrame]:
    """A data set, and its validation rows as a table."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({
        "x": draw.normal(size=400).round(5), "sex": draw.choice(["Männer/x", "female", ""], 400),
        "buys": draw.choice(["no", "yes"], 400), "spent": draw.gamma(2.0, 50.0, 400).round(3),
    })  # fmt: skip
    frame.to_csv(folder / "people.csv", index=False)
    source: dict[str, Any] = {
        "source": "csv:people.csv",
        "columns": {"target": target, "sensitive": "sex", "features": ["x"]},
    }
    dataset = open_dataset(source, base=folder, cache=folder / "cache")
    return dataset, frame.iloc[dataset.splits["validation"]].replace({"sex": {"": "(missing)"}})


@pytest.mark.parametrize("by", ["name", "place"])
def test_shares_of_right_classes_by_group_are_those_of_pandas(tmp_path: Path, by: str) -> None:
    dataset, rows = people(tmp_path, "buys")
    given: Any = np.where(rows["x"] > 0, "yes", "no")
    right = pd.Series(given == rows["buys"].to_numpy()).groupby(rows["sex"].to_numpy()).mean()
    answers = [dataset.classes.index(name) for name in given] if by == "place" else given
    found = compute_group_metrics(dataset, answers)
    assert found == pytest.approx(
        {f"val/accuracy_sex={name}": share for name, share in right.items()}
        | {"val/accuracy_gap": right.max() - right.min()}
    )


def test_errors_of_numbers_by_group_are_those_of_pandas(tmp_path: Path) -> None:
    dataset, rows = people(tmp_path, "spent")
    errors = (rows["spent"] - 100.0).groupby(rows["sex"])
    found = compute_group_metrics(dataset, np.full(len(rows), 100.0))
    for name, of_group in errors:
        assert found[f"val/mae_sex={name}"] == pytest.approx(of_group.abs().mean())
        assert found[f"val/rmse_sex={name}"] == pytest.approx(np.sqrt((of_group**2).mean()))


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (["yes"], "for "),
        (["maybe"], "'maybe' among 'no', 'yes'"),
        ([2], "2 to 2, and 2 classes"),
        ([0.5], "'0.5' among"),
    ],
)
def test_group_metrics_of_other_rows_than_validations_are_refused(
    tmp_path: Path, answers: list[Any], found: str
) -> None:
    dataset, rows = people(tmp_path, "buys")
    with pytest.raises(TrialError, match=found):
        compute_group_metrics(dataset, answers * (1 if answers == ["yes"] else len(rows)))


def test_metrics_by_group_need_data_and_are_none_without_sensitive_columns(tmp_path: Path) -> None:
    dataset, rows = people(tmp_path, "buys")
    assert compute_group_metrics(replace(dataset, groups={}), ["yes"] * len(rows)) == {}
    with pytest.raises(TrialError, match="the sweep's own data"):
        compute_group_metrics(None, [])


def test_gap_that_no_report_has_is_answered_with_how_to_report_it() -> None:
    goal = Goal(metric="val/accuracy_gap", maximize=False)
    with pytest.raises(InputError) as refused:
        require_goals({"val/accuracy": 0.5}, [goal], InputError)
    assert "trial.group_metrics" in refused.value.do


def test_function_is_judged_by_the_gap_that_it_reports(tmp_path: Path) -> None:
    dataset, rows = people(tmp_path, "buys")

    def train(trial: Trial) -> None:
        for _ in trial.epochs():
            trial.report(accuracy=0.5, **trial.group_metrics(["yes"] * len(rows)))

    goal = Goal(metric="val/accuracy_gap", maximize=False)
    outcome = run_function(
        FunctionJob(
            function=train, params={}, seed=0, length=Length(epochs=1), goals=(goal,), directory=tmp_path,
            data=dataset,
        ),
        SilentHooks(),
    )  # fmt: skip
    assert len(names_of_groups(outcome.metrics)) == 3
    assert outcome.values == (outcome.metrics["val/accuracy_gap"],)
