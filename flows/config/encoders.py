"""Models of earlier sweeps that a family starts from: `options: {encoder: sweep:NAME}`."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from flows.config.errors import Path
from flows.config.loading import SweepFile
from infra.errors import WrongInput
from infra.home import Home

if TYPE_CHECKING:
    from trainers.types import JsonObject


PREFIX = "sweep:"


def resolve_encoder(file: SweepFile, options: JsonObject, path: Path, home: Home | None = None) -> JsonObject:
    """The options with the best model's folder, and its hash, where they name a sweep; else as they are.

    Raises:
        WrongInput: no such sweep, or it has kept no model.
    """
    written = options.get("encoder")
    if not isinstance(written, str) or not written.startswith(PREFIX):
        return options
    key = (*path, "options", "encoder")
    try:
        folder = _best_model(written.removeprefix(PREFIX), home or Home.from_environment())
    except WrongInput as error:
        raise file.written.error_at(key, f"name a sweep here: {error.must}", error.found, error.do) from error
    if folder is None:
        raise file.written.error_at(key, "name a sweep that has kept a model", written, "sweep it first")
    from trainers.storage.atomic_folders import manifest_hash

    return {**options, "encoder": str(folder), "encoder_sha256": manifest_hash(folder)}


def _best_model(name: str, home: Home) -> FilePath | None:
    """The folder of the best model that the sweep has kept, of whichever family."""
    from flows.config.lookup import open_sweep
    from infra.home import storage_root
    from infra.ledger import views
    from infra.tracking.summary import summarize_trials
    from trainers.storage.atomic_folders import MANIFEST

    ledger, row = open_sweep(name, home)
    try:
        trials = views.trials(ledger, row.id, role="search")
    finally:
        ledger.close()
    having = [trial for trial in trials if trial.state == "complete" and trial.model is not None]
    winner = summarize_trials(row.spec.objectives, having).winner
    if winner is None:
        return None
    folder = (storage_root(home, row.spec) / str(winner.model)).resolve()
    return folder if (folder / MANIFEST).is_file() else None
