"""A database that others hold, or that is full, is waited for; who waits too long is told why."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.errors import LedgerUnavailable
from infra.ledger import database, postgres
from infra.ledger.store import Ledger


class Refused(Exception):
    """The driver's `OperationalError`."""


def dialect_that_refuses(*texts: str) -> Any:
    """A dialect whose server refuses with these words, one a time, and then gives a connection."""
    left = list(texts)

    def connect(*args: Any, **params: Any) -> str:
        if left:
            raise Refused(left.pop(0))
        return f"connection of {params['host']}"

    return SimpleNamespace(connect=connect, loaded_dbapi=SimpleNamespace(OperationalError=Refused))


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, on a clock that passes with it."""
    taken: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(taken), sleep=taken.append)
    monkeypatch.setattr(postgres, "time", clock)
    return taken


def test_server_without_a_free_connection_is_asked_until_there_is_one(rests: list[float]) -> None:
    full = ["FATAL:  sorry, too many clients already", 'FATAL:  too many connections for role "ada"']
    made = postgres._connect_in_turn(dialect_that_refuses(*full), None, (), {"host": "db"})
    assert made == "connection of db"  # type: ignore[comparison-overlap]  # a stand-in
    assert len(rests) == 2


def test_server_that_stays_full_is_given_up_after_the_limit(rests: list[float]) -> None:
    full = ["FATAL:  remaining connection slots are reserved for roles with SUPERUSER"] * 10_000
    with pytest.raises(Refused):
        postgres._connect_in_turn(dialect_that_refuses(*full), None, (), {})
    assert postgres.BUSY_TIMEOUT_S < sum(rests) < postgres.BUSY_TIMEOUT_S + 1


def test_server_that_refuses_for_another_reason_is_not_asked_again(rests: list[float]) -> None:
    with pytest.raises(Refused, match="password"):
        postgres._connect_in_turn(
            dialect_that_refuses('FATAL:  password authentication failed for user "ada"'), None, (), {}
        )
    assert rests == []


def test_file_that_stays_locked_is_said_to_be_another_process_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    path = tmp_path / "ledger.db"
    ledger, holder = Ledger(f"sqlite:///{path}", create=True), sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable, match=rf"{path} was locked by another process for 0\.1 s"):
        ledger.run_transaction(lambda connection: None)
    holder.close()
    ledger.run_transaction(lambda connection: None)
    ledger.close()
