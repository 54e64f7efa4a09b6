"""Which sweeps may be trained by a process of the driver's own, and what is left for lanes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.head_start.begin import find_demand
from infra.head_start.orders import choose_shape
from infra.spec import FamilySpec, Resources
from tests.infra.conftest import Bench, drive, family, hello, sweep
from trainers.registry import COMMAND

PLAIN = Resources(gpus=0.0)
MLP = replace(family(), name="mlp", reference="mlp")


def shape_of(*pairs: tuple[FamilySpec, Resources]) -> str | None:
    return choose_shape(sweep(*(made for made, _ in pairs)), {made.name: needs for made, needs in pairs})


def test_own_families_on_one_processor_are_trained_ahead() -> None:
    assert shape_of((MLP, PLAIN)) == "1x1cpu"
    assert shape_of((MLP, replace(PLAIN, cpus=2.0))) == "1x2cpu"


@pytest.mark.parametrize(
    "needs",
    [
        {"gpus": 1.0}, {"gpus": 0.5}, {"workers": 2}, {"fresh_process": True}, {"memory_bytes": 1 << 30},
        {"accelerator": "A100"}, {"labels": {"zone": "a"}},
    ],
    ids=str,
)  # fmt: skip
def test_trials_that_ask_for_what_a_lane_has_wait_for_lanes(needs: dict[str, object]) -> None:
    assert shape_of((MLP, replace(PLAIN, **needs))) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("reference", ["people.code:Family", COMMAND, "noop"])
def test_code_of_people_waits_for_lanes_and_so_does_what_shares_its_shape(reference: str) -> None:
    theirs = replace(family(), name="theirs", reference=reference)
    assert shape_of((theirs, PLAIN)) is None
    assert shape_of((MLP, PLAIN), (theirs, PLAIN)) is None
    assert shape_of((theirs, PLAIN), (MLP, replace(PLAIN, cpus=2.0))) == "1x2cpu"


def test_demand_is_what_has_not_ended_and_what_may_still_be_asked(bench: Bench) -> None:
    coordinator = bench.begin(sweep(family(trials=6)))
    needs = {"noop": PLAIN}
    assert find_demand(bench.ledger, bench.sweep_id, "search", needs) == {"1x1cpu": (PLAIN, 6)}
    drive(coordinator, hello(), most=2)
    coordinator.next_attempts(hello())  # one runs
    assert find_demand(bench.ledger, bench.sweep_id, "search", needs)["1x1cpu"][1] == 6 - ended(bench)
    drive(bench.take_over(), hello())
    assert find_demand(bench.ledger, bench.sweep_id, "search", needs) == {}
    assert find_demand(bench.ledger, bench.sweep_id, "confirm", needs) == {}


def ended(bench: Bench) -> int:
    from infra.ledger import views

    return sum(trial.has_ended for trial in views.trials(bench.ledger, bench.sweep_id))
