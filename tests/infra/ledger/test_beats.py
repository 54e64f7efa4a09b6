"""The heartbeat of an owner that is busy with something else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from infra.errors import LedgerUnavailable
from infra.ledger import views
from infra.ledger.beats import keep_beating
from infra.ledger.liveness import describe_this_process
from infra.ledger.store import Ledger
from tests.infra.conftest import sweep


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", create=True)


def own(ledger: Ledger) -> tuple[int, str]:
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    me = describe_this_process()
    ledger.claim(sweep_id, me, lambda owner: True)
    return sweep_id, me.token


def beat_of(ledger: Ledger, sweep_id: int) -> float:
    owner = views.owner(ledger, sweep_id)
    assert owner is not None
    return owner.heartbeat_at


def wait_for_beat(ledger: Ledger, sweep_id: int, last: float) -> float:
    deadline = time.monotonic() + 20.0
    while (now := beat_of(ledger, sweep_id)) == last:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return now


def test_owner_beats_while_its_process_does_something_else(ledger: Ledger) -> None:
    sweep_id, token = own(ledger)
    last = beat_of(ledger, sweep_id)
    with keep_beating(ledger.url, sweep_id, token, beat_s=0.02):
        for _ in range(3):
            last = wait_for_beat(ledger, sweep_id, last)
    last = beat_of(ledger, sweep_id)
    time.sleep(0.1)
    assert beat_of(ledger, sweep_id) == last


def test_ledger_that_is_away_for_a_while_gets_its_beats_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_id, token = own(ledger)
    last, real, asked = beat_of(ledger, sweep_id), Ledger.renew_heartbeat, list[int]()

    def renew(self: Ledger, sweep_id: int, token: str) -> bool:
        asked.append(1)
        if len(asked) < 4:
            raise LedgerUnavailable("the ledger must take writes", "away", "wait")
        return real(self, sweep_id, token)

    monkeypatch.setattr(Ledger, "renew_heartbeat", renew)
    with keep_beating(ledger.url, sweep_id, token, beat_s=0.02):
        wait_for_beat(ledger, sweep_id, last)
    assert len(asked) >= 4


def test_owner_that_was_replaced_beats_no_more(ledger: Ledger) -> None:
    sweep_id, token = own(ledger)
    with keep_beating(ledger.url, sweep_id, token, beat_s=0.02):
        wait_for_beat(ledger, sweep_id, beat_of(ledger, sweep_id))
        ledger.claim(sweep_id, describe_this_process(), lambda owner: True)
        last = beat_of(ledger, sweep_id)
        time.sleep(0.2)
        assert beat_of(ledger, sweep_id) == last
