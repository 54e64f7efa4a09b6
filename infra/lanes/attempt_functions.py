"""What a lane needs of a family that is a function or a command."""

from __future__ import annotations

import filecmp
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeAlias

from infra.coordinator.messages import Assignment
from infra.coordinator.run_requests import RunAnswer, TrialKey
from infra.spec import FamilySpec
from infra.storage.kept_files import keep_files
from infra.storage.paths import FILES, KEPT
from infra.tracking.mapping import space_names
from infra.tracking.trial_calls import TrialCalls, route_trial_calls
from trainers.code.mlflow_calls import discard_mlflow_calls, folder_store, mlflow_environment
from trainers.functions.command import bind_command
from trainers.functions.isolation import isolate_process
from trainers.job import Outcome
from trainers.registry import COMMAND, is_function, load_reference
from trainers.types import Goal

RUN_LIMIT_S = 30.0  # the driver makes a run in a second or two, where tracking is there
_ASK_S = 0.2
_CODE = (".py", ".sh", ".yaml", ".yml", ".toml", ".cfg", ".ini")
_SPARE = "mlflow"  # in a trial's own folder
_SHARED = (
    "what code logs by MLflow that is run for all trials of a stack at once is in no run; `stack: off` in the"
    " family's place in the file trains them one by one"
)
MemberContext: TypeAlias = Callable[[], AbstractContextManager[None]]


class RunSource(Protocol):
    """Knows the trials' runs in MLflow."""

    def find_run(self, trial: TrialKey, wanted: bool) -> RunAnswer:
        """See `RunRequests.find`."""


def route_mlflow(
    runs: RunSource | None, spec: FamilySpec, assignment: Assignment, directory: Path
) -> AbstractContextManager[None]:
    """Within, what an attempt's code logs by MLflow goes to the trial's own run.

    A command is told of its run when it begins; that of people's own code is made when it first calls MLflow.

    Args:
        runs: None: it is thrown away.
        directory: the trial's own.
    """
    if _is_ours(spec):
        return nullcontext()
    calls = _find_calls(runs, spec, assignment, directory)
    return discard_mlflow_calls() if calls is None else route_trial_calls(calls)


def route_member_mlflow(
    runs: RunSource | None, spec: FamilySpec, assignment: Assignment, directory: Path
) -> MemberContext:
    """The same for a member of a stack, whose own code runs now and then, between what is for all of them.

    Returns:
        What makes the context, again and again; its run is asked for once.
    """
    calls = None if _is_ours(spec) else _find_calls(runs, spec, assignment, directory)
    return nullcontext if calls is None else partial(route_trial_calls, calls)


@contextmanager
def discard_shared_mlflow(spec: FamilySpec) -> Iterator[None]:
    """Within, what code logs by MLflow that is run for all members of a stack at once goes to no run: it is
    no member's. The first such call says so."""
    if _is_ours(spec):
        yield
        return
    with TemporaryDirectory(prefix="velodrome-mlflow-") as folder:
        nowhere = Path(folder) / "nowhere"
        calls = TrialCalls(
            uri=nowhere.as_uri(), run_id=None, find_run=lambda: None, parameters=frozenset(),
            spare=Path(folder) / _SPARE, missing=_SHARED,
        )  # fmt: skip
        with mlflow_environment(folder_store(nowhere)), route_trial_calls(calls):
            yield


def isolate_own_code(spec: FamilySpec) -> AbstractContextManager[None]:
    """Within, what a family of people's own changes of this process is given back at the end, as of a
    function."""
    return nullcontext() if _is_ours(spec) else isolate_process()


def _is_ours(spec: FamilySpec) -> bool:
    return ":" not in spec.reference


def _find_calls(
    runs: RunSource | None, spec: FamilySpec, assignment: Assignment, directory: Path
) -> TrialCalls | None:
    """Where the calls of a trial go; None where lanes have no tracking."""
    trial = (assignment.role, assignment.family, assignment.number)
    known = None if runs is None else runs.find_run(trial, False)
    if runs is None or known is None or not known.uri:
        return None
    if spec.reference == COMMAND:
        known = _await_run(runs, trial)
    return TrialCalls(
        uri=known.uri, run_id=known.run_id, find_run=cache(lambda: _await_run(runs, trial).run_id),
        parameters=frozenset(space_names(spec)), spare=directory / _SPARE,
    )  # fmt: skip


def _await_run(runs: RunSource, trial: TrialKey) -> RunAnswer:
    """The trial's run, waited for while tracking is there."""
    deadline = time.monotonic() + RUN_LIMIT_S
    while True:
        answer = runs.find_run(trial, True)
        if answer.run_id is not None or answer.away or time.monotonic() > deadline:
            return answer
        time.sleep(_ASK_S)


def load_function(spec: FamilySpec, goals: Iterable[Goal], roots: Sequence[str]) -> Callable[..., object]:
    """The function of a family, or the one that its command is.

    Args:
        roots: folders of people's own code; where it has travelled, the current folder is Ray's copy of it.
    """
    if spec.reference == COMMAND:
        return bind_command(spec.options, call_folder(roots), goals)
    function = load_reference(spec.reference)
    assert is_function(function)
    return function


def call_folder(roots: Sequence[str]) -> Path:
    """`find_call_folder` as it is here."""
    return find_call_folder(tuple(roots), travelled=_has_travelled())


@cache
def find_call_folder(roots: tuple[str, ...], *, travelled: bool) -> Path:
    """Where a command is called: in the folder that the sweep was started for, with all its data, where it is
    on this machine. Where its code has travelled, a folder of that path that holds other code, as an older
    checkout on another machine does, is passed over for Ray's copy, which is the current folder."""
    here = Path.cwd()
    found = (Path(root) for root in roots)
    fitting = (root for root in found if root.is_dir() and (not travelled or _has_code_of(root, here)))
    return next(fitting, here)


def _has_code_of(folder: Path, copy: Path) -> bool:
    """Whether each script and each configuration of a copy, which has them all, is the same in the folder."""
    return all(
        (folder / path.relative_to(copy)).is_file()
        and filecmp.cmp(path, folder / path.relative_to(copy), shallow=False)
        for path in copy.rglob("*")
        if path.suffix in _CODE and path.is_file()
    )


def _has_travelled() -> bool:
    """Whether this process was begun in Ray's copy of people's own code."""
    import ray

    return ray.is_initialized() and bool(ray.get_runtime_context().runtime_env.get("working_dir"))


def keep_own_files(spec: FamilySpec, outcome: Outcome, folder: Path) -> None:
    """What a function or a command keeps of its files, beside what a later attempt may write to.

    Args:
        folder: the trial's.
    """
    name = spec.options.get("keep", "") if spec.reference == COMMAND else outcome.keep
    keep_files(folder / FILES, folder / KEPT, name)
