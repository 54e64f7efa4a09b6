"""The ledger over a long wire: how often it waits for the server, and what a wire that is cut leaves."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from infra.errors import FencedError, LedgerUnavailable
from infra.ledger import postgres, views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import OwnerRow, TrialRow
from infra.ledger.store import Ledger
from tests.infra.conftest import sweep
from tests.postgres import Postgres


class Wire:
    """Passes TCP on to a server, and counts how often a client waits for it: what it says after an answer."""

    def __init__(self, target: int) -> None:
        """Begins to listen on `port`."""
        self.trips, self.cut_at, self.connections = 0, 0, 0
        self.cut_end: Literal["", "asked", "answered"] = ""  # where the next COMMIT is lost
        self._target, self._answered = target, True
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """No more connections."""
        self._listening.close()

    @contextlib.contextmanager
    def counted(self) -> Iterator[list[int]]:
        """The round trips of the block, once it has ended."""
        counted, before = list[int](), self.trips
        yield counted
        counted.append(self.trips - before)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self._target))
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if asks and self._answered:
                    self.trips += 1
                    if self.trips == self.cut_at:
                        break
                if self.cut_end == ("asked" if asks else "answered") and b"COMMIT" in data:
                    self.cut_end = ""
                    break
                self._answered = not asks
                to.sendall(data)
        for side in (source, to):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()


@pytest.fixture
def wire(postgres: Postgres) -> Iterator[Wire]:
    """A wire to the server."""
    made = Wire(postgres.port)
    yield made
    made.close()


@pytest.fixture
def url(wire: Wire, postgres: Postgres) -> str:
    """An empty database at the end of the wire."""
    return postgres.database().replace(f":{postgres.port}/", f":{wire.port}/")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A ledger there."""
    made = Ledger(url, create=True)
    yield made
    made.close()


def owner() -> OwnerRow:
    return OwnerRow(epoch=0, token=uuid.uuid4().hex, host="here", pid=1, pid_started_at=0.0)


def full_batch(number: int = 0) -> WriteBatch:
    """All that an attempt's end writes."""
    trial = TrialRow(role="search", family="noop", number=number, params={}, seed=0, state="complete")
    batch = WriteBatch(journal=["{}", "{}"])
    batch.add_event("reported", 1.0, {"epoch": 1, "metrics": {}}, trial)
    batch.add_event("ended", 1.0, {}, trial)
    batch.sweep["updated_at"] = 2.0
    return batch


def test_ledger_is_made_in_a_dozen_round_trips_and_opened_in_eight(wire: Wire, url: str) -> None:
    """Connecting takes two, and what SQLAlchemy asks of a server four."""
    with wire.counted() as making:
        ledger = Ledger(url, create=True)
    ledger.close()
    with wire.counted() as opening:
        ledger = Ledger(url)
    ledger.close()
    assert making[0] <= 12
    assert opening[0] <= 8


@pytest.mark.parametrize("create", [True, False])
def test_ledger_whose_wire_is_cut_while_it_is_opened_is_opened(postgres: Postgres, create: bool) -> None:
    """At each round trip in turn, from the first word of the connection on."""
    trips, cut = 100, 0
    whole = postgres.database()
    Ledger(whole, create=True).close()
    while cut < trips:
        cut += 1
        wire, database = Wire(postgres.port), postgres.database() if create else whole
        wire.cut_at = cut
        ledger = Ledger(database.replace(f":{postgres.port}/", f":{wire.port}/"), create=create)
        assert views.sweeps(ledger) == []
        trips = wire.trips if wire.trips < cut else trips
        ledger.close()
        wire.close()
    assert cut >= 6


def test_second_ledger_of_a_process_asks_the_server_nothing(wire: Wire, url: str, ledger: Ledger) -> None:
    """Of the command, of its sender and of its driver there is one each; they share connections."""
    with wire.counted() as opening:
        other = Ledger(url)
    connections = wire.connections
    assert views.sweeps(other) == views.sweeps(ledger) == []
    other.close()
    assert views.sweeps(ledger) == []
    assert (opening, wire.connections) == ([0], connections)


def test_reading_takes_one_round_trip(wire: Wire, ledger: Ledger) -> None:
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    for read in (views.events, views.open_requests, views.sweep_by_id, views.trials, views.attempts):
        with wire.counted() as reading:
            read(ledger, sweep_id)
        assert reading == [1], read


def test_transaction_waits_for_what_it_reads_and_for_its_end(wire: Wire, ledger: Ledger) -> None:
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    claimant = owner()
    with wire.counted() as claiming:
        epoch, _ = ledger.claim(sweep_id, claimant, lambda present: True)
    with wire.counted() as committing:
        ledger.commit(sweep_id, epoch, full_batch())
    with wire.counted() as raising:
        ledger.raise_epoch(sweep_id, claimant.token)
    assert (claiming, committing, raising) == ([2], [2], [2])


def test_refused_owner_writes_nothing_and_may_read_on(wire: Wire, ledger: Ledger) -> None:
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    epoch, _ = ledger.claim(sweep_id, owner(), lambda present: True)
    with pytest.raises(FencedError):
        ledger.commit(sweep_id, epoch + 1, full_batch())
    assert views.trials(ledger, sweep_id) == []
    ledger.commit(sweep_id, epoch, full_batch())
    assert len(views.trials(ledger, sweep_id)) == 1


def test_records_of_many_commits_stand_one_behind_the_other(ledger: Ledger) -> None:
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    for number in range(3):
        ledger.add_events(sweep_id, WriteBatch(journal=[f"{number}a", f"{number}b"]))
    assert list(views.journal_records(ledger, sweep_id)) == ["0a", "0b", "1a", "1b", "2a", "2b"]


def test_transaction_whose_wire_is_cut_before_its_end_is_begun_anew(wire: Wire, ledger: Ledger) -> None:
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    epoch, _ = ledger.claim(sweep_id, owner(), lambda present: True)
    wire.cut_at = wire.trips + 1  # what asks for the epoch
    ledger.commit(sweep_id, epoch, full_batch())
    assert [event.kind for event in views.events(ledger, sweep_id)] == ["reported", "ended"]


@pytest.mark.parametrize(("lost", "written"), [("asked", 0), ("answered", 2)])
def test_transaction_whose_end_is_in_doubt_is_not_repeated(
    wire: Wire, ledger: Ledger, lost: Literal["asked", "answered"], written: int
) -> None:
    """It may have been written: the caller finds out."""
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    epoch, _ = ledger.claim(sweep_id, owner(), lambda present: True)
    wire.cut_end = lost
    with pytest.raises(LedgerUnavailable):
        ledger.commit(sweep_id, epoch, full_batch())
    assert len(views.events(ledger, sweep_id)) == written
    ledger.commit(sweep_id, epoch, full_batch())
    assert len(views.events(ledger, sweep_id)) == written + 2


def test_reading_whose_wire_is_cut_is_asked_once_more(wire: Wire, ledger: Ledger) -> None:
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    wire.cut_at = wire.trips + 1
    assert views.sweep_by_id(ledger, sweep_id).id == sweep_id


def test_refused_row_of_a_transaction_is_said_as_what_it_is(ledger: Ledger) -> None:
    """Also of one that is sent with the transaction's end; nothing of it is written."""
    from sqlalchemy.exc import IntegrityError

    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    batch = WriteBatch()
    batch.set_attempt(
        "a", role="search", family="noop", number=0, ordinal=1, lane="l", lane_facts="{}", started_at=1.0
    )
    ledger.add_events(sweep_id, batch)
    batch.add_event("noted", 1.0, {})
    with pytest.raises(IntegrityError):
        ledger.add_events(sweep_id, batch)
    assert views.events(ledger, sweep_id) == []


@pytest.mark.parametrize(("cuts", "made"), [(0, True), (1, True), (2, False)])
def test_connection_that_is_cut_while_it_is_made_is_made_once_more(cuts: int, made: bool) -> None:
    """Also of a ledger that has long been open: nobody begins that anew."""
    asked: list[str] = []

    def connect(address: str) -> str:
        asked.append(address)
        if len(asked) <= cuts:
            raise RuntimeError("server closed the connection unexpectedly")
        return "connection"

    dialect: Any = SimpleNamespace(
        connect=connect, loaded_dbapi=SimpleNamespace(OperationalError=RuntimeError)
    )
    if made:
        assert postgres._connect_in_turn(dialect, None, ["a"], {}) == "connection"
    else:
        with pytest.raises(RuntimeError, match="unexpectedly"):
            postgres._connect_in_turn(dialect, None, ["a"], {})
    assert len(asked) == min(cuts + 1, 2)
