"""Writing the ledger: sweeps are created, owned and grown; their owner writes what happened in batches.

A `WriteBatch` gathers all that one event changes; `Ledger.commit` writes it in one transaction that first
checks that the writer still owns the sweep. It locks the owner's row, as each claim does: SQLite has one
writer at a time, PostgreSQL would let a takeover pass between the check and the write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TypeVar

from sqlalchemy import Connection, Engine, Update, delete, insert, select, update

from infra.errors import FencedError
from infra.ledger import schema
from infra.ledger.batch import WriteBatch
from infra.ledger.database import close_engine, explain_errors, open_engine, run_transaction
from infra.ledger.postgres import QUEUED
from infra.ledger.rows import OwnerRow, owner_from_columns
from infra.ledger.statements import (
    database_clock,
    insert_missing,
    lock_owner_epoch,
    select_owner,
    write_batch,
)
from infra.spec import SweepSpec
from trainers.types import Json

Answer = TypeVar("Answer")


class Ledger:
    """One database of sweeps. Safe for one thread at a time per instance."""

    def __init__(self, url: str, *, create: bool = False) -> None:
        """Opens it.

        Args:
            url: `sqlite:////absolute/path` or `postgresql+psycopg://…`.
            create: make it where it does not exist.
        """
        self.url = url
        self.engine: Engine = open_engine(url, create=create)
        self._closed = False

    def close(self) -> None:
        """Gives the connections back. What is asked after that makes new ones."""
        again, self._closed = self._closed, True
        close_engine(self.engine, again=again)

    def run_transaction(self, work: Callable[[Connection], Answer]) -> Answer:
        """Runs `work` in one writing transaction and returns what it returns.

        Raises:
            LedgerUnavailable: the database is damaged or could not be reached; nothing was written.
            SQLAlchemyError: it refused what it was asked, as a second row of one key: a defect of ours.
        """
        do = "look for a full disk, or for another process that holds the database locked"
        with explain_errors(self.engine, "the ledger must take writes", do):
            return run_transaction(self.engine, work)

    def create_sweep(self, spec: SweepSpec, *, fingerprint: str, facts: Mapping[str, Json], at: float) -> int:
        """Adds a sweep and returns its id; where the name and version are there already, theirs."""

        def insert_sweep(connection: Connection) -> int:
            """Its id, whoever has added it."""
            row = insert_missing(connection.dialect, schema.sweeps).values(
                name=spec.name,
                version=spec.version,
                state="running",
                spec=json.dumps(spec.to_json()),
                fingerprint=fingerprint,
                facts=json.dumps(facts),
                created_at=at,
                updated_at=at,
            )
            connection.execute(row.inline(), execution_options=QUEUED)
            known = select(schema.sweeps.c.id).where(
                schema.sweeps.c.name == spec.name, schema.sweeps.c.version == spec.version
            )
            return int(connection.execute(known).scalar_one())

        return self.run_transaction(insert_sweep)

    def remove_sweep(self, sweep_id: int) -> None:
        """Deletes every row of a sweep."""

        def delete_rows(connection: Connection) -> None:
            """What hangs on the sweep first."""
            for table in (
                schema.journal,
                schema.trials,
                schema.attempts,
                schema.events,
                schema.requests,
                schema.owners,
            ):
                connection.execute(delete(table).where(table.c.sweep_id == sweep_id))
            connection.execute(delete(schema.sweeps).where(schema.sweeps.c.id == sweep_id))

        self.run_transaction(delete_rows)

    def add_events(self, sweep_id: int, batch: WriteBatch) -> None:
        """Writes a batch beside the sweep's owner, if it has one (a reading of the test split).

        One after the other: an event that is counted first and written last would never be read by those who
        ask for what is newer than the last they saw.
        """

        def write_beside_owner(connection: Connection) -> None:
            lock_owner_epoch(connection, sweep_id)
            write_batch(connection, sweep_id, batch)

        self.run_transaction(write_beside_owner)

    def claim(
        self, sweep_id: int, claimant: OwnerRow, may_take: Callable[[OwnerRow], bool]
    ) -> tuple[int, OwnerRow | None]:
        """Becomes the owner if the present one may be replaced.

        A stop that was asked of an owner before is over with it: it must not stop the one that comes after.

        Args:
            claimant: who asks; its `epoch` is ignored.
            may_take: decides on the present owner (called for a live-looking one with another token too).

        Returns:
            The new epoch and None, or (0, the owner that stays).
        """

        def claim_owner(connection: Connection) -> tuple[int, OwnerRow | None]:
            """Reads the present owner and takes its place under one lock."""
            now = database_clock(connection.dialect)
            row = {"sweep_id": sweep_id, **asdict(claimant), "heartbeat_at": now}
            del row["silent_s"]
            # A row that is not there cannot be locked: two first claims would both find nobody.
            nobody = insert_missing(connection.dialect, schema.owners)
            connection.execute(nobody.values({**row, "token": "", "epoch": 0}), execution_options=QUEUED)
            present = _lock_owner(connection, sweep_id)
            assert present is not None
            if present.token and not may_take(present):
                return 0, present
            epoch = present.epoch + 1
            change = update(schema.owners).where(schema.owners.c.sweep_id == sweep_id)
            connection.execute(change.values({**row, "epoch": epoch}), execution_options=QUEUED)
            closed = _close_stop_requests(sweep_id).values(done_at=now)
            connection.execute(closed, execution_options=QUEUED)
            return epoch, None

        return self.run_transaction(claim_owner)

    def raise_epoch(self, sweep_id: int, token: str) -> int:
        """A new epoch for a coordinator that starts again under the same driver.

        Raises:
            FencedError: another driver owns the sweep by now.
        """

        def update_epoch(connection: Connection) -> int:
            present = _lock_owner(connection, sweep_id)
            if present is None or present.token != token:
                raise FencedError("a coordinator must be its sweep's owner", "another owner in the ledger")
            change = update(schema.owners).where(schema.owners.c.sweep_id == sweep_id)
            connection.execute(change.values(epoch=present.epoch + 1), execution_options=QUEUED)
            return present.epoch + 1

        return self.run_transaction(update_epoch)

    def renew_heartbeat(self, sweep_id: int, token: str) -> bool:
        """Renews the owner's heartbeat; False when somebody else owns the sweep."""
        change = (
            update(schema.owners)
            .where(schema.owners.c.sweep_id == sweep_id, schema.owners.c.token == token)
            .values(heartbeat_at=database_clock(self.engine.dialect))
        )
        return bool(self.run_transaction(lambda connection: connection.execute(change).rowcount))

    def release(self, sweep_id: int, token: str) -> None:
        """Gives the sweep up, so that the next command need not wait for a lost heartbeat."""
        change = (
            update(schema.owners)
            .where(schema.owners.c.sweep_id == sweep_id, schema.owners.c.token == token)
            .values(token="", epoch=schema.owners.c.epoch + 1)
        )
        self.run_transaction(lambda connection: connection.execute(change))

    def commit(self, sweep_id: int, epoch: int, batch: WriteBatch) -> None:
        """Writes a batch as the owner.

        Raises:
            FencedError: the sweep has another owner by now; nothing was written.
            LedgerUnavailable: nothing was written.
        """

        def write_as_owner(connection: Connection) -> None:
            present = lock_owner_epoch(connection, sweep_id)
            if present != epoch:
                raise FencedError(
                    "only a sweep's owner may write", f"epoch {present} in the ledger, ours is {epoch}"
                )
            write_batch(connection, sweep_id, batch)

        self.run_transaction(write_as_owner)

    def add_request(self, sweep_id: int, kind: str, payload: Mapping[str, Json], at: float) -> int:
        """Asks something of the sweep's owner; answered within a second or two of its life."""
        row = insert(schema.requests).values(
            sweep_id=sweep_id, kind=kind, payload=json.dumps(payload), created_at=at
        )
        return int(self.run_transaction(lambda connection: connection.execute(row).inserted_primary_key[0]))  # type: ignore[index]

    def withdraw_request(self, request: int, at: float) -> bool:
        """Takes a request back; False where it was answered already."""
        asked = schema.requests.c
        row = update(schema.requests).where(asked.id == request, asked.done_at.is_(None)).values(done_at=at)
        return bool(self.run_transaction(lambda connection: connection.execute(row).rowcount))


def _close_stop_requests(sweep_id: int) -> Update:
    """For all requests to stop that nobody has answered."""
    asked = schema.requests.c
    return update(schema.requests).where(
        asked.sweep_id == sweep_id, asked.kind == "stop", asked.done_at.is_(None)
    )


def _lock_owner(connection: Connection, sweep_id: int) -> OwnerRow | None:
    """Who owns the sweep, and stays its owner until the transaction ends."""
    query = select_owner(connection.dialect, sweep_id).with_for_update()
    row = connection.execute(query).mappings().first()
    return None if row is None else owner_from_columns(row)
