"""Two `extend`s of one stopped sweep at once, on both kinds of ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from flows.sweeps.extend import extend
from infra.errors import OwnedElsewhere
from infra.home import Home
from infra.ledger import views
from infra.ledger.store import Ledger
from tests.flows.ledger_sweeps import spec_of
from tests.postgres import run_postgres

ROUNDS = 8


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A home's ledger of each kind; no sweep is carried on."""
    monkeypatch.setattr("flows.sweeps.sweep.resume_sweep", lambda label, home: None)
    if request.param == "sqlite":
        home.path.mkdir(parents=True)
        yield home.ledger_url
        return
    with run_postgres() as server:
        monkeypatch.setenv("VELODROME_LEDGER", server.database())
        yield server.url(f"test{server.databases}")


def test_extend_twice_at_once_adds_what_each_that_succeeded_asked_for(url: str, home: Home) -> None:
    """The second waits or is refused: what it says it planned is what the ledger has."""
    ledger = Ledger(url, create=True)
    for round_ in range(ROUNDS):
        spec = replace(spec_of(f"s{round_}", trials=6), data={"source": "none"})
        sweep_id = ledger.create_sweep(spec, fingerprint="none", facts={}, at=1.0)
        added = _extend_at_once(spec.name, home)
        assert added
        grown = views.sweep_by_id(ledger, sweep_id).spec.families[0].trials
        assert grown == 6 + sum(added)
    ledger.close()


def _extend_at_once(name: str, home: Home) -> list[int]:
    ready, added = threading.Barrier(2), list[int]()

    def work(trials: int) -> None:
        ready.wait(30)
        try:
            extend(name, trials=trials, home=home)
        except OwnedElsewhere:
            return
        added.append(trials)

    threads = [threading.Thread(target=work, args=(trials,)) for trials in (10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return added
