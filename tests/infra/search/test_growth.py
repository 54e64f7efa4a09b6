"""Grids: what they have points for, with a search's own start, and what they cannot grow past."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from infra.errors import WrongInput
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.search.growth import MOST_TRIALS, added_trials, grow_spec, limit_to_grids
from infra.search.samplers import _cached_grid, count_configurations, starting_point
from infra.spec import FamilySpec
from search_spaces.space import Space
from tests.infra.conftest import Bench, drive, family, hello, sweep

POINTS = {"a": {"type": "int", "low": 1, "high": 3}, "b": {"type": "categorical", "choices": [0.5]}}


def grid_family(trials: int, *start_with: dict[str, Any], name: str = "noop") -> FamilySpec:
    return family(
        name, trials=trials, sampler={"name": "grid"}, pruner={"name": "none"},
        space=Space.from_mapping(POINTS).to_json(), start_with=start_with,
    )  # fmt: skip


def value(params: dict[str, Any], epoch: int) -> float:
    return float(params["a"])


@pytest.mark.parametrize(
    ("start_with", "order"),
    [
        ((), [1, 2, 3]),
        (({"a": 2, "b": 0.5},), [2, 1, 3]),
        (({"a": 3, "b": 0.5}, {"a": 1, "b": 0.5}), [3, 1, 2]),
    ],
)
def test_grid_with_start_configurations_tries_each_point_once(
    bench: Bench, start_with: tuple[dict[str, Any], ...], order: list[int]
) -> None:
    asked = grid_family(3, *start_with)
    assert count_configurations(asked) == 3
    drive(bench.begin(sweep(asked)), hello(), value=value)
    assert [trial.params["a"] for trial in views.trials(bench.ledger, bench.sweep_id)] == order


def test_grid_is_put_together_once_for_all_its_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = list[int](), Space.grid
    monkeypatch.setattr(Space, "grid", lambda space, limit: made.append(1) or real(space, limit))
    asked = replace(grid_family(3), name="asked-often")
    _cached_grid.cache_clear()
    points = [starting_point(asked, 0, number % 3, 1) for number in range(30)]
    assert len(made) == 1
    assert points[:3] == points[3:6]
    points[0]["a"] = 9  # type: ignore[index]  # whoever is given a point may change it
    assert starting_point(asked, 0, 0, 1) == points[3]


def test_start_configuration_outside_the_grid_comes_before_all_of_it() -> None:
    space = {"rate": {"type": "float", "low": 0.0, "high": 1.0, "points": 3}}
    asked = family(
        sampler={"name": "grid"}, space=Space.from_mapping(space).to_json(), start_with=({"rate": 0.3},)
    )
    assert count_configurations(asked) == 4
    points = [starting_point(asked, 0, number, 1) for number in range(4)]
    assert points == [{"rate": 0.3}, {"rate": 0.0}, {"rate": 0.5}, {"rate": 1.0}]


def test_start_configuration_on_a_step_but_for_binary_noise_is_that_point_of_the_grid() -> None:
    space = {"rate": {"type": "float", "low": 0.0, "high": 0.5, "step": 0.1}}
    asked = family(
        sampler={"name": "grid"}, space=Space.from_mapping(space).to_json(), start_with=({"rate": 0.1 + 0.2},)
    )
    assert count_configurations(asked) == 6


@pytest.mark.parametrize(
    ("trials", "left", "advice"), [(3, "0 are left", "larger space"), (2, "1 are left", "--trials \\+1")]
)
def test_growth_past_a_grid_is_refused_with_what_is_left(trials: int, left: str, advice: str) -> None:
    with pytest.raises(WrongInput, match=f"2 more where {left}.*{advice}"):
        grow_spec(sweep(grid_family(trials)), trials=2)


def test_growth_of_another_family_than_the_grid_is_taken() -> None:
    spec = sweep(grid_family(3), family("other"))
    with pytest.raises(WrongInput, match="name another family with --family: other"):
        grow_spec(spec, trials=2)
    assert [entry.trials for entry in grow_spec(spec, trials=2, family="other").families] == [3, 8]
    assert count_configurations(spec.families[1]) is None


def test_running_sweep_asked_for_more_than_its_grid_has_goes_on(bench: Bench) -> None:
    """Two commands at once, each within what was left when it looked."""
    coordinator = bench.begin(sweep(grid_family(2)))
    bench.ledger.add_request(bench.sweep_id, "extend", {"trials": 1, "family": None}, time.time())
    bench.ledger.add_request(bench.sweep_id, "extend", {"trials": 1, "family": None}, time.time())
    coordinator.tick()
    assert drive(coordinator, hello(), value=value) == 3
    coordinator.tick()
    assert coordinator.state == "finished"
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).spec.families[0].trials == 3


def test_sweep_that_grew_past_its_grid_before_is_carried_on(bench: Bench) -> None:
    """As ledgers of earlier versions may say."""
    grown = sweep(grid_family(5))
    assert limit_to_grids(grown).families[0].trials == 3
    bench.begin(sweep(grid_family(2)))
    bench.ledger.add_events(bench.sweep_id, WriteBatch(sweep={"spec": grown}))
    coordinator = bench.take_over(token="driver-2")
    assert drive(coordinator, hello(), value=value) == 3
    coordinator.tick()
    assert coordinator.state == "finished"


@pytest.mark.parametrize("trials", [0, -1])
def test_growth_by_less_than_one_trial_is_refused(trials: int) -> None:
    with pytest.raises(WrongInput, match="at least one trial"):
        grow_spec(sweep(family(trials=3)), trials=trials)
    assert grow_spec(sweep(family(trials=3)), trials=1).families[0].trials == 4


def test_growth_of_a_family_that_is_not_there_names_those_that_are() -> None:
    spec = sweep(family("one"), family("two"))
    with pytest.raises(WrongInput, match="one, two"):
        grow_spec(spec, trials=1, family="three")
    assert [entry.trials for entry in grow_spec(spec, trials=2).families] == [8, 8]


def test_family_grows_to_a_million_trials_and_no_further() -> None:
    spec = sweep(family(trials=MOST_TRIALS - 2))
    assert grow_spec(spec, trials=2).families[0].trials == 1_000_000
    with pytest.raises(WrongInput, match="1,000,000 trials"):
        grow_spec(spec, trials=3)


@pytest.mark.parametrize("others", [False, True])
def test_grid_grows_to_its_last_configuration_and_the_refusal_says_what_is_left_to_do(others: bool) -> None:
    spec = sweep(grid_family(1), *([family("other")] if others else []))
    assert grow_spec(spec, trials=2, family="noop").families[0].trials == 3
    with pytest.raises(WrongInput, match="3 more where 2 are left") as caught:
        grow_spec(spec, trials=3)
    assert caught.value.do == "write --trials +2" + (
        ", or name another family with --family: noop (2 left), other" if others else ""
    )


def test_model_that_was_made_smaller_takes_no_point_of_a_grid(bench: Bench) -> None:
    """It is a trial of the family, with a number, that no sampler was asked for."""
    coordinator = bench.begin(sweep(grid_family(2)))
    drive(coordinator, hello(), value=value)
    coordinator.tick()
    made = replace(views.trials(bench.ledger, bench.sweep_id)[0], number=2, study_number=None)
    made.origin = {"compressed": {"number": 0, "how": "int8"}}
    spec = sweep(grid_family(3))
    spec = replace(spec, families=(replace(spec.families[0], compressed=1),))
    bench.ledger.add_events(bench.sweep_id, WriteBatch(trials={made.key: made}))
    grown = grow_spec(spec, trials=1)
    with pytest.raises(WrongInput, match="noop has 4"):
        grow_spec(grown, trials=1)
    bench.ledger.add_events(bench.sweep_id, WriteBatch(sweep={"spec": grown}))
    drive(bench.take_over(token="driver-2"), hello(), value=value)
    assert [trial.params["a"] for trial in views.trials(bench.ledger, bench.sweep_id)] == [1, 2, 1, 3]


def test_refusal_of_several_grids_says_what_all_can_take_and_what_is_left_in_each() -> None:
    """What it advises is then taken: not refused again for the next grid."""
    spec = sweep(
        grid_family(1), grid_family(2, name="second"), grid_family(3, name="used-up"), family("free")
    )
    with pytest.raises(WrongInput, match="noop has 3, second has 3, used-up has 3") as caught:
        grow_spec(spec, trials=5)
    assert caught.value.found == "5 more where 2 and 1 and 0 are left"
    assert caught.value.do == "name another family with --family: noop (2 left), second (1 left), free"
    spec = replace(spec, families=(*spec.families[:2], spec.families[3]))
    with pytest.raises(WrongInput) as caught:
        grow_spec(spec, trials=5)
    assert caught.value.do.startswith("write --trials +1, or ")
    assert [entry.trials for entry in grow_spec(spec, trials=1).families] == [2, 3, 7]


def test_grid_that_has_more_trials_than_configurations_has_none_left() -> None:
    """As ledgers of earlier versions may say."""
    with pytest.raises(WrongInput, match="1 more where 0 are left") as caught:
        grow_spec(sweep(grid_family(5)), trials=1)
    assert caught.value.do == "start the next version with a larger space and --new"


def test_limit_to_grids_leaves_other_families_as_they_are() -> None:
    spec = sweep(grid_family(5), family("other", trials=5), grid_family(2, name="small"))
    assert [entry.trials for entry in limit_to_grids(spec).families] == [3, 5, 2]


def test_added_trials_are_those_of_families_that_have_more_of_them() -> None:
    before = sweep(family("same", trials=2), family("more", trials=2), family("less", trials=2))
    after = sweep(
        family("same", trials=2), family("more", trials=3), family("less", trials=1), family("new", trials=1)
    )
    assert added_trials(before, after) == {"more": 3, "new": 1}


def test_stacked_grid_has_the_points_of_a_structure_one_after_another() -> None:
    space = {
        "learning_rate": {"type": "float", "low": 0.0, "high": 1.0, "points": 3},
        "hidden": {"type": "categorical", "choices": [8, 16]},
    }
    whole = Space.from_mapping(space)
    for stack in (4, "auto", "off", None):
        asked = family(sampler={"name": "grid"}, space=whole.to_json(), trials=6, stack=stack)
        points = [starting_point(asked, 0, number, 1) or {} for number in range(6)]
        assert sorted(map(str, points)) == sorted(map(str, whole.grid(6)))
        if stack in (4, "auto"):
            assert sum(one["hidden"] != other["hidden"] for one, other in pairwise(points)) == 1
        else:
            assert points == list(whole.grid(6))
