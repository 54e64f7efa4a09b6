"""What a sampler is taught of earlier sweeps before its first question."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from infra.coordinator.takeover import teach_earlier_trials
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import TrialRow
from infra.search.study import Studies
from infra.search.teaching import LEARNS_FROM
from tests.infra.conftest import Bench, family, sweep

FITS = {"learning_rate": 0.01, "optimizer": "adam"}


def trial(number: int, of: str = "noop", **changes: Any) -> TrialRow:
    usual = {"state": "complete", "objective": [float(number)], "params": FITS, "seed": 0}
    return TrialRow(**{"role": "search", "family": of, "number": number, **usual, **changes})


def test_complete_trials_of_known_families_that_fit_are_taught_and_counted(bench: Bench) -> None:
    early = sweep(family(), family("other"), name="early")
    sweep_id = bench.ledger.create_sweep(early, fingerprint="f", facts={}, at=1.0)
    made = [
        trial(0), trial(1), trial(2, state="pruned"), trial(3, objective=None), trial(4, "other"),
        trial(5, params={**FITS, "learning_rate": 9.0}), trial(6, state="failed", objective=None),
        trial(7, origin={"compressed": {"number": 0, "how": "int8"}}), trial(8, params={"optimizer": "adam"}),
        trial(9, params={"learning_rate": 0.01, "optimizer": "sgd"}),
    ]  # fmt: skip
    bench.ledger.add_events(sweep_id, WriteBatch(trials={one.key: one for one in made}))
    spec = sweep(family(), name="late")
    studies = Studies(spec, ())
    assert teach_earlier_trials(bench.ledger, spec, studies, [sweep_id]) == 2
    found = studies._studies["noop"].get_trials()
    assert [known.value for known in found] == [0.0, 1.0]
    plain = sweep(family(), name="plain")
    assert teach_earlier_trials(bench.ledger, plain, Studies(plain, ()), ()) == 0


def test_sweep_learns_from_the_one_that_was_meant_when_it_was_made(bench: Bench) -> None:
    """A version of the same name is made between the check and the search: the sweep itself, say."""
    early = sweep(family(), name="early")
    sweep_id = bench.ledger.create_sweep(early, fingerprint="f", facts={}, at=1.0)
    bench.ledger.add_events(sweep_id, WriteBatch(trials={one.key: one for one in (trial(0), trial(1))}))
    bench.ledger.create_sweep(replace(early, version=2), fingerprint="f", facts={}, at=2.0)
    spec = sweep(family(), name="early", version=3, warm_start=("early",))
    bench.begin(spec, facts={LEARNS_FROM: [sweep_id]})
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).facts["warm_started"] == 2
