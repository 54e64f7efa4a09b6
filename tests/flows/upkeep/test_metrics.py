"""`velodrome status --openmetrics`: what Prometheus reads of a ledger."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from flows.upkeep.metrics import write_metrics
from infra.home import Home
from tests.flows.conftest import CommandResult
from tests.flows.ledger_sweeps import dead_owner, living_owner, set_owner, write_sweep

Velodrome = Callable[..., CommandResult]
Sample = tuple[str, frozenset[tuple[str, str]]]


def samples(text: str) -> dict[Sample, float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def sample(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


def test_metrics_are_what_the_ledger_has_of_each_sweep(home: Home) -> None:
    lanes = {"planned": 3, "up": 2, "waits_for": "1 lane waits for 1 CPU"}
    set_owner(home, write_sweep(home, state="running", facts={"lanes": lanes}), living_owner())
    found = samples(write_metrics(home))
    expected = {
        sample("velodrome_sweep", sweep="digits", state="running"): 1,
        sample("velodrome_sweep", sweep="digits", state="stopped"): 0,
        sample("velodrome_trials", sweep="digits", family="image_cnn", state="complete"): 2,
        sample("velodrome_trials", sweep="digits", family="text_cnn", state="failed"): 1,
        sample("velodrome_trials", sweep="digits", family="image_cnn", state="running"): 1,
        sample("velodrome_trials_planned", sweep="digits", family="text_cnn"): 4,
        sample("velodrome_lanes", sweep="digits", state="planned"): 3,
        sample("velodrome_lanes", sweep="digits", state="up"): 2,
        sample("velodrome_lanes_waiting", sweep="digits"): 1,
    }
    assert expected.items() <= found.items()
    assert found[sample("velodrome_driver_silence_seconds", sweep="digits")] < 60


def test_sweep_whose_driver_died_is_stopped_in_the_metrics(home: Home) -> None:
    set_owner(home, write_sweep(home, state="running"), dead_owner())
    found = samples(write_metrics(home))
    assert found[sample("velodrome_sweep", sweep="digits", state="stopped")] == 1
    assert found[sample("velodrome_sweep", sweep="digits", state="running")] == 0
    assert sample("velodrome_lanes", sweep="digits", state="up") not in found


def test_home_without_a_ledger_has_metrics_that_parse_and_is_left_as_it_is(home: Home) -> None:
    assert samples(write_metrics(home)) == {}
    assert not home.path.exists() or not list(home.path.iterdir())


@pytest.mark.parametrize("more", [["digits"], ["--json"]])
def test_openmetrics_with_a_name_or_json_is_refused(velodrome: Velodrome, more: list[str]) -> None:
    result = velodrome("status", "--openmetrics", *more)
    assert result.status == 2
    assert "leave --json and the name out" in result.err


def test_openmetrics_is_printed_whole(velodrome: Velodrome, home: Home) -> None:
    write_sweep(home)
    result = velodrome("status", "--openmetrics")
    assert result.status == 0
    assert result.out.endswith("# EOF\n")
