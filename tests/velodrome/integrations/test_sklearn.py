from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import Ridge, SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

from tests.trainers.functions.test_functions import Recorder
from trainers.functions.job import FunctionJob
from trainers.functions.run import run_function
from trainers.types import Goal, Length
from velodrome import try_out
from velodrome.integrations.sklearn import fit_trial


def split_iris() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    X, X_held_out, y, y_held_out = train_test_split(*load_iris(return_X_y=True), random_state=0)
    return (X, y), (X_held_out, y_held_out)


class Rising(SGDClassifier):  # type: ignore[misc]  # scikit-learn is untyped
    """Its third pass is its best."""

    def partial_fit(self, *args: Any, **kwargs: Any) -> None:
        self.passes = getattr(self, "passes", 0) + 1
        super().partial_fit(*args, **kwargs)

    def score(self, *_: Any, **__: Any) -> float:
        return {1: 0.5, 2: 0.7, 3: 0.9}.get(self.passes, 0.6)


def test_passes_of_an_estimator_are_reports_and_it_is_the_model() -> None:
    def train(trial: Any) -> None:
        fit_trial(trial, SGDClassifier(alpha=trial.params["alpha"], random_state=0), *split_iris(),
                  accuracy="accuracy", f1="f1_macro")  # fmt: skip

    outcome = try_out(train, {"alpha": 1e-3}, epochs=5, objective="accuracy", show=len)
    assert outcome.epochs == 5
    assert outcome.has_model
    assert 0.5 < outcome.values[0] <= 1.0


def test_model_of_several_passes_is_the_one_with_the_highest_first_score() -> None:
    kept = []

    def train(trial: Any) -> None:
        trial.model = lambda estimator, trusted: kept.append(estimator.passes)
        fit_trial(trial, Rising(), *split_iris())

    outcome = try_out(train, {}, epochs=5, objective="accuracy", show=len)
    assert (outcome.epochs, outcome.values, kept) == (5, (0.9,), [3])


def test_passes_end_where_the_trial_ends() -> None:
    answers = iter([False, True])

    def train(trial: Any) -> None:
        trial.over = lambda: next(answers)
        fit_trial(trial, SGDClassifier(random_state=0), *split_iris(), accuracy="accuracy")

    assert try_out(train, {}, epochs=5, objective="accuracy", show=len).epochs == 2


@pytest.mark.parametrize(
    ("estimator", "metric"),
    [(DecisionTreeClassifier(max_depth=2, random_state=0), "accuracy"), (Ridge(alpha=0.1), "r2")],
)
def test_estimator_without_passes_is_fitted_once(estimator: Any, metric: str) -> None:
    def train(trial: Any) -> None:
        kept = fit_trial(trial, estimator, *split_iris())
        assert np.isfinite(kept.predict(split_iris()[1][0])).all()

    outcome = try_out(train, {}, epochs=3, objective=metric, show=len)
    assert (outcome.epochs, outcome.has_model) == (1, True)
    assert outcome.values[0] > 0.8


@pytest.mark.parametrize("estimator", [DecisionTreeClassifier(random_state=0), Rising()])
def test_reports_of_a_killed_attempt_are_told_once(estimator: Any, tmp_path: Path) -> None:
    """The attempt after it begins anew, so its first report is that of the one before."""

    def train(trial: Any) -> None:
        fit_trial(trial, clone(estimator), *split_iris(), trusted=[f"{__name__}.Rising"])

    job = FunctionJob(
        function=train, params={}, seed=0, length=Length(epochs=3),
        goals=(Goal(metric="val/accuracy", maximize=True),), directory=tmp_path,
    )  # fmt: skip
    quiet, again = Recorder(), Recorder()
    expected = run_function(job, quiet)
    outcome = run_function(replace(job, attempt=2, earlier=dict(quiet.reports[:1])), again)
    assert again.reports == quiet.reports[1:]
    assert (outcome.values, outcome.epochs) == (expected.values, expected.epochs)
