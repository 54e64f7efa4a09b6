"""What is found of a trial after its sweep has ended, as a line of its run's description."""

from __future__ import annotations

from collections.abc import Mapping

from infra.errors import Unavailable, WrongInput
from infra.home import Home, tracking_uri
from infra.ledger.rows import SweepRow
from infra.secrets import redact
from infra.tracking.attachments import find_run
from infra.tracking.client import Connect, TrackingError, TrackingStore, connect, prepare_tracking
from infra.tracking.mapping import sweep_identity, trial_key

NOTE = "mlflow.note.content"
_CONFIRMED = "- confirmed "


def note_confirmations(
    sweep: SweepRow, home: Home, found: Mapping[tuple[str, int], str], *, connect: Connect = connect
) -> str:
    """Puts what `confirm` found on the runs of the search's trials, in place of what it found before.

    Args:
        found: family and number of a trial → what follows `confirmed`, in one line of Markdown.

    Returns:
        Why that did not succeed; empty where it did, or where MLflow has no run of the sweep.
    """
    try:
        uri = tracking_uri(home, sweep.spec)
        if uri == home.mlflow_uri and not (home.path / "mlflow.db").exists():
            return ""
        prepare_tracking(uri, home)
        tracking = connect(uri)
        for (family, number), text in found.items():
            key = trial_key(sweep_identity(sweep), "search", family, number)
            if (run_id := find_run(sweep, home, uri, tracking, key)) is not None:
                write_note(tracking, run_id, None, confirmed=f"{_CONFIRMED}{text}")
    except (TrackingError, Unavailable, WrongInput, OSError) as error:
        return f"what was found is not in the runs' descriptions in MLflow: {error}"
    return ""


def write_note(
    tracking: TrackingStore, run_id: str, note: str | None, *, confirmed: str | None = None
) -> None:
    """Writes a run's description; what was said of its confirmation stays, unless it is said anew.

    Args:
        note: None for the one that is there.
    """
    before = str(tracking.call("get_run", run_id).data.tags.get(NOTE, ""))
    said = next((line for line in before.splitlines() if line.startswith(_CONFIRMED)), None)
    line = said if confirmed is None else redact(confirmed)
    text = before if note is None else note
    first, *rest = [kept for kept in text.splitlines() if not kept.startswith(_CONFIRMED)] or [""]
    lines = [first, *([] if line is None else [line]), *rest]
    tracking.call("set_tag", run_id, NOTE, "\n".join(lines).lstrip("\n"))
