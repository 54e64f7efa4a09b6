"""What a new coordinator goes on with: attempts that were under way, and what earlier trials teach."""

from __future__ import annotations

from collections.abc import Iterable

from infra.coordinator.attempts import Attempts, RunningAttempt
from infra.coordinator.lane_table import LaneTable
from infra.coordinator.messages import LaneHandshake
from infra.coordinator.standing import SweepStanding
from infra.coordinator.trial_table import TrialTable
from infra.ledger import views
from infra.ledger.store import Ledger
from infra.search.study import Studies
from infra.search.teaching import LEARNS_FROM, may_teach
from infra.spec import SweepSpec
from trainers.types import Document


def resume_attempts(
    ledger: Ledger,
    sweep_id: int,
    book: TrialTable,
    attempts: Attempts,
    roster: LaneTable,
    *,
    same_driver: bool,
) -> None:
    """Takes what the ledger says to be under way; where its driver is gone, so are the lanes, and it waits.

    Args:
        same_driver: its lanes live and their attempts go on.
    """
    open_trials = sorted(book.all_open_trials(), key=lambda trial: trial.created_at)
    for trial in open_trials:
        told = views.trial_events(ledger, sweep_id, trial) if trial.epochs else []
        attempts.remember_reports(trial.key, told)
    for trial in (trial for trial in open_trials if trial.state == "running"):
        known = views.attempts(ledger, sweep_id, trial.family, trial.number)
        last = [attempt for attempt in known if attempt.role == trial.role][-1]
        before = last.lane_facts.get("seconds_before", trial.seconds)
        running = RunningAttempt(last.id, trial, last.lane, seconds_before=before)
        attempts.adopt(running)
        if same_driver:
            roster.register(_read_handshake(last.lane, last.lane_facts))
        else:
            attempts.return_to_waiting(running, "driver-ended", "")


def _read_handshake(lane: str, facts: Document) -> LaneHandshake:
    return LaneHandshake(
        lane=lane, shape=facts.get("shape", ""), host=facts["host"], pid=facts["pid"],
        pid_started_at=facts.get("pid_started_at", 0.0), machine=facts.get("machine", ""), facts=facts,
    )  # fmt: skip


def warm_start(ledger: Ledger, standing: SweepStanding, book: TrialTable, studies: Studies | None) -> None:
    """Earlier sweeps' trials, told to the sampler once, before the first question."""
    if studies is None or book.all_trials() or standing.sweep.facts.get("warm_started"):
        return
    if standing.spec.warm_start:
        sweeps = standing.sweep.facts.get(LEARNS_FROM) or _find_ids(ledger, standing.spec)
        standing.set_facts(warm_started=teach_earlier_trials(ledger, standing.spec, studies, sweeps))


def _find_ids(ledger: Ledger, spec: SweepSpec) -> list[int]:
    """Of sweeps that are known by their names alone, as in a ledger of before."""
    rows = (views.find_sweep(ledger, label) for label in spec.warm_start)
    return list(dict.fromkeys(row.id for row in rows if row is not None and row.label != spec.label))


def teach_earlier_trials(ledger: Ledger, spec: SweepSpec, studies: Studies, sweeps: Iterable[int]) -> int:
    """Tells the studies of the sweep's families what trials of earlier sweeps came to; how many they took."""
    families, taught = {family.name for family in spec.families}, 0
    for sweep in sweeps:
        for trial in views.trials(ledger, sweep):
            if may_teach(trial) and trial.objective and trial.family in families:
                known = studies.add_trial(spec.family(trial.family), trial.params, trial.objective)
                taught += known is not None
    return taught
