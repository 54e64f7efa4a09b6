"""Trying a family or a training function in a test or a notebook: no Ray, no ledger, no tracking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, TypedDict

from trainers.code.exits import keep_process, refuse_exits
from trainers.code.mlflow_calls import discard_mlflow_calls
from trainers.commands.options import check_command, read_command
from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.family import Family
from trainers.functions.command import bind_command
from trainers.functions.isolation import isolate_process
from trainers.functions.job import FunctionJob
from trainers.functions.run import run_function
from trainers.functions.trial import Trial
from trainers.job import Job, Outcome, SilentHooks
from trainers.metric_names import DIRECTIONS, USUAL, direction_of, full_name
from trainers.registry import Reference, load_reference
from trainers.types import Goal, Json, Length, Params

if TYPE_CHECKING:
    pass

Show = Callable[[str], object]


class _PrintingHooks(SilentHooks):
    """Hooks that show every report and keep nothing."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        values = "  ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
        self._show(f"epoch {epoch}  {values}")
        return True


class _Common(TypedDict):
    """What a family's and a function's attempt are both given."""

    seed: int
    length: Length
    device: str
    goals: tuple[Goal, ...]


def try_out(
    reference: str | type[Family] | Family | Callable[[Trial], object] | Mapping[str, Json],
    params: Params | None = None,
    *,
    epochs: int = 1,
    data: Dataset | Mapping[str, Json] | str | None = None,
    options: Params | None = None,
    objective: str | None = None,
    direction: Literal["minimize", "maximize"] | None = None,
    seed: int = 0,
    device: str = "cpu",
    directory: Path | str | None = None,
    show: Show = print,
) -> Outcome:
    """Trains one configuration here and now.

    Args:
        reference: a training function, a Family class or instance, what a sweep file would name, or a
            mapping with `command` and `metrics` as it would have them, called in the current folder.
        params: hyper-parameters; a family has defaults for the rest, a function gets these alone.
        epochs: how many at most.
        data: a decoded data set, a source (`builtin:digits`) or the sweep file's `data` mapping.
        options: of a family that is not made yet.
        objective: what the best epoch is judged by; by default a family's task's usual metric, and for a
            function nothing (its last report is what comes back).
        direction: needed for a metric that Velodrome does not know.
        directory: for caches and for what a function writes; by default a folder that is gone afterwards.
        show: takes one line a report.

    Raises:
        InputError: the reference, parameters, options or data cannot be used.
        TrialError: the attempt cannot go on.
    """
    goals = _decide_goals(objective, direction) if isinstance(reference, Mapping) else ()
    if isinstance(reference, Mapping):
        found: Reference | Family | Callable[..., object] = _bind_command(reference, params or {}, goals)
    else:
        found = load_reference(reference) if isinstance(reference, str) else reference
    same: _Common = {"seed": seed, "length": Length(epochs=epochs), "device": device, "goals": ()}
    hooks = _PrintingHooks(show)
    with TemporaryDirectory() as made:
        folder = Path(directory).resolve() if directory is not None else Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        dataset = _open_data(data, folder)
        if isinstance(found, type) and issubclass(found, Family):
            with keep_process():
                found = found(options)
        if isinstance(found, Family):
            same["goals"] = _decide_goals(objective, direction, dataset)
            with discard_mlflow_calls(), keep_process(), isolate_process():
                return _train_family(found, params or {}, dataset, folder, hooks, same)
        same["goals"] = _decide_goals(objective, direction)
        job = FunctionJob(function=found, params=params or {}, directory=folder, data=dataset, **same)
        with discard_mlflow_calls(), refuse_exits():
            return run_function(job, hooks)


def _bind_command(
    options: Mapping[str, Json], params: Params, goals: tuple[Goal, ...]
) -> Callable[[Trial], None]:
    check_command(read_command(options), searched=tuple(params), conditional=())
    return bind_command(options, Path.cwd(), goals)


def _open_data(data: Dataset | Mapping[str, Json] | str | None, folder: Path) -> Dataset | None:
    if data is None or isinstance(data, Dataset):
        return data
    from trainers.data.sources.opening import open_dataset

    spec = {"source": data} if isinstance(data, str) else data
    return open_dataset(spec, base=Path.cwd(), cache=folder)


def _decide_goals(
    objective: str | None, direction: str | None, dataset: Dataset | None = None
) -> tuple[Goal, ...]:
    if objective is None:
        if dataset is None or dataset.task is None:
            return ()
        objective = USUAL[dataset.task]
    known = direction or direction_of(objective)
    if known is None:
        raise InputError(
            "an objective that Velodrome does not know must come with its direction",
            repr(objective),
            "add direction='minimize' or 'maximize'; without an objective a function's last report comes back"
            f"; known are {', '.join(DIRECTIONS)}",
        )
    return (Goal(metric=full_name(objective), maximize=known == "maximize"),)


def _train_family(
    family: Family,
    params: Params,
    dataset: Dataset | None,
    folder: Path,
    hooks: _PrintingHooks,
    same: _Common,
) -> Outcome:
    if dataset is None:
        raise InputError("a family must be given data", "none", "add data='builtin:digits', say")
    from trainers.bundle.teaching import encode_for_training
    from trainers.loop.training import train

    family.check(dataset)
    family.check_searched(dataset, {name: [value] for name, value in params.items()})
    complete = family.complete(params)
    arrays = encode_for_training(family, dataset, complete, folder)
    return train(Job(family=family, params=complete, **same), arrays, hooks)
