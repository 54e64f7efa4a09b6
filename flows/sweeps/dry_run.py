"""A few real steps of a family on its real data: proof that it can train, and at what pace."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from flows.config.commands import warn_of_false_flags
from flows.sweeps.preparation import PreparedSweep
from flows.terminal.stack_words import ONE_BY_ONE, describe_width
from infra.errors import WrongInput, join_errors
from infra.home import Home
from infra.search.blocks import find_block
from infra.search.pruners import pruner_options
from infra.spec import FamilySpec, derive_seed
from search_spaces.space import Space
from trainers.code.carried import is_carried
from trainers.code.exits import keep_process
from trainers.code.mlflow_calls import discard_mlflow_calls
from trainers.data.dataset import Dataset, EncodedDataset
from trainers.errors import InputError, NotFinite, TrialError, describe_error
from trainers.family import Family
from trainers.functions.reports import BY_GROUPS
from trainers.functions.separate_process import FunctionRequest, run_apart, run_here
from trainers.job import Job, SilentHooks
from trainers.metric_names import group_metric
from trainers.registry import COMMAND, is_function, load_reference
from trainers.stacking.structure import searched_structure, why_not
from trainers.types import Goal, Length, Params

STEPS = 12  # the first are slow: memory is had, kernels are chosen
_ANSWERS_RAW = (
    "its model has no predict: it answers rows of numbers by the module's own outputs, and none can be added"
    " to a trial that has ended (trial.model(…, predict=…))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What they told.

    Attributes:
        trial_seconds: of a whole trial; of one in a stack its share.
        stack: whether trials are trained one by one or as stacks, in words.
        warning: something that need not stop the sweep; may be empty.
    """

    trial_seconds: float
    parameters: int | None = None
    size_bytes: int | None = None
    stack: str = ""
    warning: str = ""


@dataclass(slots=True)
class _Stopwatch(SilentHooks):
    """Hooks that note when steps were made, and leave nothing behind."""

    began_at: float
    steps_at: list[list[float]] = field(default_factory=lambda: [[]])  # of each report's window
    reported_at: list[float] = field(default_factory=list)

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.reported_at.append(time.monotonic())
        self.steps_at.append([])
        return True

    def alive(self, step: int) -> None:
        self.steps_at[-1].append(time.monotonic())

    def paces(self) -> list[float]:
        """Seconds of each step, in order; evaluations say that they are alive too, after the steps."""
        begins = [self.began_at, *self.reported_at]
        windows = [[at, *ticks[:STEPS]] for at, ticks in zip(begins, self.steps_at, strict=True)]
        return [after - before for window in windows for before, after in pairwise(window)]

    def evaluation_s(self) -> float:
        """Seconds of the last evaluation: the first one imports what it needs."""
        if not self.reported_at:
            return 0.0
        return max(0.0, self.reported_at[-1] - self.steps_at[len(self.reported_at) - 1][:STEPS][-1])


def dry_run_families(prepared: PreparedSweep, home: Home) -> dict[str, DryRun]:
    """The dry runs of all families of a sweep, by their names."""
    found: dict[str, DryRun] = {}
    wrong: list[WrongInput] = []
    for family in prepared.spec.families:
        try:
            found[family.name] = dry_run(prepared, family, home)
        except WrongInput as error:
            wrong.append(error)
    if wrong:
        raise join_errors(wrong) from wrong[0]
    return found


def dry_run(prepared: PreparedSweep, family: FamilySpec, home: Home) -> DryRun:
    """Trains a family for a few steps, evaluates it once, and says what a whole trial would take."""
    code = load_reference(family.reference)
    try:
        if is_function(code):
            return _dry_run_function(prepared, family)
        with keep_process():
            return _dry_run_family(prepared, family, code(family.options), home)
    except NotFinite as error:
        return DryRun(
            trial_seconds=0.0, warning=f"its defaults give {error.found or 'numbers that are not finite'}"
        )
    except InputError as error:
        raise prepared.file.locate_error(error, ("families", family.written_as)) from error
    except TrialError as error:
        raise _training_error(prepared, family, f"{error.reason}: {error}") from error
    except Exception as error:  # people's code may raise anything: theirs to correct, before a sweep does
        raise _training_error(prepared, family, describe_error(error)) from error


def _training_error(prepared: PreparedSweep, family: FamilySpec, found: str) -> WrongInput:
    return prepared.file.written.error_at(
        ("families", family.written_as),
        "train on one batch",
        " ".join(found.split())[:500],
        "velodrome.try_out(…) runs it in a shell, with the traceback",
    )


def _dry_run_family(prepared: PreparedSweep, family: FamilySpec, made: Family, home: Home) -> DryRun:
    from trainers.bundle.teaching import encode_for_training
    from trainers.loop.training import train

    middle = _middle_params(family)
    made = made.of_trial(middle)
    params = made.complete(middle)
    arrays = encode_for_training(made, prepared.dataset, params, home.cache)  # type: ignore[arg-type]
    job = Job(
        family=made,
        params=params,
        seed=derive_seed(prepared.spec.seed, family.name, "plan"),
        length=Length(steps=2 * STEPS, report_every=STEPS),
        goals=_goals(prepared),
        device=_device(family),
        threads=max(1, int(family.resources.cpus)),
        per_second=prepared.spec.costs_per_second(family.resources),
    )
    watch = _Stopwatch(began_at=time.monotonic())
    with discard_mlflow_calls():
        outcome = train(job, arrays, watch)
    parameters = outcome.facts.get("parameters")
    size = outcome.facts.get("size_bytes")
    seconds = _trial_seconds(family, {**made.fixed, **params}, len(arrays.splits["train"]), watch)
    gain, stack = _plan_stack(family, job, arrays, home)
    return DryRun(
        trial_seconds=seconds / gain,
        stack=stack,
        parameters=int(parameters) if parameters is not None else None,
        size_bytes=int(size) if size is not None else None,
    )


def _plan_stack(family: FamilySpec, job: Job, arrays: EncodedDataset, home: Home) -> tuple[float, str]:
    """How many times faster its stacks are, and how its trials are trained, in words."""
    from infra.lanes.stack_widths import choose_width, count_steps, measure_widths

    alone = why_not(job.family, job.params) or ("several workers" if family.resources.workers > 1 else None)
    if alone is None and pruner_options(family.pruner).awaits_ends:
        alone = f"what the pruner {family.pruner['name']} decides depends on how many there are"
    if family.stack in (None, "off"):
        searched = searched_structure(family.space)
        if alone is None and searched:
            alone = f"{', '.join(searched)} make many structures; search.stack: 16 stacks trials of one"
        return 1.0, f"{ONE_BY_ONE}: {alone or 'search.stack is off'}"
    most = find_block(family.stack, family.trials - 1).size
    whole = replace(job, length=Length(epochs=family.budget.epochs, steps=family.budget.steps))
    steps = family.trials * count_steps(whole, arrays)
    seconds = measure_widths(job, arrays, home.cache, steps=steps, most=most)
    if isinstance(family.stack, int):
        nearest = max((width for width in seconds if width <= family.stack), default=None)
        gain = seconds[1] / seconds[nearest] if nearest else None
        return gain or 1.0, describe_width(family.stack, gain)
    width, gain, reason = choose_width(seconds)
    return gain, describe_width(width, gain) + (f": {reason}" if reason else "")


def _dry_run_function(prepared: PreparedSweep, family: FamilySpec) -> DryRun:
    dataset = prepared.dataset
    request = FunctionRequest(
        reference=family.reference,
        options=family.options,
        root=str(prepared.own_code or prepared.base),
        params=_middle_params(family),
        seed=derive_seed(prepared.spec.seed, family.name, "plan"),
        goals=_goals(prepared),
        device=_device(family),
        workers=family.resources.workers,
        threads=max(1, int(family.resources.cpus)),
        per_second=prepared.spec.costs_per_second(family.resources),
        data=None if dataset is None else prepared.file.data,
        recorded="" if dataset is None else dataset.fingerprint,
        base=str(prepared.base),
        cache=str(prepared.cache),
    )
    is_command, before = family.reference == COMMAND, _files_in(request.root)
    told = run_here(request) if is_carried(family.reference) else run_apart(request)
    warnings = [
        _warn_of_shared(_files_in(request.root) - before) if is_command else "",
        warn_of_false_flags(family) if is_command else "",
        "" if dataset is None or told.by_group else _warn_of_groups(dataset, family.reference),
        _ANSWERS_RAW if told.answers_raw else "",
    ]
    return DryRun(
        trial_seconds=told.seconds / 2 * family.budget.reports,
        stack=f"{ONE_BY_ONE}: a {'command' if is_command else 'function'} is called once a trial",
        parameters=told.parameters,
        size_bytes=told.size_bytes,
        warning="; ".join(filter(None, warnings)),
    )


def _files_in(folder: str) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")}


def _warn_of_shared(made: set[str]) -> str:
    """What a command writes into the folder that it is called in, one trial overwrites of another."""
    if not made:
        return ""
    names = ", ".join(sorted(made)[:3]) + (", …" if len(made) > 3 else "")
    return f"it wrote {names} where it is called, which all trials share: have it write below ${{directory}}"


def _warn_of_groups(dataset: Dataset, reference: str) -> str:
    """Own code that says nothing of the groups by which its models are to be judged."""
    if not dataset.groups:
        return ""
    names = ", ".join(dataset.groups)
    group = group_metric("accuracy" if dataset.task == "classification" else "mae", *_first_group(dataset))
    do = f"print {group} among its metrics" if reference == COMMAND else BY_GROUPS
    return f"it reports nothing by {names}, so that compare and report have no groups: {do}"


def _first_group(dataset: Dataset) -> tuple[str, str]:
    column, groups = next(iter(dataset.groups.items()))
    return column, groups.names[0]


def _middle_params(family: FamilySpec) -> Params:
    """A configuration that a trial may have: the middle of the space."""
    space = Space.from_json(family.space)
    if family.start_with:
        return {**space.constants, **family.start_with[0]}
    return space.middle()


def _goals(prepared: PreparedSweep) -> tuple[Goal, ...]:
    return tuple(
        Goal(metric=goal.metric, maximize=goal.direction == "maximize") for goal in prepared.spec.objectives
    )


def _device(family: FamilySpec) -> str:
    import torch

    return "cuda" if family.resources.gpus != 0 and torch.cuda.is_available() else "cpu"


def _trial_seconds(family: FamilySpec, params: Params, rows: int, watch: _Stopwatch) -> float:
    """Steps of a whole trial at the median pace of those tried, and an evaluation for each report."""
    paces = watch.paces()
    step_s = statistics.median(paces[2:] or paces) if paces else 0.0
    batch = params.get("batch_size", 1)
    batches = 1 if batch == "all" else math.ceil(rows / max(1, int(batch) * family.resources.workers))
    a_epoch = math.ceil(batches / max(1, int(params.get("accumulate", 1))))
    budget = family.budget
    steps = budget.steps if budget.steps is not None else a_epoch * (budget.epochs or 0)
    seconds = steps * step_s + budget.reports * watch.evaluation_s()
    return seconds if budget.trial_minutes is None else min(seconds, budget.trial_minutes * 60.0)
