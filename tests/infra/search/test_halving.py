"""Our indexed successive halving decides what Optuna's decides, trial by trial, and after a restart."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import BasePruner, SuccessiveHalvingPruner

from infra.search.halving import IndexedHalving
from infra.search.study import LedgerJournal

VALUES = st.one_of(st.integers(0, 4).map(float), st.floats(-10, 10), st.just(float("nan")))
CURVES = st.lists(st.lists(VALUES, min_size=1, max_size=10), min_size=1, max_size=25)


@dataclass
class Side:
    """A study and the answers of its pruner."""

    pruner: BasePruner
    direction: str
    stride: int = 1  # epochs from one report to the next: own code may skip some
    journal: LedgerJournal = field(default_factory=lambda: LedgerJournal([]))
    answers: list[bool] = field(default_factory=list)

    def study(self, records: list[str]) -> optuna.Study:
        """The study as the records have it."""
        self.journal = LedgerJournal(records)
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(self.journal),
            study_name="try",
            direction=self.direction,
            pruner=self.pruner,
            load_if_exists=True,
        )

    def run(self, study: optuna.Study, curves: list[list[float]], every: int) -> None:
        """Trials side by side, as lanes run them: epoch by epoch, `every` at once."""
        for start in range(0, len(curves), every):
            live = [(study.ask(), curve) for curve in curves[start : start + every]]
            for epoch in range(1, 1 + max(len(curve) for _, curve in live)):
                live = [(trial, curve) for trial, curve in live if self._goes_on(trial, curve, epoch)]

    def _goes_on(self, trial: optuna.Trial, curve: list[float], epoch: int) -> bool:
        if epoch > len(curve):
            return False
        trial.report(curve[epoch - 1], epoch * self.stride)
        self.answers.append(trial.should_prune())
        return not self.answers[-1]


@settings(max_examples=60, deadline=None)
@given(
    curves=CURVES,
    more=CURVES,
    direction=st.sampled_from(["maximize", "minimize"]),
    first=st.integers(1, 3),
    reduction=st.integers(2, 4),
    every=st.integers(1, 4),
    stride=st.integers(1, 5),
)
def test_indexed_halving_decides_as_optunas_pruner_does(
    curves: list[list[float]],
    more: list[list[float]],
    direction: str,
    first: int,
    reduction: int,
    every: int,
    stride: int,
) -> None:
    """The same answers, also of a fresh pruner that finds a study half-way."""
    theirs = Side(SuccessiveHalvingPruner(min_resource=first, reduction_factor=reduction), direction, stride)
    ours = Side(IndexedHalving(min_epochs=first, reduction=reduction), direction, stride)
    for side in (theirs, ours):
        side.run(side.study([]), curves, every)
        records = side.journal.take_records()
        side.pruner = side.pruner if side is theirs else IndexedHalving(min_epochs=first, reduction=reduction)
        side.run(side.study(records), more, every)
    assert ours.answers == theirs.answers


def test_indexed_halving_reads_no_trial_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of trials cost a decision nothing: they are read once, at the first."""
    looks = 0
    side = Side(IndexedHalving(min_epochs=1, reduction=3), "maximize")
    study = side.study([])
    whole = study.get_trials

    def counted(*args: object, **options: object) -> list[optuna.trial.FrozenTrial]:
        nonlocal looks
        looks += 1
        found: list[optuna.trial.FrozenTrial] = whole(*args, **options)
        return found

    monkeypatch.setattr(study, "get_trials", counted)
    for number in range(40):
        trial = study.ask()
        trial.report(float(number % 7), 1)
        trial.should_prune()
    assert looks == 1


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(("first", "reduction"), [(1, 2), (1, 3), (2, 2), (2, 3)])
@pytest.mark.parametrize("fresh", [False, True])
def test_waiting_trial_goes_on_where_it_is_among_the_best_share_of_its_rung(
    direction: str, first: int, reduction: int, fresh: bool
) -> None:
    """By the values that have come to the rung: one of `reduction` of them goes on, the best in any case."""
    random = Random(f"{direction} {first} {reduction}")
    side = Side(IndexedHalving(min_epochs=first, reduction=reduction), direction)
    study = side.study([])
    curves = [[float(random.randint(0, 30)) for _ in range(first * reduction**2)] for _ in range(40)]
    side.run(study, curves, 3)
    if fresh:
        study = side.study(side.journal.take_records())
        side.pruner = study.pruner = IndexedHalving(min_epochs=first, reduction=reduction)
    halving = side.pruner
    assert isinstance(halving, IndexedHalving)
    for rung in range(3):
        name = f"completed_rung_{rung}"
        there = [t.system_attrs[name] for t in study.get_trials() if name in t.system_attrs]
        assert len(there) > 1
        go_on = max(len(there) // reduction, 1)
        for value in range(31):
            better = sum(other > value if direction == "maximize" else other < value for other in there)
            for epoch in (first * reduction**rung, first * reduction ** (rung + 1) - 1):
                assert halving.is_among_best(study, epoch, float(value)) is (better < go_on), (rung, value)


def test_nothing_is_among_the_best_of_a_rung_to_which_nobody_came() -> None:
    side = Side(IndexedHalving(min_epochs=1, reduction=3), "maximize")
    study = side.study([])
    assert isinstance(side.pruner, IndexedHalving)
    assert side.pruner.is_among_best(study, 1, 0.5) is False


def test_trial_that_has_reported_nothing_is_not_ended() -> None:
    side = Side(IndexedHalving(min_epochs=1, reduction=3), "maximize")
    study = side.study([])
    side.run(study, [[0.9], [0.8], [0.7]], 1)
    assert study.ask().should_prune() is False
