"""MLflow's calls in people's own code: where they go, and what they leave behind in this process.

MLflow is only looked at where somebody has imported it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_FLUENT = "mlflow.tracking.fluent"
_SERVICE = "mlflow.tracking._tracking_service.utils"
_EXPERIMENT = "_active_experiment_id"  # of `set_experiment`, which cannot be undone by another call
_AUTOLOG = "mlflow.utils.autologging_utils"
# Whatever says to MLflow where a run is to be, beside `set_tracking_uri` and `set_experiment`.
_PLACES = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


@contextmanager
def discard_mlflow_calls() -> Iterator[None]:
    """What code within logs by MLflow goes to a store that is gone afterwards, unless it names one itself,
    or a run is active already, as in a notebook.

    A registry that the environment names is still the one that models are loaded from.
    """
    if active_run_id() is not None:
        yield
        return
    with TemporaryDirectory(prefix="velodrome-mlflow-") as folder:
        registry = os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI")
        with mlflow_environment(
            folder_store(Path(folder) / "store") | ({"MLFLOW_REGISTRY_URI": registry} if registry else {})
        ):
            yield


def folder_store(folder: Path) -> dict[str, str]:
    """The environment in which a folder that is not there yet is MLflow's store: made in no time, unlike a
    database, and with its artifacts inside."""
    quiet = os.environ.get("MLFLOW_LOGGING_LEVEL", "WARNING")
    return {
        "MLFLOW_TRACKING_URI": folder.absolute().as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_LOGGING_LEVEL": quiet,
    }


@contextmanager
def mlflow_environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Within, the environment says this of MLflow, and nothing else of where a run is to be."""
    names = {*_PLACES, *settings}
    before = {name: os.environ.get(name) for name in names}
    _set_environment(dict.fromkeys(names) | dict(settings))
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def import_without_runs() -> Iterator[None]:
    """For an import of people's code: a run or an experiment that its top begins is no trial's, and is gone
    afterwards. A store that it names stays named, and so does automatic logging."""
    run, experiment, uri = active_run_id(), _value(_FLUENT, _EXPERIMENT), _value(_SERVICE, "_tracking_uri")
    with discard_mlflow_calls():
        try:
            yield
        finally:
            _end_runs(run)
            if _value(_SERVICE, "_tracking_uri") == uri:
                _set_experiment(experiment)


@contextmanager
def set_runs_aside() -> Iterator[None]:
    """Within, no run is active in this thread; afterwards those are that were."""
    stack: Any = _value(_FLUENT, "_active_run_stack")
    held = [] if stack is None else list(stack.get())
    if held:
        stack.set([])
    try:
        yield
    finally:
        if held:
            stack.set(held)


def remember_mlflow() -> Callable[[], None]:
    """What puts MLflow back as it is now: active runs, experiment, store and automatic logging."""
    run, experiment, uri = active_run_id(), _value(_FLUENT, _EXPERIMENT), _value(_SERVICE, "_tracking_uri")
    logs = {name: dict(config) for name, config in _autologging().items()}

    def restore() -> None:
        _end_runs(run)
        if _value(_SERVICE, "_tracking_uri") != uri:
            sys.modules["mlflow"].set_tracking_uri(uri)
        _set_experiment(experiment)
        for name, config in _autologging().items():
            config.clear()
            config.update(logs.get(name, {}))

    return restore


def _end_runs(before: str | None) -> None:
    """Ends the runs that began within, down to the one that was active before."""
    while (active := active_run_id()) is not None and active != before:
        sys.modules["mlflow"].end_run()


def _set_experiment(experiment: str | None) -> None:
    if _value(_FLUENT, _EXPERIMENT) != experiment:
        setattr(sys.modules[_FLUENT], _EXPERIMENT, experiment)


def active_run_id() -> str | None:
    """MLflow's active run in this thread, where MLflow is there at all."""
    active: Callable[[], Any] | None = _value("mlflow", "active_run")
    run = active() if active is not None else None
    return None if run is None else str(run.info.run_id)


def _value(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def _autologging() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] | None = _value(_AUTOLOG, "AUTOLOGGING_INTEGRATIONS")
    return found or {}
