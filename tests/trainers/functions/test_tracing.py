"""The space of an Optuna objective, found by running it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.trainers.functions.test_optuna_objectives import objective
from trainers.errors import InputError
from trainers.functions.tracing import trace_objective


def classifier(trial: Any) -> float:
    """As Optuna's example for scikit-learn."""
    name = trial.suggest_categorical("classifier", ["SVC", "RandomForest"])
    if name == "SVC":
        kernel = trial.suggest_categorical("kernel", ["linear", "rbf"])
        if kernel == "rbf":
            trial.suggest_float("gamma", 1e-3, 1.0, log=True)
            trial.suggest_int("degree", 1, 3)
    else:
        trial.suggest_int("depth", 2, 32, log=True)
    trial.suggest_float("tol", 0.0, 1.0, step=0.25)
    return 0.5


def test_branches_become_conditions_on_the_nearest_choice() -> None:
    assert trace_objective(classifier).space == {
        "classifier": {"type": "categorical", "choices": ["SVC", "RandomForest"]},
        "kernel": {"type": "categorical", "choices": ["linear", "rbf"], "when": {"classifier": ["SVC"]}},
        "gamma": {"type": "float", "low": 1e-3, "high": 1.0, "log": True, "when": {"kernel": ["rbf"]}},
        "degree": {"type": "int", "low": 1, "high": 3, "when": {"kernel": ["rbf"]}},
        "depth": {"type": "int", "low": 2, "high": 32, "log": True, "when": {"classifier": ["RandomForest"]}},
        "tol": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.25},
    }


def test_layers_of_a_number_that_is_searched_become_conditions_on_it() -> None:
    space = trace_objective(objective).space
    assert list(space) == ["layers", "units_0", "units_1", "units_2", "optimizer", "lr"]
    assert "when" not in space["units_0"]
    assert space["units_1"]["when"] == {"layers": [2, 3]}
    assert space["units_2"]["when"] == {"layers": [3]}


def former_names(trial: Any) -> tuple[float, float]:
    """As objectives of Optuna 2 have it."""
    rate, share = trial.suggest_loguniform("rate", 1e-5, 1e-1), trial.suggest_uniform("share", 0, 1)
    trial.set_user_attr("started", str(trial.datetime_start))
    assert trial.user_attrs["started"]
    return rate + trial.suggest_discrete_uniform("quarter", 0, 1, 0.25), share


def test_names_of_former_versions_are_traced_and_numbers_counted() -> None:
    traced = trace_objective(former_names)
    assert traced.space == {
        "rate": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
        "share": {"type": "float", "low": 0, "high": 1},
        "quarter": {"type": "float", "low": 0, "high": 1, "step": 0.25},
    }
    assert traced.goals == 2


def asks_nothing(trial: Any) -> float:
    return 0.0


def fails(trial: Any) -> float:
    trial.suggest_float("lr", 0, 1)
    raise FileNotFoundError("no data here")


def asks_in_two_ways(trial: Any) -> None:
    if trial.suggest_categorical("a", ["x", "y"]) == "x":
        trial.suggest_float("lr", 0, 1)
    else:
        trial.suggest_float("lr", 0, 2)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (asks_nothing, "must ask its trial for parameters"),
        (fails, "must run to its first report; but got FileNotFoundError: no data here"),
        (asks_in_two_ways, "lr must be asked for in one way"),
    ],
)
def test_an_objective_without_a_space_is_refused_with_the_reason(function: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        trace_objective(function)


def test_an_objective_that_trains_on_without_a_report_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.functions.tracing._QUIET_S", 0.2)

    def endless(trial: Any) -> None:
        trial.suggest_float("lr", 0, 1)
        while True:
            try:
                sum(range(1000))
            except Exception:
                continue

    assert list(trace_objective(endless).space) == ["lr"]
