"""MLflow's runs of trials whose code asks for them: lanes ask the coordinator, the driver answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

TrialKey: TypeAlias = tuple[str, str, int]  # role, family, number


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnswer:
    """What is known of a trial's run.

    Attributes:
        uri: of the tracking store; empty: there is none for lanes.
        run_id: None: it is not made yet.
        away: tracking does not answer: there is nothing to wait for.
    """

    uri: str
    run_id: str | None = None
    away: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRuns:
    """What the driver, whose sender makes the runs, knows of those that were asked for."""

    runs: Mapping[TrialKey, str] = field(default_factory=dict)
    away: bool = False


class RunRequests:
    """Who waits for which run. Nothing here is durable: a lane asks again until it is answered."""

    def __init__(self, uri: str) -> None:
        """Knows no run yet."""
        self._uri = uri
        self._known: dict[TrialKey, str] = {}
        self._wanted: dict[TrialKey, None] = {}
        self._away = False

    @property
    def wanted_trials(self) -> tuple[TrialKey, ...]:
        """Trials whose runs are waited for."""
        return tuple(self._wanted)

    def find(self, trial: TrialKey, *, wanted: bool) -> RunAnswer:
        """A trial's run. `wanted`: somebody waits for it, as long as tracking is there."""
        run_id = self._known.get(trial)
        if wanted and run_id is None:
            self._wanted[trial] = None
        return RunAnswer(uri=self._uri, run_id=run_id, away=self._away)

    def answer(self, found: KnownRuns) -> None:
        """Takes what the driver knows."""
        self._known |= found.runs
        self._away = found.away
        self._wanted = {} if found.away else {key: None for key in self._wanted if key not in self._known}
