"""Models of earlier sweeps that a family begins with: `options: {encoder: sweep:NAME}` or `pretrained`."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from flows.config.errors import Path
from flows.config.loading import SweepFile
from infra.errors import WrongInput
from infra.home import Home

if TYPE_CHECKING:
    from infra.ledger.rows import SweepRow, TrialRow
    from trainers.types import JsonObject


PREFIX = "sweep:"
OPTIONS = ("encoder", "pretrained")


def resolve_beginning(
    file: SweepFile, options: JsonObject, path: Path, home: Home | None = None
) -> tuple[JsonObject, JsonObject]:
    """The options with the best model's place, and its hash, where they name a sweep; and which trial's it
    is: `sweep`, `family`, `number`, `key` and, where it is known, `run_id` in MLflow.

    Raises:
        WrongInput: no such sweep, it has kept no model, or one that cannot be begun with.
    """
    begins_with: JsonObject = {}
    for name in OPTIONS:
        written = options.get(name)
        if isinstance(written, str) and written.startswith(PREFIX):
            key, place = (*path, "options", name), home or Home.from_environment()
            found, storage, begins_with = _best_model(file, written, key, place)
            options = {**options, **_named_model(file, name, found, storage, key)}
    return options, begins_with


def _named_model(file: SweepFile, name: str, folder: FilePath, storage: FilePath, key: Path) -> JsonObject:
    if name == "encoder":
        from trainers.storage.atomic_folders import manifest_hash

        return {"encoder": str(folder), "encoder_sha256": manifest_hash(folder)}
    from trainers.bundle.pretraining import pretrained_options
    from trainers.errors import TrainerError

    try:
        return pretrained_options(folder, storage / "pretrained")
    except TrainerError as error:
        must = f"name a sweep whose model can be begun with: {error.must}"
        raise file.written.error_at(key, must, error.found, error.do) from error


def _best_model(
    file: SweepFile, written: str, key: Path, home: Home
) -> tuple[FilePath, FilePath, JsonObject]:
    """The folder of the best model that the sweep has kept, of whichever family; its storage, its trial."""
    from flows.config.lookup import open_sweep
    from infra.home import storage_root
    from infra.ledger import views
    from infra.tracking.summary import summarize_trials
    from trainers.storage.atomic_folders import MANIFEST

    try:
        ledger, row = open_sweep(written.removeprefix(PREFIX), home)
    except WrongInput as error:
        raise file.written.error_at(key, f"name a sweep here: {error.must}", error.found, error.do) from error
    try:
        trials = views.trials(ledger, row.id, role="search")
    finally:
        ledger.close()
    having = [t for t in trials if t.state == "complete" and t.model is not None and not t.compressed]
    winner = summarize_trials(row.spec.objectives, having).winner
    if winner is not None:
        storage = storage_root(home, row.spec).resolve()
        folder = (storage / str(winner.model)).resolve()
        if (folder / MANIFEST).is_file():
            return folder, storage, _describe_trial(row, winner, home)
    raise file.written.error_at(key, "name a sweep that has kept a model", written, "sweep it first")


def _describe_trial(row: SweepRow, trial: TrialRow, home: Home) -> JsonObject:
    from infra.tracking.mapping import sweep_identity, trial_key
    from infra.tracking.sent_runs import run_ids

    key = trial_key(sweep_identity(row), trial.role, trial.family, trial.number)
    run = run_ids(home, row).get(key)
    known: JsonObject = {} if run is None else {"run_id": run}
    return {"sweep": row.label, "family": trial.family, "number": trial.number, "key": key, **known}
