"""A sweep's row as a coordinator that takes it over changes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from infra.coordinator.standing import SweepStanding


def standing_of(state: str, facts: dict[str, Any]) -> tuple[SweepStanding, dict[str, Any]]:
    """A sweep that stood so, and what is to be written of it."""
    batch = SimpleNamespace(sweep={}, add_event=lambda *event: None)
    sweep, attempts = SimpleNamespace(state=state, facts=facts), SimpleNamespace(batch=batch)
    made: Any = SweepStanding(sweep, None, "search", None, attempts, lambda: 0.0)  # type: ignore[arg-type]
    return made, batch.sweep


@pytest.mark.parametrize("same_driver", [False, True])
def test_facts_that_were_set_before_a_sweep_goes_on_are_written_with_its_state(same_driver: bool) -> None:
    standing, written = standing_of("finished", {})
    standing.set_facts(gpu_lanes={"cnn": 2})
    standing.begin_session(same_driver=same_driver)
    assert written == {"state": "running", "facts": {"gpu_lanes": {"cnn": 2}}}


def test_facts_of_a_driver_that_is_gone_do_not_pass_to_the_next() -> None:
    facts = {"stopping": "asked", "stop_cause": "request", "lanes": {}, "spent": {"trials": 3}}
    standing, written = standing_of("stopped", facts)
    standing.begin_session(same_driver=False)
    assert written == {"state": "running", "facts": {"spent": {"trials": 3}}}
    assert standing.stopping is None


def test_stop_asked_of_a_driver_holds_for_its_next_coordinator() -> None:
    standing, written = standing_of("running", {"stopping": "asked", "stop_cause": "budget"})
    standing.begin_session(same_driver=True)
    assert standing.stopping == "asked"
    standing.conclude_stop()
    assert written["state"] == "finished"
