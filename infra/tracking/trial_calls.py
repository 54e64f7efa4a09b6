"""MLflow's calls in the code of a trial: they go to the trial's own run.

`MLFLOW_RUN_ID` alone does not do: the run is known a moment later than the trial begins, and with it a script
that sets an experiment, or begins a second run, is refused. So within an attempt MLflow's client gives the
trial's run wherever a run would be made. Its name, its status and the sampled parameters are ours to write.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from threading import Lock, get_ident
from types import ModuleType
from typing import TYPE_CHECKING, Any

from infra.tracking.mapping import KEY, SWEEP
from infra.tracking.mlflow_environment import DEFAULTS
from trainers.code.mlflow_calls import folder_store, mlflow_environment, remember_mlflow, set_runs_aside

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Param, Run

_log = logging.getLogger(__name__)
_PARENT, _NOTE, _RUN_ID = "mlflow.parentRunId", "mlflow.note.content", "MLFLOW_RUN_ID"
_PICKLES = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"  # what people's code may load is theirs to say
# The sender's own impatience is not people's: their call is lost where it is not tried again.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCalls:
    """Where the calls of one trial go.

    Attributes:
        uri: of the sweep's tracking store.
        run_id: of the trial's run, where it is known already.
        find_run: gives it, when the code first needs it; None where tracking is away.
        parameters: names that the run has by itself, with the values that were sampled.
        spare: a folder that takes what is logged where there is no run.
        missing: what is then said.
    """

    uri: str
    run_id: str | None
    find_run: Callable[[], str | None]
    parameters: frozenset[str]
    spare: Path
    missing: str = "tracking is away: what this trial logs by MLflow is in {}"


@contextmanager
def route_trial_calls(calls: TrialCalls) -> Iterator[None]:
    """Within, code that calls MLflow writes to the trial's run, unless it names another store itself."""
    global _route
    quiet = {name: value for name, value in DEFAULTS.items() if name != _PICKLES}
    settings = {**quiet, **_PATIENCE, "MLFLOW_TRACKING_URI": calls.uri}
    with mlflow_environment(settings), set_runs_aside(), ExitStack() as undo:
        before, _route = _route, _Route(calls)
        if "mlflow" in sys.modules:
            _wrap_calls(sys.modules["mlflow"], undo)
        else:
            finder = _OnImport(undo)
            sys.meta_path.insert(0, finder)
            undo.callback(finder.remove)
        restore = remember_mlflow()
        try:
            yield
            if _route.was_asked:
                sys.modules["mlflow"].flush_async_logging()
        finally:
            restore()
            _route = before


class _Route:
    def __init__(self, calls: TrialCalls) -> None:
        self.calls, self._lock = calls, Lock()
        self.run_id = calls.run_id
        self.was_asked = self._gave_up = False
        self.finder: int | None = None  # the thread that looks for the run, perhaps by MLflow itself
        self._tell_children()

    def find_run(self) -> str | None:
        """The trial's run, asked for once; None where it was asked for in vain."""
        with self._lock:
            self.was_asked = True
            if self.run_id is None and not self._gave_up:
                self.finder = get_ident()
                try:
                    self.run_id = self.calls.find_run()
                finally:
                    self.finder = None
                self._gave_up = self.run_id is None
                self._tell_children()
                if self._gave_up:
                    os.environ.update(folder_store(self.calls.spare))
                    _log.warning("%s", self.calls.missing.format(self.calls.spare))
        return self.run_id

    def _tell_children(self) -> None:
        """Processes that the code starts are told by the environment."""
        if self.run_id is not None:
            os.environ[_RUN_ID] = self.run_id

    def has(self, run_id: str, parameter: str) -> bool:
        return run_id == self.run_id and parameter in self.calls.parameters


_route: _Route | None = None  # of the attempt under way; people's modules may hold our wrappers for longer


class _OnImport(MetaPathFinder):
    """Wraps the calls as soon as somebody imports MLflow, which takes seconds: most never do."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """MLflow's own, whose calls are wrapped as soon as it is imported; nobody else's."""
        if fullname != "mlflow":
            return None
        self.remove()
        found = importlib.util.find_spec(fullname)
        if found is not None and found.loader is not None:
            execute = found.loader.exec_module

            def execute_and_wrap(module: ModuleType) -> None:
                execute(module)
                _wrap_calls(module, self._undo)

            found.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]  # of this one import
        return found


def _wrap_calls(mlflow: Any, undo: ExitStack) -> None:
    fluent = sys.modules["mlflow.tracking.fluent"]
    for owner, name, wrapper in (
        (mlflow.MlflowClient, "create_run", _create_run),
        (mlflow.MlflowClient, "set_terminated", _set_terminated),
        (mlflow.MlflowClient, "log_param", _log_param),
        (mlflow.MlflowClient, "log_batch", _log_batch),
        (mlflow, "set_experiment", _set_experiment),
        (fluent, "set_experiment", _set_experiment),
        (mlflow, "start_run", _start_run),
        (fluent, "start_run", _start_run),
    ):
        original = getattr(owner, name)
        setattr(owner, name, _bind(original, wrapper))
        undo.callback(setattr, owner, name, original)


def _bind(original: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    return call


def _route_of(client: MlflowClient) -> _Route | None:
    """The route of calls to this client's store; None where code has named another one."""
    if _route is None or _route.finder == get_ident() or client.tracking_uri != _route.calls.uri:
        return None
    return _route


def _create_run(
    original: Callable[..., Run],
    client: MlflowClient,
    experiment_id: str,
    start_time: int | None = None,
    tags: Mapping[str, Any] | None = None,
    run_name: str | None = None,
) -> Run:
    route, tags = _route_of(client), dict(tags or {})
    if route is None:
        return original(client, experiment_id, start_time, tags, run_name)
    run_id = route.find_run()
    if run_id is None:
        return original(_client(), "0", start_time, tags, run_name)
    run = client.get_run(run_id)
    if _PARENT in tags:  # so that one that is left open when its process ends is found
        known = run.data.tags
        tags |= {SWEEP: known.get(SWEEP, ""), KEY: f"{known.get(KEY, '')}/own"}
        return original(client, run.info.experiment_id, start_time, tags, run_name)
    for name, value in tags.items():
        if not name.startswith("mlflow.") or name == _NOTE:
            client.set_tag(run_id, name, value)
    return client.get_run(run_id)


def _client() -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient()


def _set_terminated(
    original: Callable[..., None],
    client: MlflowClient,
    run_id: str,
    status: str | None = None,
    end_time: int | None = None,
) -> None:
    route = _route_of(client)
    if route is None or run_id != route.run_id:
        original(client, run_id, status, end_time)


def _log_param(
    original: Callable[..., Any],
    client: MlflowClient,
    run_id: str,
    key: str,
    value: Any,
    *more: Any,
    **named: Any,
) -> Any:
    route = _route_of(client)
    if route is not None and route.has(run_id, key):
        return value
    return original(client, run_id, key, value, *more, **named)


def _log_batch(
    original: Callable[..., Any],
    client: MlflowClient,
    run_id: str,
    metrics: Sequence[Any] = (),
    params: Sequence[Param] = (),
    *more: Any,
    **named: Any,
) -> Any:
    route = _route_of(client)
    if route is not None:
        params = [param for param in params if not route.has(run_id, param.key)]
    return original(client, run_id, metrics, params, *more, **named)


def _set_experiment(original: Callable[..., Experiment], *args: Any, **named: Any) -> Experiment:
    client = _client()
    route = _route_of(client)
    run_id = None if route is None else route.find_run()
    if run_id is None:
        return original(*args, **named)
    _log.info("mlflow.set_experiment is passed over: a trial's calls go to its own run")
    return client.get_experiment(client.get_run(run_id).info.experiment_id)


def _start_run(original: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Without the run's id in the environment, which MLflow would rename by `run_name`."""
    held = os.environ.pop(_RUN_ID, None) if _route is not None else None
    try:
        return original(*args, **named)
    finally:
        if held is not None:
            os.environ[_RUN_ID] = held
