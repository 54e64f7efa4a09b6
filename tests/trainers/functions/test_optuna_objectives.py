"""Optuna objectives as they are, without a changed line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from tests.trainers.functions.test_functions import Recorder
from trainers.errors import TrialError
from trainers.functions.job import FunctionJob
from trainers.functions.run import dry_run_function, run_function
from trainers.types import Goal, Length

PARAMS: dict[str, Any] = {"layers": 2, "units_0": 8, "units_1": 4, "optimizer": "Adam", "lr": 0.01}
EPOCHS = 5


def define_model(trial: Any) -> torch.nn.Module:
    width, layers = 4, []
    for index in range(trial.suggest_int("layers", 1, 3)):
        units = trial.suggest_int(f"units_{index}", 4, 128)
        layers += [torch.nn.Linear(width, units), torch.nn.ReLU()]
        width = units
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, 1))


def objective(trial: Any) -> float:
    """In the shape of Optuna's own example for torch: a model by its trial, reports, pruning."""
    model = define_model(trial)
    name = trial.suggest_categorical("optimizer", ["Adam", "RMSprop", "SGD"])
    optimizer = getattr(torch.optim, name)(
        model.parameters(), lr=trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    )
    accuracy = 0.0
    for epoch in range(EPOCHS):
        inputs = torch.randn(16, 4)
        loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracy = 0.1 * (epoch + 1)
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.exceptions.TrialPruned
    trial.set_user_attr("layers", trial.params["layers"])
    return accuracy


@pytest.fixture
def job(tmp_path: Path) -> FunctionJob:
    return FunctionJob(
        function=objective, params=PARAMS, seed=3, length=Length(epochs=EPOCHS), directory=tmp_path,
        goals=(Goal(metric="val/accuracy", maximize=True),),
    )  # fmt: skip


def test_an_objective_runs_to_its_end_and_its_value_counts_once(job: FunctionJob) -> None:
    hooks = Recorder()
    outcome = run_function(job, hooks)
    assert [epoch for epoch, _ in hooks.reports] == [1, 2, 3, 4, 5]
    assert (outcome.status, outcome.values) == ("complete", (0.5,))
    assert (job.directory / "user_attrs.json").read_text() == '{"layers": 2}'


def test_an_objective_that_the_pruner_ends_is_pruned(job: FunctionJob) -> None:
    outcome = run_function(job, Recorder(prune_at=2))
    assert (outcome.status, outcome.epochs) == ("pruned", 2)


def test_an_objective_with_more_epochs_than_the_budget_ends_there_complete(job: FunctionJob) -> None:
    hooks = Recorder()
    outcome = run_function(replace(job, length=Length(epochs=3)), hooks)
    assert (outcome.status, len(hooks.reports), outcome.values) == ("complete", 3, (pytest.approx(0.3),))


def test_an_objective_that_prunes_itself_is_pruned(job: FunctionJob) -> None:
    def gives_up(trial: Any) -> float:
        trial.report(value=0.1, step=0)
        raise optuna.TrialPruned

    outcome = run_function(replace(job, function=gives_up), Recorder())
    assert (outcome.status, outcome.epochs) == ("pruned", 1)


@pytest.mark.parametrize("first", [0, 1, 2, 9])
def test_an_objective_that_is_tried_again_tells_each_step_once(job: FunctionJob, first: int) -> None:
    """It knows of no resume: what the trial has is passed over. One that resumes by itself numbers on."""

    def again(trial: Any) -> float:
        for step in range(first, max(first + 3, EPOCHS)):
            trial.report(step / 10, step)
        return step / 10

    hooks = Recorder()
    earlier = {1: {"val/accuracy": 0.0}, 2: {"val/accuracy": 0.1}}
    outcome = run_function(replace(job, function=again, earlier=earlier, attempt=2), hooks)
    assert [epoch for epoch, _ in hooks.reports] == [3, 4, 5]
    assert hooks.reports[0][1] == {"val/accuracy": max(first, 2) / 10}
    assert outcome.values == (max(first + 2, EPOCHS - 1) / 10,)


@pytest.mark.parametrize("steps", [[1, 2, 3, 4, 5], [0, 10, 20, 30, 40], [-2, -1, 0, 1, 2]])
@pytest.mark.parametrize("known", [0, 1, 3, 5])
@pytest.mark.parametrize("resumes", [False, True])
def test_steps_of_an_attempt_that_died_tell_where_the_next_begins(
    job: FunctionJob, steps: list[int], known: int, resumes: bool
) -> None:
    """From 1, or every tenth: each value is reported once, whether the objective begins anew or goes on."""

    def train(trial: Any) -> float:
        for step in steps[first:]:
            trial.report(step / 100, step)
        return steps[-1] / 100

    first = 0
    died = Recorder()
    run_function(replace(job, function=train), died)
    with (job.directory / "report_steps.txt").open("a") as file:
        file.write(f"\n{known + 1} ")  # torn by the death
    first = max(0, known - 1) if resumes else 0
    hooks = Recorder()
    outcome = run_function(replace(job, function=train, earlier=dict(died.reports[:known]), attempt=2), hooks)
    assert died.reports[:known] + hooks.reports == [
        (number, {"val/accuracy": step / 100}) for number, step in enumerate(steps, 1)
    ]
    assert outcome.epochs == 5


def test_a_metric_that_is_called_step_says_nothing_of_resuming(job: FunctionJob) -> None:
    def again(trial: Any) -> None:
        trial.report(accuracy=0.3, step=0)

    hooks = Recorder()
    run_function(replace(job, function=again, earlier={1: {"val/accuracy": 0.2}}, attempt=2), hooks)
    assert hooks.reports == [(2, {"val/accuracy": 0.3, "val/step": 0.0})]


def test_values_that_several_objectives_return_are_one_report(job: FunctionJob) -> None:
    goals = (*job.goals, Goal(metric="val/loss", maximize=False))
    hooks = Recorder()
    outcome = run_function(replace(job, goals=goals, function=lambda trial: (0.5, 0.2)), hooks)
    assert hooks.reports == [(1, {"val/accuracy": 0.5, "val/loss": 0.2})]
    assert outcome.values == (0.5, 0.2)


def test_names_of_former_versions_are_answered(job: FunctionJob) -> None:
    def former(trial: Any) -> float:
        assert trial.datetime_start.year > 2000
        rate: float = trial.suggest_loguniform("lr", 1e-5, 1e-1)
        return rate + trial.suggest_uniform("u", 0, 1) + trial.suggest_discrete_uniform("q", 0, 1, 0.25)

    params: dict[str, Any] = {"lr": 0.01, "u": 0.5, "q": 0.75}
    assert run_function(replace(job, function=former, params=params), Recorder()).values == (1.26,)
    with pytest.raises(TrialError, match=r"q must be a multiple of 0\.25"):
        run_function(replace(job, function=former, params={**params, "q": 0.7}), Recorder())


def test_a_dry_run_sees_what_an_objective_reports(job: FunctionJob) -> None:
    assert dry_run_function(job).reported["val/accuracy"] > 0


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            {"lrs": 0.01},
            "lr must be in the sampled configuration.*did you mean lrs|lr must be in the sampled",
        ),
        ({"lr": 0.5}, "lr must be from 1e-05 to 0.1"),
        ({"lr": "fast"}, "lr must be a number"),
        ({"lr": 0.01, "optimizer": "Lion"}, "optimizer must be one of"),
        ({"lr": 0.01, "units_0": 2}, "units_0 must be a whole number from 4 to 128"),
    ],
)
def test_a_suggestion_outside_the_space_is_an_error_that_names_it(
    job: FunctionJob, params: dict[str, Any], said: str
) -> None:
    kept = {name: value for name, value in PARAMS.items() if name != "lr"}
    with pytest.raises(TrialError, match=said):
        run_function(replace(job, params={**kept, **params}), Recorder())
