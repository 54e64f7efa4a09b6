"""What the ledger's rows are in memory, and back."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from infra.secrets import redact
from infra.spec import SweepSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import RowMapping

    from trainers.types import Document, Params

TERMINAL = frozenset({"complete", "pruned", "failed"})

SqlValue: TypeAlias = str | int | float | None
Columns: TypeAlias = "Mapping[str, SqlValue]"
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """One sweep as the ledger has it. `state`: running, finished, stopped or failed."""

    id: int
    state: str
    spec: SweepSpec
    fingerprint: str
    facts: Document
    created_at: float
    updated_at: float

    @property
    def label(self) -> str:
        """`digits`, or `digits@2` for a later version."""
        return self.spec.label


@dataclass(slots=True, kw_only=True)
class TrialRow:
    """One trial as it stands. The coordinator changes it and writes it whole.

    `state`: waiting, running, complete, pruned or failed. `objective`: one value a goal at the kept epoch,
    of what was reported so far for a pruned or failed trial.
    """

    role: str
    family: str
    number: int
    params: Params
    seed: int
    study_number: int | None = None
    state: str = "waiting"
    attempts: int = 0
    failures: int = 0
    objective: list[float] | None = None
    epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    reason: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    facts: Document = field(default_factory=dict)
    model: str | None = None
    origin: Document | None = None
    resources: Document | None = None
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies it within its sweep."""
        return (self.role, self.family, self.number)

    @property
    def value(self) -> float | None:
        """The first goal's value."""
        return self.objective[0] if self.objective else None

    @property
    def compression(self) -> Document | None:
        """Of a smaller version of another trial's model its `number` and `how`; None of a trained trial."""
        found: Document | None = (self.origin or {}).get("compressed")
        return found

    @property
    def has_ended(self) -> bool:
        """Whether the trial has its final state."""
        return self.state in TERMINAL


_NOTHING: Document = {}  # one for all that keep nothing: thousands of empty ones are a mebibyte
OUTDATED = "outdated"  # in a trial's facts: how many attempts it had when its family's code was changed
PARAMETERS = "parameters"  # in a trial's facts: how many weights its model has, which decides between equals


@lru_cache(maxsize=1024)
def _size_alone(parameters: float) -> Document:
    """One for all models of a size."""
    return {PARAMETERS: parameters}


def strip_measurements(trial: TrialRow, *, params: bool = True) -> TrialRow:
    """A copy for who keeps thousands of them, to be read only: without `metrics` and all `facts` but a size
    and whether its code was changed since.

    Args:
        params: whether the parameters are kept.
    """
    size = trial.facts.get(PARAMETERS)
    facts = _size_alone(float(size)) if isinstance(size, (int, float)) else _NOTHING
    if OUTDATED in trial.facts:
        facts = {**facts, OUTDATED: trial.facts[OUTDATED]}
    return replace(trial, metrics=_NOTHING, facts=facts, params=trial.params if params else _NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One execution of a trial. `outcome` is None while it runs."""

    id: str
    role: str
    family: str
    number: int
    ordinal: int
    lane: str
    lane_facts: Document
    started_at: float
    ended_at: float | None = None
    outcome: str | None = None
    detail: str | None = None


def attempt_seconds(attempts: Sequence[AttemptRow], trial_s: float) -> list[float | None]:
    """What each attempt at a trial took, None where it goes on: by what was counted while it ran, of a stack
    its share. Between its two times the clock may have been set.

    Args:
        attempts: all of the trial, by their ordinals.
        trial_s: `TrialRow.seconds`.
    """
    begun = [float(attempt.lane_facts.get("seconds_before", 0.0)) for attempt in attempts]
    return [
        max(0.0, after - before) if attempt.ended_at is not None else None
        for attempt, before, after in zip(attempts, begun, [*begun, trial_s][1:], strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One thing that happened. Kinds and payloads:

    `asked` {params} · `started` {attempt, ordinal, lane} · `reported` {epoch, metrics, judged: false where
    the pruner was still to be asked} · `judged` {epoch} ·
    `attempt-ended` {attempt, outcome, detail} · `ended` {state, objective, reason} · `model` {path} ·
    `checkpoint` {epoch} · `grown` {families: {name: trials}} · `retry` {} · `test-read` {why, count} ·
    `session` {host, pid} · `stopped` {why} · `finished` {state} · `code-change` {families}
    """

    seq: int
    at: float
    kind: str
    role: str | None
    family: str | None
    number: int | None
    payload: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRow:
    """Who may write: the newest epoch, and the driver process that holds it (empty token: nobody).

    `silent_s`: how old its heartbeat was when the row was read, by the database's clock, which all share.
    """

    epoch: int
    token: str
    host: str
    pid: int
    pid_started_at: float
    heartbeat_at: float = 0.0
    silent_s: float = 0.0

    @property
    def machine(self) -> str:
        """The `machine_id` of its process; empty where its token does not say."""
        return self.token.partition("-")[2]

    @property
    def beat(self) -> tuple[str, int, float]:
        """Another one each time that it shows that it lives."""
        return self.token, self.epoch, self.heartbeat_at


def owner_from_columns(columns: RowMapping) -> OwnerRow:
    """The owner of such a row of the database."""
    return OwnerRow(**{name: columns[name] for name in OwnerRow.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """What another command asked of a running sweep."""

    id: int
    kind: str
    payload: Document


JSON_COLUMNS = ("params", "objective", "metrics", "facts", "origin", "resources")


def trial_to_columns(sweep_id: int, trial: TrialRow) -> Columns:
    """The row as database values."""
    columns = {name: getattr(trial, name) for name in TrialRow.__dataclass_fields__}
    for name in JSON_COLUMNS:
        columns[name] = None if columns[name] is None else json.dumps(columns[name])
    return {"sweep_id": sweep_id, **columns}


def trial_from_columns(columns: RowMapping) -> TrialRow:
    """The inverse of `trial_to_columns`."""
    values = {name: columns[name] for name in TrialRow.__dataclass_fields__}
    for name in JSON_COLUMNS:
        values[name] = None if values[name] is None else json.loads(values[name])
        if isinstance(values[name], dict):
            values[name] = intern_names(values[name])
    return TrialRow(**values)


def intern_names(found: Mapping[str, Value]) -> dict[str, Value]:
    """The same with names that exist once in this process: each message and each row brings its own copies,
    and a sweep of ten thousand trials keeps some of each."""
    return {sys.intern(str(name)): value for name, value in found.items()}


def storable_text(text: str) -> str:
    """The text without secrets and without what a database refuses: PostgreSQL takes no NUL, and nobody half
    a surrogate pair.

    An error's message may hold anything, and one that cannot be written would never be over.
    """
    return redact(text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode())
