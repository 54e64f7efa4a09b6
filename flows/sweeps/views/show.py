"""`velodrome show`: one trial whole, from how it was asked to what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, ClassVar

from flows.config.lookup import sweep_in_ledger
from flows.sweeps.views.states import pick_trial, resolve_state, resolve_trials
from flows.terminal.shown_result import ShownResult
from infra.errors import WrongInput
from infra.home import Home, storage_root
from infra.ledger import views
from infra.ledger.rows import AttemptRow, SweepRow, TrialRow, attempt_seconds
from infra.ledger.store import Ledger
from infra.mirror import fetch
from infra.spec import Objective
from infra.storage.paths import files_folder, kept_folder, log_name
from infra.storage.trial_logs import find_log
from infra.tracking.sent_runs import run_id, run_ids

if TYPE_CHECKING:
    import pandas as pd

    from trainers.bundle.predictor import Predictor
    from trainers.types import Json, JsonObject, Params


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What one epoch's report said."""

    epoch: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialDetails(ShownResult):
    """One trial with everything that the ledger knows of it.

    Attributes:
        epoch: the one whose value and weights are kept; `epochs`: how many reports were made.
        asked: how its parameters were chosen, where that is known.
        checkpoint_epoch: of the newest checkpoint that was written; None where there was none.
        model: folder of the kept model, absolute; None where none is kept.
        directory: what own code wrote to `trial.directory`, absolute; None where it wrote nothing.
        kept: the copy of what it keeps (`trial.keep`, a `keep` of a command), absolute; None: none.
        logs: what its attempts printed; files that exist.
    """

    screen: ClassVar[str] = "flows.sweeps.views.trial_screens:print_trial"

    sweep: str
    family: str
    number: int
    state: str
    objectives: tuple[Objective, ...]
    values: tuple[float, ...] | None
    params: Params
    seed: int
    epoch: int
    epochs: int
    seconds: float
    reason: str | None
    metrics: dict[str, float]
    facts: Mapping[str, Json]
    asked: Mapping[str, Json] | None
    resources: Mapping[str, Json] | None
    curve: tuple[CurvePoint, ...]
    attempts: tuple[AttemptRow, ...]
    checkpoint_epoch: int | None
    model: str | None
    directory: str | None
    kept: str | None
    mlflow_run_id: str | None
    logs: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """The curve: one row a report, one column a metric."""
        import pandas as pd

        rows = [{"epoch": point.epoch, **point.metrics} for point in self.curve]
        return pd.DataFrame(rows).set_index("epoch") if rows else pd.DataFrame()

    def to_json(self) -> JsonObject:
        """All of it, by the names of the attributes."""
        document = {name: getattr(self, name) for name in self.__dataclass_fields__}
        several = len(self.objectives) > 1
        document["objectives"] = [asdict(goal) for goal in self.objectives]
        document["curve"] = [asdict(point) for point in self.curve]
        took = attempt_seconds(self.attempts, self.seconds)
        document["attempts"] = [_attempt_json(*one) for one in zip(self.attempts, took, strict=True)]
        if not several:
            document["value"] = self.values[0] if self.values else None
            del document["values"]
        return document


def show(name: str, *, trial: int, family: str | None = None, home: Home | None = None) -> TrialDetails:
    """One trial whole.

    Args:
        name: the sweep's name or its file.
        trial: its number within its family.
        family: needed where the sweep has several families with a trial of that number.

    Raises:
        WrongInput: no such sweep, family or trial, or several that it could be.
    """
    place = home or Home.from_environment()
    with sweep_in_ledger(name, place) as (ledger, row):
        found = pick_trial(ledger, row, trial, family)
        state, _ = resolve_state(row, views.owner(ledger, row.id))
        resolve_trials([found], state)
        return _trial_details(ledger, row, found, place)


def load_trial_model(name: str, number: int | None, family: str | None, home: Home | None) -> Predictor:
    """The model that a trial of a sweep kept, ready to predict."""
    from trainers.bundle.bundle import load_bundle

    if number is None:
        raise WrongInput("a model must be of one trial", f"no best one in {name}", "name its number")
    found = show(name, trial=number, family=family, home=home)
    if found.model is None:
        do = "call trial.model in the function, and sweep with keep: {models: all} for more than the best"
        raise WrongInput("a trial must have kept a model", f"{found.family} #{number} has none", do)
    fetch(Path(found.model), exact=True)
    return load_bundle(found.model)


def _trial_details(ledger: Ledger, row: SweepRow, trial: TrialRow, home: Home) -> TrialDetails:
    attempts = views.attempts(ledger, row.id, trial.family, trial.number)
    mine = tuple(attempt for attempt in attempts if attempt.role == trial.role)
    reports = views.trial_events(ledger, row.id, trial, "reported")
    checkpoints = views.trial_events(ledger, row.id, trial, "checkpoint")
    place = (row.label, trial.role, trial.family, trial.number)
    names = [log_name(trial.family, trial.role, trial.number, attempt.ordinal) for attempt in mine]
    files = [find_log(home, row.spec, name) for name in names]
    return TrialDetails(
        sweep=row.label,
        family=trial.family,
        number=trial.number,
        state=trial.state,
        objectives=row.spec.objectives,
        values=tuple(trial.objective) if trial.objective else None,
        params=trial.params,
        seed=trial.seed,
        epoch=trial.epoch,
        epochs=trial.epochs,
        seconds=trial.seconds,
        reason=trial.reason,
        metrics=trial.metrics,
        facts=trial.facts,
        asked=trial.origin,
        resources=trial.resources,
        curve=learning_curve([(event.payload["epoch"], event.payload["metrics"]) for event in reports]),
        attempts=mine,
        checkpoint_epoch=checkpoints[-1].payload.get("epoch") if checkpoints else None,
        model=str(storage_root(home, row.spec) / trial.model) if trial.model else None,
        directory=_filled_folder(row, home, files_folder(*place)),
        kept=_filled_folder(row, home, kept_folder(*place)),
        mlflow_run_id=run_id(run_ids(home, row), row, trial),
        logs=tuple(str(path) for path in files if path is not None),
    )


def _filled_folder(row: SweepRow, home: Home, place: PurePath) -> str | None:
    folder = storage_root(home, row.spec) / place
    fetch(folder)
    return str(folder) if folder.is_dir() and any(folder.iterdir()) else None


def learning_curve(reports: list[tuple[int, dict[str, float]]]) -> tuple[CurvePoint, ...]:
    """One point an epoch, in order; of an epoch that a later attempt trained again, the later report."""
    latest = dict(reports)
    return tuple(CurvePoint(epoch=epoch, metrics=latest[epoch]) for epoch in sorted(latest))


def _attempt_json(attempt: AttemptRow, took: float | None) -> JsonObject:
    return {
        "id": attempt.id,
        "ordinal": attempt.ordinal,
        "lane": attempt.lane,
        "lane_facts": attempt.lane_facts,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "seconds": None if took is None else round(took, 3),
        "outcome": attempt.outcome,
        "detail": attempt.detail,
    }
