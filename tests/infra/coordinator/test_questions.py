"""Which trials are asked for at one event, and of which family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from infra.coordinator.questions import TrialQuestions
from infra.coordinator.trial_table import TrialTable
from infra.ledger.rows import TrialRow
from infra.spec import FamilySpec, Resources, derive_seed
from tests.infra.conftest import Clock, family, sweep

SHAPE = "1x1cpu"


class Studies:
    """Answers with the number that was asked for, and keeps who was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int, object]] = []

    def ask(
        self, family: FamilySpec, number: int, lanes: int, leader: Mapping[str, Any] | None
    ) -> tuple[int, dict[str, Any]]:
        self.asked.append((family.name, number, lanes, None if leader is None else leader["n"]))
        return number + 100, {"n": number}


class Desk:
    """Questions over a table of their own."""

    def __init__(
        self, *families: FamilySpec, lanes: int = 2, trials: tuple[TrialRow, ...] = (), search: bool = True
    ) -> None:
        self.lanes_a_gpu = 1
        self.spec, self.studies = sweep(*families, seed=5), Studies()
        self.book = TrialTable(self.spec, trials)
        self.recorded: list[TrialRow] = []
        self.questions = TrialQuestions(
            self.book,
            self.studies if search else None,  # type: ignore[arg-type]
            {one.name: one.resources for one in families},
            lanes=lanes,
            clock=Clock(),
            record=self.recorded.append,
            lanes_a_gpu=lambda: self.lanes_a_gpu,
        )

    def asked_next(self, shape: str = SHAPE) -> list[tuple[str, int]] | bool:
        """What one question made, or that it made none."""
        before = len(self.studies.asked)
        told = self.questions.ask_next(self.spec, shape)
        made = [(name, number) for name, number, *_ in self.studies.asked[before:]]
        assert told == bool(made)
        return made or False

    def end_all(self) -> None:
        for trial in self.book.all_trials():
            trial.state = "complete"


def learning(name: str = "a", **changes: object) -> FamilySpec:
    return family(name, **{"stack": 4, "sampler": {"name": "tpe"}, "pruner": {"name": "none"}, **changes})


def plain(name: str = "a", **changes: object) -> FamilySpec:
    return learning(name, sampler={"name": "random"}, **changes)


def test_trial_that_was_asked_for_is_known_in_line_and_recorded() -> None:
    desk = Desk(plain())
    assert desk.asked_next() == [("a", 0)]
    (trial,) = desk.recorded
    assert (trial.role, trial.family, trial.number, trial.study_number) == ("search", "a", 0, 100)
    assert (trial.params, trial.state, trial.attempts) == ({"n": 0}, "waiting", 0)
    assert trial.seed == derive_seed(5, "a", 0, "trial")
    assert desk.book.find("a", 0) is trial
    assert desk.book.take_waiting(lambda _: True) is trial
    assert trial.created_at == 1_000.0
    assert desk.asked_next() == [("a", 1)]
    assert desk.recorded[1].created_at > 1_000.0


def test_no_study_is_asked_where_there_is_none() -> None:
    desk = Desk(plain(), search=False)
    assert desk.asked_next() is False
    assert not desk.questions.ask_for_stack(desk.spec, SHAPE, "a")


@pytest.mark.parametrize("trials", [3, 4, 6, 10])
def test_block_of_a_sampler_that_learns_is_asked_for_at_once_up_to_the_familys_trials(trials: int) -> None:
    desk, made = Desk(learning(trials=trials)), list[int]()
    while asked := desk.asked_next():
        assert isinstance(asked, list)
        made.append(len(asked))
    assert made == [4] * (trials // 4) + [trials % 4] * (trials % 4 > 0)
    leaders = {number: leader for _, number, _, leader in desk.studies.asked}
    assert leaders == {n: None if n % 4 == 0 else n - n % 4 for n in range(trials)}
    assert {lanes for _, _, lanes, _ in desk.studies.asked} == {2}


def test_rest_of_a_block_that_was_cut_off_is_asked_for_at_once() -> None:
    begun = tuple(
        TrialRow(role="search", family="a", number=n, params={"n": n}, seed=0, state="complete")
        for n in range(6)
    )
    desk = Desk(learning(trials=20), trials=begun)
    assert desk.asked_next() == [("a", 6), ("a", 7)]
    assert {leader for *_, leader in desk.studies.asked} == {4}


def test_next_block_waits_for_the_end_of_the_one_before_where_there_is_one_lane() -> None:
    desk = Desk(learning(trials=8), lanes=1)
    assert desk.asked_next() == [("a", n) for n in range(4)]
    assert desk.asked_next() is False
    desk.end_all()
    assert desk.asked_next() == [("a", n) for n in range(4, 8)]


def test_next_block_waits_for_none_once_several_lanes_share_the_only_gpu() -> None:
    desk = Desk(learning(trials=8), lanes=1)
    desk.asked_next()
    desk.lanes_a_gpu = 4
    assert desk.asked_next() == [("a", n) for n in range(4, 8)]
    assert {lanes for _, _, lanes, _ in desk.studies.asked} == {1}  # what is asked first stays the same


def test_rest_of_a_block_waits_for_nobody_on_one_lane() -> None:
    begun = tuple(
        TrialRow(role="search", family="a", number=n, params={"n": n}, seed=0, state="running")
        for n in range(5)
    )
    desk = Desk(learning(trials=8), lanes=1, trials=begun)
    assert desk.asked_next() == [("a", n) for n in range(5, 8)]


@pytest.mark.parametrize("lanes", [1, 2])
def test_trials_of_a_sampler_that_learns_nothing_are_asked_for_one_by_one(lanes: int) -> None:
    desk = Desk(plain(trials=3), lanes=lanes)
    assert [desk.asked_next() for _ in range(4)] == [[("a", 0)], [("a", 1)], [("a", 2)], False]


def test_lane_is_asked_for_families_of_its_shape_alone_and_for_none_that_is_broken() -> None:
    failed = tuple(
        TrialRow(role="search", family="c", number=n, params={}, seed=0, state="failed", reason="error: x")
        for n in range(5)
    )
    desk = Desk(
        plain("a", trials=1), plain("b", trials=1, resources=Resources(cpus=2.0)), plain("c", trials=9),
        trials=failed,
    )  # fmt: skip
    assert desk.asked_next() == [("a", 0)]
    assert desk.asked_next() is False
    assert desk.asked_next("1x2cpu") == [("b", 0)]


def test_stack_grows_by_one_trial_of_its_family_when_it_is_its_turn() -> None:
    desk = Desk(plain("a", trials=9), plain("b", trials=9))
    grown = [desk.questions.ask_for_stack(desk.spec, SHAPE, "a") for _ in range(5)]
    assert grown == [True, True, True, True, False]  # a block ahead of the other
    assert [number for _, number, *_ in desk.studies.asked] == [0, 1, 2, 3]
    assert len(desk.recorded) == 4
    assert not desk.questions.ask_for_stack(desk.spec, "another", "b")


def test_stack_of_whole_blocks_does_not_grow_by_single_trials() -> None:
    desk = Desk(learning())
    assert not desk.questions.ask_for_stack(desk.spec, SHAPE, "a")
    assert desk.studies.asked == []
