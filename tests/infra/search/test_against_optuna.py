"""Every sampler with every pruner, taken over again and again, against Optuna's own loop without Velodrome.

The space has parameters that hold under one parent and under two. The reference asks, reports and tells as
Optuna's pages say: a question a trial ahead, the pruner asked after each epoch but the last.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import AttemptResult, EpochReport, LaneWork
from infra.ledger import views
from infra.search.samplers import starting_point
from infra.search.study import study_name
from infra.spec import Budget, FamilySpec, derive_seed
from search_spaces.space import Space
from tests.infra.conftest import GOAL, Bench, family, hello, run_attempt, sweep

EPOCHS, TRIALS = 5, 16
SPACE: dict[str, Any] = {
    "optimizer": {"type": "categorical", "choices": ["sgd", "adam", "rmsprop"]},
    "schedule": {"type": "categorical", "choices": ["constant", "cosine"]},
    "layers": {"type": "int", "low": 1, "high": 4},
    "momentum": {
        "type": "float",
        "low": 0.0,
        "high": 0.9,
        "step": 0.45,
        "when": {"optimizer": ["sgd", "rmsprop"]},
    },
    "warmup": {"type": "int", "low": 0, "high": 5, "when": {"optimizer": "sgd", "schedule": "cosine"}},
}
SAMPLERS: dict[str, tuple[dict[str, Any], Callable[[int], optuna.samplers.BaseSampler]]] = {
    "tpe": (
        {"n_startup_trials": 4},
        lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=4, constant_liar=True),
    ),
    "tpe-joint": (
        {"n_startup_trials": 4, "multivariate": True, "group": True},
        lambda seed: optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=4, constant_liar=True, multivariate=True, group=True
        ),
    ),
    "gp": ({"n_startup_trials": 4}, lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=4)),
    "random": ({}, lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "qmc": ({}, lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "grid": ({}, lambda seed: optuna.samplers.RandomSampler(seed=seed)),
}  # fmt: skip
PRUNERS: dict[str, tuple[dict[str, Any], optuna.pruners.BasePruner]] = {
    "none": ({}, optuna.pruners.NopPruner()),
    "asha": (
        {"min_epochs": 1, "reduction": 2},
        optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    ),
    "hyperband": (
        {"min_epochs": 1, "reduction": 2},
        optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=2),
    ),
    "median": (
        {"startup": 2, "warmup_epochs": 1, "interval_epochs": 2},
        optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1, interval_steps=2),
    ),
    "percentile": (
        {"percentile": 40.0, "startup": 3, "min_trials": 2},
        optuna.pruners.PercentilePruner(40.0, n_startup_trials=3, n_min_trials=2),
    ),
}  # fmt: skip

Row = tuple[dict[str, Any], str, dict[int, float]]


def score(params: dict[str, Any], epoch: int) -> float:
    """A value that rises, with noise that depends on the configuration and the epoch alone."""
    known = sorted((name, value) for name, value in params.items() if value is not None)
    return epoch / 10 + random.Random(f"{known} {epoch}").random()


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """The space, written by hand."""
    params: dict[str, Any] = {
        "optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam", "rmsprop"]),
        "schedule": trial.suggest_categorical("schedule", ["constant", "cosine"]),
        "layers": trial.suggest_int("layers", 1, 4),
    }
    if params["optimizer"] in ("sgd", "rmsprop"):
        params["momentum"] = trial.suggest_float("momentum", 0.0, 0.9, step=0.45)
    if params["optimizer"] == "sgd" and params["schedule"] == "cosine":
        params["warmup"] = trial.suggest_int("warmup", 0, 5)
    return params


def search_with_optuna(spec: Any, searched: FamilySpec, sampler: str, pruner: str) -> list[Row]:
    """The trials of Optuna's own loop."""
    made, space = SAMPLERS[sampler][1], Space.from_json(searched.space)
    study = optuna.create_study(
        study_name=study_name(spec, searched), direction="maximize", pruner=PRUNERS[pruner][1]
    )

    def ask(number: int) -> tuple[optuna.Trial, dict[str, Any]]:
        study.sampler = made(derive_seed(spec.seed, searched.name, number))
        point = starting_point(searched, spec.seed, number, 1)
        if point is not None:
            study.enqueue_trial(space.encode(point))
        trial = study.ask()
        return trial, suggest(trial)

    rows, ahead = [], ask(0)
    for number in range(TRIALS):
        (trial, params), reports, state = ahead, {}, "complete"
        if number + 1 < TRIALS:
            ahead = ask(number + 1)
        for epoch in range(1, EPOCHS + 1):
            reports[epoch] = score(params, epoch)
            trial.report(reports[epoch], epoch)
            if epoch < EPOCHS and trial.should_prune():
                state = "pruned"
                break
        if state == "pruned":
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, max(reports.values()))
        rows.append((params, state, reports))
    return rows


def search_with_takeovers(bench: Bench, coordinator: Coordinator) -> list[Row]:
    """The trials of a coordinator with one lane, after whose every third message another one takes over: one
    of the same driver, or another driver's in the midst of an attempt."""
    deaths = itertools.cycle(["", "coordinator", "", "driver", "half", ""])
    pids = itertools.count(1)
    me = hello(pid=next(pids))
    coordinator.register_lane(me)
    ended: AttemptResult | None = None
    while not (work := coordinator.next_attempts(me, ended=ended)).leave:
        ended = None
        death = next(deaths)
        if death == "half":
            train_half(coordinator, work, me)
        if death == "coordinator":
            coordinator = bench.take_over(same_driver=True)
            coordinator.register_lane(me)
        elif death:
            coordinator = bench.take_over(token=f"driver-{next(pids)}")
            me = hello(pid=next(pids))
            coordinator.register_lane(me)
            continue
        ended = run_attempt(coordinator, work, me, epochs=EPOCHS, value=score)
    found: list[Row] = []
    for trial in views.trials(bench.ledger, bench.sweep_id):
        told = views.trial_events(bench.ledger, bench.sweep_id, trial, "reported")
        reports = {event.payload["epoch"]: event.payload["metrics"][GOAL] for event in told}
        found.append((dict(trial.params), trial.state, reports))
    return found


def train_half(coordinator: Coordinator, work: LaneWork, me: Any) -> None:
    """A heartbeat tells of the first epoch, and the lane dies before the pruner is asked about it."""
    (assignment,) = work.attempts
    report = EpochReport(epoch=1, metrics={GOAL: score(dict(assignment.params), 1)}, at=0.0)
    coordinator.heartbeat(me, assignment.attempt, [report])


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize(
    "sampler", [pytest.param(name, marks=[pytest.mark.long] if name == "gp" else []) for name in SAMPLERS]
)
def test_trials_equal_those_of_optunas_own_loop(tmp_path: Path, sampler: str, pruner: str) -> None:
    searched = family(
        trials=TRIALS,
        budget=Budget(epochs=EPOCHS),
        space=Space.from_mapping(SPACE).to_json(),
        sampler={"name": sampler.partition("-")[0], **SAMPLERS[sampler][0]},
        pruner={"name": pruner, **PRUNERS[pruner][0]},
        start_with=({"optimizer": "sgd", "schedule": "cosine", "layers": 2, "momentum": 0.45, "warmup": 1},),
    )
    spec = sweep(searched, seed=11)
    bench = Bench(tmp_path)
    found = search_with_takeovers(bench, bench.begin(spec))
    bench.ledger.close()
    wanted = search_with_optuna(spec, searched, sampler, pruner)
    assert len(found) == TRIALS
    assert found == wanted
    if pruner != "none":
        assert {state for _, state, _ in found} == {"complete", "pruned"}
    assert any("warmup" in params for params, _, _ in found[1:])
