"""The coordinator's decisions, each by a table or by another way to come to it."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.coordinator import policy
from infra.ledger.rows import TrialRow
from infra.search.blocks import find_block
from infra.spec import FamilySpec, Objective
from tests.infra.conftest import family, sweep

UP = Objective(metric="up", direction="maximize")
DOWN = Objective(metric="down", direction="minimize")


@pytest.mark.parametrize(
    ("reason", "killed", "actions"),
    [
        ("error", False, ["fail"]),
        ("not-finite", False, ["fail"]),
        ("out-of-memory", False, ["fail"]),
        ("out-of-memory", True, ["retry", "fail"]),
        ("worker-died", False, ["retry", "retry", "fail"]),
        ("worker-died", True, ["retry", "retry", "fail"]),
        ("timeout", False, ["retry", "retry", "fail"]),
        ("error", True, ["fail"]),
    ],
)
def test_failure_is_tried_again_as_often_as_its_kind_allows(
    reason: str, killed: bool, actions: list[str]
) -> None:
    found = [policy.failure_action(reason, failures + 1, killed=killed) for failures in range(len(actions))]
    assert found == actions


ASKED = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), min_size=1, max_size=4)


def families_of(asked: list[tuple[int, int, bool]]) -> tuple[list[FamilySpec], Counter[str], frozenset[str]]:
    """Families with (trials, how many were asked for, whether it is closed)."""
    names = [f"f{place}" for place in range(len(asked))]
    made = [family(name, trials=one[0], stack=4) for name, one in zip(names, asked, strict=True)]
    counts = Counter({name: one[1] for name, one in zip(names, asked, strict=True)})
    return made, counts, frozenset(name for name, one in zip(names, asked, strict=True) if one[2])


@given(ASKED)
def test_turn_is_the_first_familys_of_those_with_the_fewest_trials_that_may_have_more(
    asked: list[tuple[int, int, bool]],
) -> None:
    families, counts, closed = families_of(asked)
    able = [place for place, (trials, has, shut) in enumerate(asked) if has < trials and not shut]
    turn = min(able, key=lambda place: (asked[place][1], place), default=None)
    found = policy.next_family(families, counts, closed)
    assert found == (None if turn is None else families[turn])


@given(ASKED)
def test_stack_grows_while_its_family_is_less_than_a_block_ahead_of_each_other(
    asked: list[tuple[int, int, bool]],
) -> None:
    families, counts, closed = families_of(asked)
    able = [has for trials, has, shut in asked if has < trials and not shut]
    for one, (trials, has, shut) in zip(families, asked, strict=True):
        grows = has < trials and not shut and all(has - other < find_block(4, has).size for other in able)
        assert policy.has_turn(one, families, counts, closed) is grows


@pytest.mark.parametrize(
    ("stack", "sampler", "pruner", "whole"),
    [
        ("auto", {"name": "tpe"}, {"name": "none"}, True),
        (4, {"name": "random"}, {"name": "median"}, True),
        (4, {"name": "random"}, {"name": "asha", "resume": True}, True),
        (4, {"name": "random"}, {"name": "asha"}, False),
        ("auto", {"name": "qmc"}, {"name": "none"}, False),
        ("off", {"name": "tpe"}, {"name": "median"}, False),
        (None, {"name": "tpe"}, {"name": "median"}, False),
    ],
)
def test_block_is_asked_for_as_a_whole_where_what_is_finished_matters(
    stack: object, sampler: dict[str, object], pruner: dict[str, object], whole: bool
) -> None:
    assert policy.asks_whole_blocks(family(stack=stack, sampler=sampler, pruner=pruner)) is whole


@pytest.mark.parametrize(
    ("goals", "reports", "found"),
    [
        ((UP,), {}, None),
        ((UP,), {1: {"up": 0.2}, 2: {"up": 0.7}, 3: {"up": 0.7}}, (2, [0.7])),
        ((DOWN,), {1: {"down": 0.2}, 2: {"down": 0.1}, 3: {"down": 0.7}}, (2, [0.1])),
        ((UP,), {1: {"up": math.nan}, 2: {"up": math.inf}, 3: {"up": -1.0}}, (3, [-1.0])),
        ((UP,), {1: {"down": 1.0}}, None),
        ((UP, DOWN), {1: {"up": 0.5, "down": 3.0}, 2: {"up": 0.9}}, (1, [0.5, 3.0])),
        ((DOWN, UP), {1: {"up": 0.5, "down": 3.0}, 2: {"up": 0.9, "down": 4.0}}, (1, [3.0, 0.5])),
        ((UP, DOWN), {1: {"up": 0.5, "down": 3.0}, 2: {"up": 0.9, "down": 4.0}}, (2, [0.9, 4.0])),
        ((Objective(metric="up", direction="maximize", at="last"),),
         {1: {"up": 0.9}, 2: {"up": 0.5}, 3: {"up": math.nan}}, (2, [0.5])),
    ],
)  # fmt: skip
def test_value_so_far_is_that_of_the_best_report_with_all_goals_or_of_the_last(
    goals: tuple[Objective, ...], reports: dict[int, dict[str, float]], found: object
) -> None:
    assert policy.objective_so_far(goals, reports) == found


@given(
    st.lists(st.tuples(st.one_of(st.none(), st.integers(-2, 2)), st.booleans()), max_size=7),
    st.sampled_from([UP, DOWN]),
    st.sampled_from([("all", None), ("best", 1), ("top: 1", 1), ("top: 3", 3)]),
)
def test_models_kept_are_the_best_of_a_family_the_first_among_equals(
    made: list[tuple[int | None, bool]], goal: Objective, keep: tuple[str, int | None]
) -> None:
    trials = [
        TrialRow(
            role="search", family="noop", number=number, params={}, seed=0,
            objective=None if value is None else [float(value)], model=f"m{number}" if model else None,
        )
        for number, (value, model) in enumerate(made)
    ]  # fmt: skip
    words, count = keep
    having = [trial for trial in trials if trial.model and trial.value is not None]

    def better(one: TrialRow, other: TrialRow) -> bool:
        mine, its = one.value or 0.0, other.value or 0.0
        mine, its = (mine, its) if goal is UP else (-mine, -its)
        return (mine, -one.number) > (its, -other.number)

    places = {one.number: sum(better(other, one) for other in having) for one in having}
    dropped = [] if count is None else [number for number, place in places.items() if place >= count]
    found = policy.models_to_drop(goal, words, reversed(trials))
    assert sorted(trial.number for trial in found) == sorted(dropped)
    last = None if count is None or len(having) < count else having[0]
    if last is not None:
        (last,) = [one for one in having if places[one.number] == (count or 0) - 1]
    signed = None if last is None else (last.value or 0.0) * (1 if goal is UP else -1)
    assert policy.keep_threshold(goal, words, trials) == signed


@pytest.mark.parametrize(
    ("limits", "used", "words"),
    [
        ({"minutes": 2.0}, (119.9, 0.0, 0.0), None),
        ({"minutes": 2.0}, (120.0, 0.0, 0.0), "2 minutes"),
        ({"gpu_hours": 0.5}, (9e9, 1799.9, 9e9), None),
        ({"gpu_hours": 0.5}, (0.0, 1800.0, 0.0), "0.5 GPU-hours"),
        ({"cost": 3.0, "prices": {"gpu_hour": 2.0, "cpu_hour": 1.0}}, (0.0, 3600.0, 3599.0), None),
        ({"cost": 3.0, "prices": {"gpu_hour": 2.0, "cpu_hour": 1.0}}, (0.0, 3600.0, 3600.0), "budget of 3 "),
        ({"prices": {"gpu_hour": 2.0}}, (9e9, 9e9, 9e9), None),
        ({}, (9e9, 9e9, 9e9), None),
    ],
)
def test_budget_is_spent_where_it_is_reached(
    limits: dict[str, object], used: tuple[float, float, float], words: str | None
) -> None:
    found = policy.exhausted_budget(sweep(**limits), *used)
    assert (found is None) == (words is None)
    assert words is None or words in str(found)
