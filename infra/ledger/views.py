"""Reading the ledger: what status, comparison, the sender and a new coordinator need. Nothing here writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from sqlalchemy import func, select, tuple_
from sqlalchemy.engine import RowMapping

from infra.errors import LedgerDamaged, LedgerUnavailable, WrongInput
from infra.ledger import schema
from infra.ledger.database import explain_errors, fetch_all, read_as_of_now
from infra.ledger.rows import (
    AttemptRow,
    EventRow,
    OwnerRow,
    RequestRow,
    SweepRow,
    TrialRow,
    owner_from_columns,
    trial_from_columns,
)
from infra.ledger.statements import Query, select_owned_facts, select_owner
from infra.ledger.store import Ledger
from infra.spec import SweepSpec
from trainers.types import Document

PAGE = 5_000
KEYS_AT_ONCE = 250
ROWS_AT_ONCE = 500

Row = TypeVar("Row")


def sweeps(ledger: Ledger) -> list[SweepRow]:
    """All sweeps, oldest first."""
    return _build_rows(_sweep_row, _fetch_rows(ledger, select(schema.sweeps).order_by(schema.sweeps.c.id)))


def sweep_by_id(ledger: Ledger, sweep_id: int) -> SweepRow:
    """One sweep.

    Raises:
        LedgerUnavailable: there is none of that id any more.
    """
    for row in _build_rows(
        _sweep_row, _fetch_rows(ledger, select(schema.sweeps).where(schema.sweeps.c.id == sweep_id))
    ):
        return row
    raise LedgerUnavailable("a sweep must be in its ledger", f"none of id {sweep_id}", "was it removed?")


def find_sweep(ledger: Ledger, label: str) -> SweepRow | None:
    """The sweep that people call so: `digits` (its newest version), `digits@1`; None where none is."""
    name, _, version = label.partition("@")
    query = select(schema.sweeps).where(schema.sweeps.c.name == name)
    if version:
        if not version.isdecimal():
            raise WrongInput("a sweep's version must be a number", repr(label), "write it as digits@2")
        query = query.where(schema.sweeps.c.version == int(version))
    for row in _build_rows(
        _sweep_row, _fetch_rows(ledger, query.order_by(schema.sweeps.c.version.desc()).limit(1))
    ):
        return row
    return None


def trials(ledger: Ledger, sweep_id: int, *, role: str | None = "search") -> list[TrialRow]:
    """Trials in order of family (as first asked) and number; `role=None` gives confirmations too."""
    query = select(schema.trials).where(schema.trials.c.sweep_id == sweep_id)
    if role is not None:
        query = query.where(schema.trials.c.role == role)
    query = query.order_by(schema.trials.c.role.desc(), schema.trials.c.family, schema.trials.c.number)
    return _build_rows(trial_from_columns, _fetch_rows(ledger, query, streamed=True))


def trials_by_key(ledger: Ledger, sweep_id: int, keys: Collection[tuple[str, str, int]]) -> list[TrialRow]:
    """The trials of those keys (`TrialRow.key`), in no order; a key that is not there is left out."""
    columns = schema.trials.c
    wanted = tuple_(columns.role, columns.family, columns.number)
    ordered, found = list(keys), list[TrialRow]()
    for start in range(0, len(ordered), KEYS_AT_ONCE):
        query = select(schema.trials).where(
            columns.sweep_id == sweep_id, wanted.in_(ordered[start : start + KEYS_AT_ONCE])
        )
        found += _build_rows(trial_from_columns, _fetch_rows(ledger, query))
    return found


def attempts(
    ledger: Ledger, sweep_id: int, family: str | None = None, number: int | None = None
) -> list[AttemptRow]:
    """Attempts in the order in which they started; those of one trial, where it is named, by their ordinals:
    the clock may have been set back between two."""
    columns = schema.attempts.c
    query = select(schema.attempts).where(columns.sweep_id == sweep_id)
    if family is None:
        query = query.order_by(columns.started_at, columns.ordinal)
    else:
        query = query.where(columns.family == family, columns.number == number).order_by(columns.ordinal)
    return _build_rows(_attempt_row, _fetch_rows(ledger, query))


def events(ledger: Ledger, sweep_id: int, *, after: int = 0, limit: int = PAGE) -> list[EventRow]:
    """Up to `limit` events after a position, in order."""
    query = select(schema.events).where(schema.events.c.sweep_id == sweep_id, schema.events.c.seq > after)
    return _build_rows(_event_row, _fetch_rows(ledger, query.order_by(schema.events.c.seq).limit(limit)))


def changed_trials(
    ledger: Ledger, sweep_id: int, *, after: int, role: str
) -> tuple[int, list[tuple[str, str, int]]]:
    """The last event there is after a position (else the position), and the keys of the role's trials that
    events after it are about."""
    columns = schema.events.c
    newer = (columns.sweep_id == sweep_id, columns.seq > after)
    (last,) = _fetch_rows(ledger, select(func.max(columns.seq).label("seq")).where(*newer))
    if last["seq"] is None:
        return after, []
    query = select(columns.role, columns.family, columns.number).where(*newer, columns.seq <= last["seq"])
    rows = _fetch_rows(ledger, query.where(columns.role == role).distinct(), streamed=True)
    return int(last["seq"]), [(row["role"], row["family"], row["number"]) for row in rows]


def trial_events(ledger: Ledger, sweep_id: int, trial: TrialRow, kind: str | None = None) -> list[EventRow]:
    """All that happened to one trial, in order; of one kind where it is named."""
    query = select(schema.events).where(
        schema.events.c.sweep_id == sweep_id,
        schema.events.c.family == trial.family,
        schema.events.c.number == trial.number,
        schema.events.c.role == trial.role,
    )
    if kind is not None:
        query = query.where(schema.events.c.kind == kind)
    return _build_rows(_event_row, _fetch_rows(ledger, query.order_by(schema.events.c.seq)))


def last_event(ledger: Ledger, sweep_id: int, kind: str) -> EventRow | None:
    """The newest event of a kind; None where there is none."""
    query = select(schema.events).where(schema.events.c.sweep_id == sweep_id, schema.events.c.kind == kind)
    found = _build_rows(_event_row, _fetch_rows(ledger, query.order_by(schema.events.c.seq.desc()).limit(1)))
    return found[0] if found else None


def events_of_kind(ledger: Ledger, sweep_id: int, kind: str) -> list[EventRow]:
    """All events of one kind, in order; meant for kinds of which there are few."""
    query = select(schema.events).where(schema.events.c.sweep_id == sweep_id, schema.events.c.kind == kind)
    return [_event_row(row) for row in _fetch_rows(ledger, query.order_by(schema.events.c.seq))]


def ending_order(ledger: Ledger, sweep_id: int) -> dict[tuple[str, str, int], int]:
    """The how manieth to end each trial was, by `TrialRow.key`; of one that was tried again the last."""
    columns, seq = schema.events.c, func.max(schema.events.c.seq)
    ended = (columns.sweep_id == sweep_id, columns.kind == "ended")
    query = select(columns.role, columns.family, columns.number).where(*ended)
    query = query.group_by(columns.role, columns.family, columns.number).order_by(seq)
    rows = _fetch_rows(ledger, query)
    return {(row["role"], row["family"], row["number"]): place for place, row in enumerate(rows, 1)}


def count_events(ledger: Ledger, sweep_id: int, kind: str, *, after: int = 0) -> int:
    """How many events of a kind (`*`: of any) there are after a position."""
    query = select(func.count()).select_from(schema.events).where(schema.events.c.sweep_id == sweep_id)
    if kind != "*":
        query = query.where(schema.events.c.kind == kind)
    return int(next(iter(_fetch_rows(ledger, query.where(schema.events.c.seq > after))))["count_1"])


def owner(ledger: Ledger, sweep_id: int) -> OwnerRow | None:
    """Who owns the sweep, or None where nobody does."""
    for row in _fetch_rows(ledger, select_owner(ledger.engine.dialect, sweep_id)):
        found = owner_from_columns(row)
        return found if found.token else None
    return None


def owned_facts(ledger: Ledger) -> list[tuple[Document, OwnerRow]]:
    """The facts of all sweeps that somebody owns, and who does."""
    rows = _fetch_rows(ledger, select_owned_facts(ledger.engine.dialect))
    return [(json.loads(row["facts"]), owner_from_columns(row)) for row in rows]


def open_requests(ledger: Ledger, sweep_id: int) -> list[RequestRow]:
    """Requests that the owner has not answered yet, oldest first."""
    query = select(schema.requests).where(
        schema.requests.c.sweep_id == sweep_id, schema.requests.c.done_at.is_(None)
    )
    return _build_rows(_request_row, _fetch_rows(ledger, query.order_by(schema.requests.c.id)))


def journal_records(ledger: Ledger, sweep_id: int) -> Iterator[str]:
    """Optuna's operations of all studies of a sweep, in order; read as they are asked for."""
    query = select(schema.journal.c.record).where(schema.journal.c.sweep_id == sweep_id)
    for row in _fetch_rows(ledger, query.order_by(schema.journal.c.position), streamed=True):
        yield row["record"]


def has_journal(ledger: Ledger, sweep_id: int) -> bool:
    """Whether the search of a sweep has begun."""
    query = select(schema.journal.c.position).where(schema.journal.c.sweep_id == sweep_id).limit(1)
    return any(True for _ in _fetch_rows(ledger, query))


def _fetch_rows(ledger: Ledger, query: Query, *, streamed: bool = False) -> Iterator[RowMapping]:
    """The rows; `streamed` where there may be many: a page of them is in memory at a time."""
    with explain_errors(ledger.engine, "the ledger must be readable", "is its server up?"):
        if ledger.engine.dialect.name == "postgresql":
            # A page takes one round trip, a cursor over any more of them eight.
            first = fetch_all(ledger.engine, query.limit(ROWS_AT_ONCE + 1) if streamed else query)
            if not streamed or len(first) <= ROWS_AT_ONCE:
                yield from first
                return
        options = {"yield_per": ROWS_AT_ONCE} if streamed else {}
        with read_as_of_now(ledger.engine) as connection:
            yield from connection.execute(query, execution_options=options).mappings()


def _build_rows(make: Callable[[RowMapping], Row], rows: Iterable[RowMapping]) -> list[Row]:
    """Rows as what they are; a database finds damaged pages, and only we find damaged documents."""
    try:
        return [make(row) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerDamaged(
            "every row of the ledger must be what was written",
            f"{type(error).__name__}: {error}"[:300],
            "restore the ledger from a copy",
        ) from error


def _request_row(row: RowMapping) -> RequestRow:
    return RequestRow(id=row["id"], kind=row["kind"], payload=json.loads(row["payload"]))


def _sweep_row(row: RowMapping) -> SweepRow:
    return SweepRow(
        id=row["id"],
        state=row["state"],
        spec=SweepSpec.from_json(json.loads(row["spec"])),
        fingerprint=row["fingerprint"],
        facts=json.loads(row["facts"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _attempt_row(row: RowMapping) -> AttemptRow:
    values = {name: row[name] for name in AttemptRow.__dataclass_fields__}
    return AttemptRow(**{**values, "lane_facts": json.loads(values["lane_facts"])})


def _event_row(row: RowMapping) -> EventRow:
    values = {name: row[name] for name in EventRow.__dataclass_fields__}
    return EventRow(**{**values, "payload": json.loads(values["payload"])})
