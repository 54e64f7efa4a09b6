"""What `confirm` found, in the descriptions of the runs of the trials that it confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.terminal.formatting import number
from infra.home import Home
from infra.ledger.rows import SweepRow
from infra.tracking.run_notes import note_confirmations

if TYPE_CHECKING:
    from flows.confirmation.result import Confirmation, ConfirmedRow, Scores


def describe_confirmed(found: Confirmation, row: SweepRow, home: Home) -> str:
    """Writes the scores and their intervals; why that did not succeed, else nothing."""
    lines = {(one.family, one.number): _describe(found.metric, one) for one in found.rows}
    return note_confirmations(row, home, lines)


def _describe(metric: str, one: ConfirmedRow) -> str:
    name = metric.rpartition("/")[2]
    count = len(one.validation.values)
    scores = ((f"val/{name}", one.validation), (metric, one.test))
    said = ", ".join(f"**{of} {_score_text(score)}**" for of, score in scores if score.values)
    return f"on {count} fresh seed{'' if count == 1 else 's'}: {said}"


def _score_text(scores: Scores) -> str:
    mean = number(scores.mean)
    if scores.interval is None:
        return mean
    low, high, level = scores.interval.low, scores.interval.high, scores.interval.confidence
    return f"{mean} ({level:.0%} {number(low)} to {number(high)} over {scores.over})"
