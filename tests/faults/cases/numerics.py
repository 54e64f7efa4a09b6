"""Numbers that are none, and trials that are stopped and go on."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infra.coordinator.messages import AttemptResult
from infra.ledger import views
from infra.ledger.rows import TrialRow
from infra.ledger.summary import summarize_trials
from infra.storage.checkpoints import CheckpointStore
from tests.faults.outcome import Outcome, Pace, case
from tests.infra.conftest import GOAL, Bench, family, hello, sweep
from tests.trainers import tiny
from tests.trainers.tiny import MLP, Bad, Noisy, Normed, Recorder, TwoPlayers
from tests.trainers.two_ranks import run_on_both_ranks
from trainers.errors import NotFinite, TrialError
from trainers.family import Family
from trainers.functions.job import FunctionJob
from trainers.functions.run import run_function
from trainers.functions.trial import Trial
from trainers.job import Outcome as Trained
from trainers.loop.training import train
from trainers.types import Goal, Length, Params, Ranks, State

PLACES = ("loss", "gradient", "constant")
BAD = (float("nan"), float("inf"))


# -- a bad number while training ---------------------------------------------------------------------------


@case("F39", "a loss or a gradient that is not finite, on one rank or on all", fast=True)
def not_finite(folder: Path, pace: Pace) -> Outcome:
    """All ranks stop before the optimizer's step; the trial has failed, once, and is never best."""
    silent = sum(changed_by(*what) for what in itertools.product(PLACES, BAD, (1, 2)))
    for found in run_on_both_ranks(_bad_on_rank_1).values():
        assert found == dict.fromkeys(PLACES, ("nan at epoch 1, step 3", 2))
    trials = told_of(
        folder, {1: AttemptResult(attempt="", outcome="failed", reason="not-finite", detail="nan")}
    )
    assert (trials[1].state, trials[1].attempts, trials[1].reason) == ("failed", 1, "not-finite: nan")
    return Outcome(silent=silent + best_is(trials, 1), lost=sum(not trial.has_ended for trial in trials))


def changed_by(where: str, kind: float, accumulate: int) -> bool:
    """Whether a bad number at step 2 went into the weights."""
    bad = Bad({"at": 2 * accumulate, "where": where, "kind": kind})
    modules: list[torch.nn.Module] = []
    before: list[dict[str, torch.Tensor]] = []

    def build(state: State, params: Params) -> torch.nn.Module:
        modules.append(MLP.build(bad, state, params))
        return modules[-1]

    class Watch(Recorder):
        def alive(self, step: int) -> None:
            before.append({name: t.clone() for name, t in modules[0].state_dict().items()})

    bad.build = build  # type: ignore[method-assign]
    with pytest.raises(NotFinite, match="at epoch 1, step 2") as caught:
        train(tiny.job(bad, accumulate=accumulate, batch_size=16), tiny.data(), Watch())
    assert caught.value.reason == "not-finite"
    assert len(before) == 1
    return not _equal_tensors(before[0], modules[0].state_dict())


def _bad_on_rank_1(rank: int) -> dict[str, Any]:
    found = {}
    for where in PLACES:
        Bad.rank = rank
        hooks = Recorder()
        job = tiny.job(
            Bad({"at": 3, "rank": 1, "where": where}), ranks=Ranks(rank=rank, world_size=2), batch_size=8
        )
        try:
            train(job, tiny.data(), hooks)
        except NotFinite as error:
            found[where] = (error.found, len(hooks.ticks))
    return found


def _equal_tensors(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- a value that is none ----------------------------------------------------------------------------------


NO_NUMBER = ("0.5", None, True, [0.5], torch.ones(2), torch.ones(1), np.ones((1, 2)), 1j, torch.tensor(True))
NOT_FINITE = (
    float("nan"), float("inf"), float("-inf"), 1e400, 10**400, -(10**400), torch.tensor(float("nan")),
)  # fmt: skip
OBJECTIVES: tuple[tuple[Any, ...], ...] = (
    (), (float("inf"),), (float("-inf"),), (float("nan"),), ("0.9",), (None,), (True,),
    (0.5, 0.5), (10**400,),
)  # fmt: skip


@case("F40", "an objective that is infinite, None, text, a tensor or 1e400", fast=True)
def no_objective(folder: Path, pace: Pace) -> Outcome:
    """Refused where it is reported, and again where it would be written; never best."""
    silent = 0
    for number, value in enumerate((*NO_NUMBER, *NOT_FINITE)):
        expected = TrialError if number < len(NO_NUMBER) else NotFinite
        silent += _accepts(folder, value, expected)
    # The first trial is a good one: a family whose first five all fail alike gets no more.
    ends = {
        n: AttemptResult(attempt="", outcome="complete", objective=o)
        for n, o in enumerate(OBJECTIVES, start=1)
    }
    trials = told_of(folder, ends)
    silent += sum(best_is(trials, number) for number in ends)
    assert all((trials[n].reason or "").startswith("not-finite: ") for n in ends)
    return Outcome(silent=silent, lost=sum(not trial.has_ended for trial in trials))


def _accepts(folder: Path, value: Any, expected: type[TrialError]) -> bool:
    def function(trial: Trial) -> None:
        trial.report(loss=value)

    job = FunctionJob(
        function=function, params={}, seed=3, length=Length(epochs=1), directory=folder,
        goals=(Goal(metric="val/loss", maximize=False),),
    )  # fmt: skip
    hooks = Recorder()
    with pytest.raises(expected, match=r"val/loss must be|the value reported for val/loss must be"):
        run_function(job, hooks)
    return bool(hooks.reports)


def told_of(folder: Path, ends: Mapping[int, AttemptResult]) -> list[TrialRow]:
    """The trials of a sweep in which some end as told, and one after them well; best is the largest."""
    bench = Bench(folder / f"ledger-{len(ends)}")
    spec = sweep(family(trials=len(ends) + 3, pruner={"name": "none"}))
    coordinator, me = bench.begin(spec), hello()
    coordinator.register_lane(me)
    ended = None
    while (work := coordinator.next_attempts(me, ended=ended)).attempts:
        (assignment,) = work.attempts
        told = ends.get(assignment.number) or AttemptResult(
            attempt="", outcome="complete", objective=(0.5,), epoch=1, epochs=1, metrics={GOAL: 0.5}
        )
        ended = AttemptResult(
            **{name: getattr(told, name) for name in told.__slots__} | {"attempt": assignment.attempt}
        )
    trials = views.trials(bench.ledger, bench.sweep_id)
    bench.ledger.close()
    return trials


def best_is(trials: list[TrialRow], number: int) -> bool:
    """Whether a trial is complete, or the best."""
    winner = summarize_trials(sweep().objectives, trials).winner
    assert winner is not None
    return trials[number].state != "failed" or winner.number == number


# -- stopped and resumed -----------------------------------------------------------------------------------


class StoringHooks(Recorder):
    """Keeps its checkpoints in real files."""

    store: CheckpointStore

    def save(self, tensors: Any, document: Any) -> None:
        super().save(tensors, document)
        self.store.save(tensors, document)

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        loaded = self.store.load()
        return loaded and (loaded.tensors, loaded.document)


def storing_hooks(folder: Path, **settings: Any) -> StoringHooks:
    """Hooks with a store in the folder."""
    hooks = StoringHooks(**settings)
    hooks.store = CheckpointStore(folder)
    return hooks


TRAINED: list[tuple[type[Family], dict[str, Any]]] = [
    (MLP, {"optimizer": "adam", "dropout": 0.4, "schedule": "cosine"}),
    (MLP, {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "accumulate": 2, "dropout": 0.2}),
    (MLP, {"optimizer": "sgd"}),
    (MLP, {"optimizer": "rmsprop", "momentum": 0.5, "schedule": "warmup-cosine", "warmup": 0.3}),
    (Noisy, {"optimizer": "adamw", "dropout": 0.3, "weight_decay": 0.1, "l1": 0.01}),
    (Normed, {"optimizer": "adam", "batch_size": 16}),
    (TwoPlayers, {"optimizer": "adam"}),
    (MLP, {"batch_size": "all", "dropout": 0.4}),
]
LENGTHS = [
    (Length(epochs=4), 3), (Length(steps=14, report_every=3), 5), (Length(epochs=3, patience=1), 1),
]  # fmt: skip


@case("F41", "stopped every few steps and resumed from its checkpoint, against never stopped", fast=True)
def resume_trials(folder: Path, pace: Pace) -> Outcome:
    """Bit for bit: losses, values and weights, for every optimizer, schedule and source of chance."""
    silent = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.loop.attempt._LOOK_S", 0.0)  # so that it is also stopped between reports
        for number, (what, (length, ticks)) in enumerate(itertools.product(TRAINED, LENGTHS)):
            silent += differs(folder / str(number), *what, length, ticks)
    return Outcome(silent=silent, note=f"{len(TRAINED) * len(LENGTHS)} trials")


def differs(folder: Path, made: type[Family], params: dict[str, Any], length: Length, ticks: int) -> bool:
    """Whether a trial that is stopped after every so many ticks differs from one that is not."""
    settings: dict[str, Any] = {"length": length, "learning_rate": 0.02, **params}
    hooks = Recorder()
    whole = train(tiny.job(made(), **settings), tiny.data(), hooks)
    outcome, turns = _in_turns(folder, made, ticks, **settings)
    assert len(turns) >= 2
    return not (
        [epoch for turn in turns for epoch in turn.epochs] == hooks.epochs
        and [loss for turn in turns for loss in turn.losses()] == hooks.losses()
        and (outcome.values, outcome.epoch, outcome.epochs) == (whole.values, whole.epoch, whole.epochs)
        and _equal_tensors(outcome.weights, whole.weights)
    )


def _in_turns(
    folder: Path, made: type[Family], ticks: int, **settings: Any
) -> tuple[Trained, list[Recorder]]:
    turns: list[Recorder] = []
    for _ in range(100):
        turns.append(storing_hooks(folder, stop_at_tick=ticks))
        outcome = train(tiny.job(made(), **settings), tiny.data(), turns[-1])
        if outcome.status == "complete":
            return outcome, turns
        assert outcome.status == "stopped"
        torch.rand(3)  # the process does other things in between
    raise AssertionError("never completed")
