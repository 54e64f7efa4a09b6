"""Rows that are written in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from infra.ledger.rows import SqlValue, TrialRow
from infra.spec import SweepSpec
from trainers.types import Document, Json


class SweepChange(TypedDict, total=False):
    """Columns of the sweep's own row that change."""

    state: str
    spec: SweepSpec
    fingerprint: str
    facts: Document
    updated_at: float


@dataclass(slots=True)
class WriteBatch:
    """Everything that one event changes, written together or not at all."""

    events: list[dict[str, SqlValue]] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    trials: dict[tuple[str, str, int], TrialRow] = field(default_factory=dict)
    attempts: dict[str, dict[str, SqlValue]] = field(default_factory=dict)
    sweep: SweepChange = field(default_factory=SweepChange)
    requests_done: list[int] = field(default_factory=list)

    def add_event(
        self, kind: str, at: float, payload: Mapping[str, Json], trial: TrialRow | None = None
    ) -> None:
        """Appends one event, about a trial or about the sweep."""
        about: dict[str, SqlValue] = {"role": None, "family": None, "number": None}
        if trial is not None:
            about = {"role": trial.role, "family": trial.family, "number": trial.number}
            self.trials[trial.key] = trial
        self.events.append({"kind": kind, "at": at, "payload": json.dumps(payload), **about})

    def set_attempt(self, attempt_id: str, **columns: SqlValue) -> None:
        """Sets columns of one attempt's row."""
        self.attempts.setdefault(attempt_id, {}).update(columns)

    def clear(self) -> None:
        """What was in it is written."""
        self.events, self.journal, self.requests_done = [], [], []
        self.trials, self.attempts, self.sweep = {}, {}, {}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.events or self.journal or self.trials or self.attempts or self.sweep or self.requests_done
        )
