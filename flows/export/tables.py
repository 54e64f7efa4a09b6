"""A sweep's trials and all that they reported, as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from flows.sweeps.views.states import in_file_order
from infra.ledger import views
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.tracking.sent_runs import run_id
from trainers.types import Json

_OF_A_TRIAL = ("epoch", "epochs", "attempts", "seconds", "reason", "seed")
_POINT = ("role", "family", "number", "epoch", "metric", "value", "at")


def trials_csv(row: SweepRow, trials: Sequence[TrialRow], runs: Mapping[str, str]) -> str:
    """One line a trial or confirmation: state, values, `param.NAME`, `metric.NAME`, `fact.NAME`.

    Args:
        runs: MLflow's runs by the trials' keys in tracking.
    """
    return _write_csv([_trial_record(row, trial, runs) for trial in in_file_order(row.spec, trials)])


def metrics_csv(ledger: Ledger, row: SweepRow) -> str:
    """One line a number: what was reported at which epoch, in the order in which it came."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_POINT)
    after = 0
    while page := views.events(ledger, row.id, after=after):
        after = page[-1].seq
        for event in (event for event in page if event.kind == "reported"):
            about = (event.role, event.family, event.number, event.payload["epoch"])
            writer.writerows(
                (*about, name, repr(v), event.at) for name, v in event.payload["metrics"].items()
            )
    return text.getvalue()


def _trial_record(row: SweepRow, trial: TrialRow, runs: Mapping[str, str]) -> dict[str, Json]:
    goals = [goal.metric for goal in row.spec.objectives]
    origin = trial.origin if trial.role == "confirm" and trial.origin else {}
    return {
        "role": trial.role,
        "family": trial.family,
        "number": trial.number,
        "confirms": origin.get("number"),
        "state": trial.state,
        **dict.fromkeys(goals),
        **dict(zip(goals, trial.objective or (), strict=False)),
        **{name: getattr(trial, name) for name in _OF_A_TRIAL},
        "mlflow_run_id": run_id(runs, row, trial),
        **{f"param.{name}": _csv_value(value) for name, value in trial.params.items()},
        **{f"metric.{name}": value for name, value in trial.metrics.items()},
        **{f"fact.{name}": _csv_value(value) for name, value in trial.facts.items()},
    }


def _csv_value(value: Json) -> Json:
    return json.dumps(value) if isinstance(value, (list, dict, bool)) or value is None else value


def _write_csv(rows: Iterable[Mapping[str, Json]]) -> str:
    rows = list(rows)
    first = rows[0] if rows else {}
    fixed = [name for name in first if not name.startswith(("param.", "metric.", "fact."))]
    rest = sorted({name for row in rows for name in row} - set(fixed))
    order = sorted(rest, key=lambda name: (("param", "metric", "fact").index(name.partition(".")[0]), name))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*fixed, *order], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
