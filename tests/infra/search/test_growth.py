"""Grids: what they have points for, with a search's own start, and what they cannot grow past."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from infra.errors import WrongInput
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.search.growth import grow_spec, limit_to_grids
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


@pytest.mark.parametrize(
    ("trials", "left", "advice"), [(3, "0 are left", "larger space"), (2, "1 are left", "--trials \\+1")]
)
def test_growth_past_a_grid_is_refused_with_what_is_left(trials: int, left: str, advice: str) -> None:
    with pytest.raises(WrongInput, match=f"2 more where {left}.*{advice}"):
        grow_spec(sweep(grid_family(trials)), trials=2)


def test_growth_of_another_family_than_the_grid_is_taken() -> None:
    spec = sweep(grid_family(3), family("other"))
    with pytest.raises(WrongInput, match="name another family with --family"):
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
