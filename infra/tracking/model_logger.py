"""Kept models as MLflow's logged models: bundles of safetensors and JSON, loaded by `velodrome.model` alone.

A model is logged when its sweep has ended, so that a best that is beaten later is not logged again and again.
`create_logged_model` is not idempotent: a model is looked for by its key first.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import Unavailable
from infra.ledger.ranking import rank_trials
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.summary import summarize_trials
from infra.mirror import fetch
from infra.tracking.client import MissingEntity, RequestRejected
from infra.tracking.description import model_note
from infra.tracking.mapping import KEY, SWEEP, Point, clean_name, run_name, trial_key, truncate_text
from infra.tracking.outbox import SentState
from infra.tracking.run_index import RunIndex
from infra.tracking.run_notes import write_note
from infra.wheel import build_wheel, pin_distributions, pin_requirements, read_project
from trainers.bundle.bundle import infer_signature, load_bundle, read_description
from trainers.bundle.requirements import library_distributions, required_distributions
from trainers.bundle.signature import ColumnType, Signature
from trainers.errors import InputError, TrainerError
from trainers.storage.atomic_folders import MANIFEST, folder_key, manifest_hash

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec

    from trainers.bundle.contents import BundleDocument

log = logging.getLogger("velodrome.tracking")

LOADER = "velodrome.model"
WHEELS = "wheels"

PointsOf = Callable[[TrialRow], Sequence[Point]]


def select_kept_models(sweep: SweepRow, trials: Iterable[TrialRow]) -> list[TrialRow]:
    """The trials whose models are logged: the best of each family, or all that `keep.models` left."""
    having = [t for t in trials if t.role == "search" and t.state == "complete" and t.model is not None]
    if sweep.spec.keep_models != "best":
        return having
    return list(summarize_trials(sweep.spec.objectives, having).best.values())


class ModelLogger:
    """Logs the models of one sweep."""

    def __init__(self, runs: RunIndex, sweep: SweepRow, storage: Path, points_of: PointsOf) -> None:
        """Prepares; nothing is sent yet.

        Args:
            runs: where the trials' runs are.
            sweep: whose models.
            storage: the root that a trial's `model` is relative to.
            points_of: a trial's numbers at its kept epoch, which are linked to its model.
        """
        self._runs, self._sweep, self._points_of = runs, sweep, points_of
        self._storage = storage.resolve()

    def log_models(self, trials: Iterable[TrialRow]) -> None:
        """Logs what is kept and not logged yet, and says on its run what it is."""
        known = list(trials)
        searched = [trial for trial in known if trial.role == "search" and trial.state == "complete"]
        ranked = rank_trials(searched, self._sweep.spec.objectives)
        for trial in select_kept_models(self._sweep, known):
            folder = self._model_folder(trial)
            if folder is not None:
                self._log_if_missing(trial, folder, ranked)

    def ensure_logged(self, trial: TrialRow) -> LoggedModel:
        """The logged model of a trial, logged now where it was not before.

        Raises:
            TrackingUnavailable: tracking did not take it.
            Unavailable: the trial has no model where the ledger says, or it cannot be logged.
        """
        folder = self._model_folder(trial)
        if folder is None:
            raise Unavailable(
                "a trial's model must be where the ledger says", f"{run_name(trial)} has none in the storage"
            )
        manifest = manifest_hash(folder)
        key = model_key(self._runs.identity, trial, manifest)
        run_id = self._runs.sent_state(trial_key(self._runs.identity, *trial.key)).run_id
        try:
            if run_id is None:
                raise MissingEntity(f"{run_name(trial)} has no run in MLflow")
            self._log_model(trial, folder, run_id, key, manifest)
        except InputError:  # people's own code is not to be found: MLflow has nothing to do with it
            raise
        except (MissingEntity, RequestRejected, TrainerError) as error:
            raise Unavailable("a trial's model must be logged in MLflow", str(error)) from error
        self._runs.put(key, SentState(status="READY"))
        logged = self._find_model(key)
        assert logged is not None
        return logged

    def _model_folder(self, trial: TrialRow) -> Path | None:
        folder = (self._storage / str(trial.model)).resolve()
        fetch(folder, exact=True)
        if folder.is_relative_to(self._storage) and (folder / MANIFEST).is_file():
            return folder
        log.warning("the model of %s is not where the ledger says, and is not logged", run_name(trial))
        return None

    def _log_if_missing(self, trial: TrialRow, folder: Path, ranked: Sequence[TrialRow]) -> None:
        manifest = manifest_hash(folder)
        key = model_key(self._runs.identity, trial, manifest)
        run_id = self._runs.sent_state(trial_key(self._runs.identity, *trial.key)).run_id
        if run_id is None or self._runs.sent_state(key).status:
            return
        try:
            model_id = self._log_model(trial, folder, run_id, key, manifest)
            note = model_note(self._sweep, trial, ranked, model_id)
            write_note(self._runs.tracking, run_id, note)
        except (MissingEntity, RequestRejected, TrainerError, Unavailable) as error:
            log.warning("the model of %s is not logged: %s", run_name(trial), error)
            self._runs.put(key, SentState(status="refused"))
            return
        self._runs.put(key, SentState(status="READY"))

    def _log_model(self, trial: TrialRow, folder: Path, run_id: str, key: str, manifest: str) -> str:
        model = self._find_model(key) or self._create_model(trial, run_id, key, manifest)
        if str(model.status) == "READY":
            return str(model.model_id)
        try:
            with tempfile.TemporaryDirectory(prefix="velodrome-model-") as aside:
                path = Path(aside) / "model"
                write_mlflow_model(path, folder, self._sweep, model=model, run_id=run_id)
                self._runs.tracking.call("log_model_artifacts", model.model_id, str(path))
        except (TrainerError, Unavailable):
            self._runs.tracking.call("finalize_logged_model", model.model_id, "FAILED")
            raise
        self._link_run(trial, run_id, model.model_id)
        self._runs.tracking.call("finalize_logged_model", model.model_id, "READY")
        return str(model.model_id)

    def _find_model(self, key: str) -> LoggedModel | None:
        query = f"tags.`{KEY}` = '{key}'"
        found: Sequence[LoggedModel] = self._runs.tracking.call(
            "search_logged_models", [self._runs.experiment_id], filter_string=query, max_results=1
        )
        return found[0] if found else None

    def _create_model(self, trial: TrialRow, run_id: str, key: str, manifest: str) -> LoggedModel:
        made: LoggedModel = self._runs.tracking.call(
            "create_logged_model",
            self._runs.experiment_id,
            name=re.sub(r"[^\w-]", "_", run_name(trial)),
            source_run_id=run_id,
            tags={
                KEY: key,
                SWEEP: self._runs.identity,
                "velodrome.sweep": self._sweep.label,
                "velodrome.family": trial.family,
                "velodrome.trial": str(trial.number),
                "velodrome.manifest_sha256": manifest,
                "velodrome.fingerprint": self._sweep.fingerprint,
            },
            params={clean_name(name): truncate_text(str(value), 500) for name, value in trial.params.items()},
            model_type=trial.family,
        )
        return made

    def _link_run(self, trial: TrialRow, run_id: str, model_id: str) -> None:
        """Shows the model on its run, with the numbers of the kept epoch."""
        from mlflow.entities import LoggedModelOutput, Metric

        run = self._runs.tracking.call("get_run", run_id)
        # A second `log_outputs` of one model is an error in MLflow, unlike a second `log_inputs`.
        if all(known.model_id != model_id for known in run.outputs.model_outputs):
            output = LoggedModelOutput(model_id, step=trial.epoch)
            self._runs.tracking.call("log_outputs", run_id, models=[output])
        points = [Metric(*point, model_id=model_id, run_id=run_id) for point in self._points_of(trial)]
        self._runs.tracking.call("log_batch", run_id, metrics=points)


def model_key(identity: str, trial: TrialRow, manifest: str) -> str:
    """What identifies a logged model: its trial and its content."""
    return model_key_by_name(identity, trial.family, trial.number, manifest, role=trial.role)


def model_key_by_name(identity: str, family: str, number: int, manifest: str, *, role: str = "search") -> str:
    """The same, by the trial's name."""
    return f"{trial_key(identity, role, family, number)}/model/{manifest[:16]}"


def write_mlflow_model(
    path: Path, bundle: Path, sweep: SweepRow, *, model: LoggedModel | None = None, run_id: str | None = None
) -> None:
    """Writes MLflow's folder of a bundle, with the wheel that loads it.

    The requirement `file:wheels/….whl#sha256=…` is relative to the folder that pip runs in, as MLflow runs it
    inside the model's folder; pip checks the hash, and asks for none on the other lines (which `--hash` would
    make it do). uv does not read that form: it installs `./wheels/….whl` itself.

    Args:
        path: must not exist.
        bundle: a bundle's folder.
        sweep: names people's own package (`code.package`), where there is one.
        model: MLflow's logged model that the folder is to belong to.
    """
    # MLflow warns of type hints of its own while it is imported.
    warnings.filterwarnings("ignore", message=".*inferred as AnyType", category=UserWarning)
    import mlflow.pyfunc

    known = read_description(bundle)
    signature = known.signature or infer_signature(
        load_bundle(bundle)
    )  # imports torch, and people's own code
    wheel = build_wheel(path.parent / WHEELS, lean=True)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    mlflow.pyfunc.save_model(
        path=str(path),
        loader_module=LOADER,
        data_path=str(bundle),
        mlflow_model=_belonging_to(model, run_id),
        signature=_mlflow_signature(signature),
        input_example=None if known.example.empty else known.example,
        pip_requirements=[
            f"file:{WHEELS}/{wheel.name}#sha256={digest}",
            *_pip_requirements(sweep, bundle, known.document),
        ],
        metadata={"velodrome": {"sweep": sweep.label, "wheel_sha256": digest}},
    )
    shutil.copytree(wheel.parent, path / WHEELS)


def _belonging_to(model: LoggedModel | None, run_id: str | None) -> Model:
    from mlflow.models import Model

    if model is None:
        return Model()
    return Model(
        artifact_path=model.artifact_location,
        run_id=run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
    )


def _pip_requirements(sweep: SweepRow, bundle: Path, document: BundleDocument) -> list[str]:
    """What the model needs to answer; for people's own code all that Velodrome needs, and their package."""
    own = sweep.spec.code.get("package")
    needed = required_distributions(document)
    if needed is None:
        pinned = sorted(
            {*pin_requirements(read_project()), *pin_distributions(library_distributions(document))}
        )
    else:
        opened_by = () if folder_key(bundle) is None else ("cryptography",)
        pinned = pin_distributions({*needed, *opened_by, "mlflow"})
    return [*pinned, *([str(own)] if own else [])]


def _mlflow_signature(plain: Signature) -> ModelSignature | None:
    if not plain.inputs:
        return None
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    # MLflow refuses whole numbers for a `double`, numbers for a `string`, and a number as a text or beside an
    # empty cell: the model's own reading of cells, which all other ways in go through, would not be asked.
    inputs = Schema([_column_spec(column.name, "any") for column in plain.inputs])
    outputs = Schema([_column_spec(column.name, column.type) for column in plain.outputs])
    return ModelSignature(inputs=inputs, outputs=outputs)


def _column_spec(name: str, kind: ColumnType) -> ColSpec:
    from mlflow.types import ColSpec
    from mlflow.types.schema import AnyType

    return ColSpec(AnyType() if kind == "any" else kind, name)  # type: ignore[no-untyped-call]  # MLflow's
