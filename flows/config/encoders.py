"""Models of before that a family begins with or learns from: `encoder`, `pretrained` and `teacher`."""

from __future__ import annotations

import os
import tempfile
import uuid
from contextlib import closing
from hashlib import sha256
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from flows.config.errors import Path
from flows.config.loading import SweepFile
from infra.errors import WrongInput
from infra.home import Home, storage_place, storage_root
from infra.mirror import fetch, publish
from trainers.errors import TrainerError
from trainers.storage.atomic_folders import MANIFEST, manifest_hash

if TYPE_CHECKING:
    from infra.ledger.rows import SweepRow, TrialRow
    from infra.serving.artifact import Artifact
    from infra.serving.model_reference import ModelReference
    from trainers.types import Document, JsonObject


PREFIX = "sweep:"
OPTIONS = ("encoder", "pretrained")


def resolve_beginning(file: SweepFile, options: JsonObject, path: Path) -> tuple[JsonObject, JsonObject]:
    """The options with the best model's place, and its hash, where they name a sweep; and which trial's it
    is: `sweep`, `family`, `number`, `key` and, where it is known, `run_id` in MLflow.
    """
    begins_with: JsonObject = {}
    teacher = _teacher_entry(options)
    if teacher is not None:
        options = {**options, "teacher": _resolve_teacher(file, teacher, path)}
    for name in OPTIONS:
        written = options.get(name)
        if isinstance(written, str) and written.startswith(PREFIX):
            key, place = (*path, "options", name), Home.from_environment()
            found, storage, begins_with = _best_model(file, written, key, place)
            options = {**options, **_named_model(file, name, found, storage, key)}
    return options, begins_with


def _resolve_teacher(file: SweepFile, teacher: Document, path: Path) -> JsonObject:
    """The option with the place of the model's bundle, what it must hash to, and which version it is."""
    key, place, written = (*path, "options", "teacher", "model"), Home.from_environment(), teacher["model"]
    if not written.startswith(PREFIX):
        return {**teacher, **_resolve_registered(file, written, key, place)}
    folder, _, trial = _best_model(file, written, key, place)
    version = f"{trial['sweep']}/{trial['family']}-{trial['number']}"
    return {**teacher, "model": str(folder), "sha256": manifest_hash(folder), "version": version}


def _named_model(file: SweepFile, name: str, folder: FilePath, storage: FilePath, key: Path) -> JsonObject:
    if name == "encoder":
        from trainers.storage.atomic_folders import manifest_hash

        return {"encoder": str(folder), "encoder_sha256": manifest_hash(folder)}
    from trainers.bundle.pretraining import pretrained_options

    try:
        found = pretrained_options(folder, storage / "pretrained")
    except TrainerError as error:
        must = f"name a sweep whose model can be begun with: {error.must}"
        raise file.written.error_at(key, must, error.found, error.do) from error
    publish(storage / "pretrained")
    return found


def _best_model(
    file: SweepFile, written: str, key: Path, home: Home
) -> tuple[FilePath, FilePath, JsonObject]:
    """The folder of the best model that the sweep has kept, of whichever family; its storage, its trial."""
    from flows.config.lookup import open_sweep
    from infra.ledger import views
    from infra.ledger.summary import summarize_trials

    try:
        ledger, row = open_sweep(written.removeprefix(PREFIX), home)
    except WrongInput as error:
        raise file.written.error_at(key, f"name a sweep here: {error.must}", error.found, error.do) from error
    with closing(ledger):
        trials = views.trials(ledger, row.id, role="search")
    having = [t for t in trials if t.state == "complete" and t.model is not None and not t.compression]
    winner = summarize_trials(row.spec.objectives, having).winner
    if winner is not None:
        storage = storage_root(home, row.spec).resolve()
        folder = (storage / str(winner.model)).resolve()
        fetch(folder, exact=True)
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


def _resolve_registered(file: SweepFile, written: str, key: Path, home: Home) -> JsonObject:
    """`model`, `sha256` and `version` of a registered model, whose bundle is kept in the storage."""
    from infra.serving.model_reference import parse_reference

    try:
        reference = parse_reference(written)
        if not reference.name:
            raise WrongInput("a registered model must be named", written)
        artifact = _fetch(reference, home)
    except WrongInput as error:
        do = error.do or "write models:/NAME@champion, NAME/3 or sweep:NAME"
        raise file.written.error_at(key, f"be a model here: {error.must}", error.found, do) from error
    if not artifact.bundle:
        do = "name a model that Velodrome promoted"
        raise file.written.error_at(key, "be a model of a family", f"{artifact.key}, another tool's", do)

    folder = _keep_files(artifact, storage_place(home, file.sweep.storage) / "teachers")
    publish(folder)
    return {"model": str(folder), "sha256": manifest_hash(folder), "version": artifact.key}


def _fetch(reference: ModelReference, home: Home) -> Artifact:
    from infra.registry.store import Registry, registry_uri
    from infra.serving.model_reference import find_version
    from infra.serving.registry_source import RegistrySource
    from infra.tracking.client import is_unused

    uri = registry_uri(home)
    if is_unused(uri):
        raise WrongInput("a version must be registered", "nothing was ever promoted in this home")
    registry = Registry.open(uri, home)
    found = find_version(registry, reference)
    if found is None:
        raise WrongInput("a version must be registered, and an alias point at one", f"no {reference.text}")
    with tempfile.TemporaryDirectory(prefix="velodrome-teacher-") as folder:
        return RegistrySource(registry).fetch(found.label, FilePath(folder))


def _keep_files(artifact: Artifact, place: FilePath) -> FilePath:
    """The bundle's folder, named by its content: whole or not there, and there once."""
    folder = (place / sha256(artifact.files[MANIFEST]).hexdigest()[:32]).resolve()
    if folder.is_dir():
        return folder
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    for name, content in artifact.files.items():
        file = aside / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    try:
        os.rename(aside, folder)
    except OSError:  # another command was faster
        if not folder.is_dir():
            raise
    return folder


def _teacher_entry(options: Document) -> Document | None:
    """The option as written, where it is one that says its model."""
    found = options.get("teacher")
    return found if isinstance(found, dict) and isinstance(found.get("model"), str) else None
