"""`velodrome plan`: tries all that can fail before anything is spent, and says what the sweep will need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from flows.config.lookup import open_ledger
from flows.config.writing.sweep_text import profile_lines
from flows.sweeps.dry_run import DryRun, dry_run_families
from flows.sweeps.new import find_sweep
from flows.sweeps.planned_lanes import PlannedLanes, place_lanes
from flows.sweeps.preparation import PreparedSweep, SweepSource, prepare_sweep
from flows.terminal.shown_result import ShownResult
from infra.errors import VelodromeError
from infra.home import Home, storage_root, tracking_uri
from infra.ledger import views
from infra.mirror import check_writable
from infra.search.samplers import count_configurations
from infra.secrets import redact
from infra.spec import FamilySpec, SweepSpec
from trainers.types import Document

GROWS = (
    "the cluster grows by demand: lanes and time are those of the nodes that are there now; what lanes wait"
    " for is asked for as the sweep runs"
)
CHECKPOINT_SIZES = 3  # Adam keeps two numbers for each weight


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyPlan:
    """What one family will take.

    Attributes:
        trial_seconds: of a trial that nothing stops early, at the pace of the batches that were tried.
        lane: what one lane of it holds, in words.
        stack: whether its trials are trained one by one or as stacks, and why.
        gpu_lanes: with `gpus: auto` on GPUs, how many lanes share one at first, and why; else empty.
    """

    family: str
    trials: int
    epochs: int
    lane: str
    trial_seconds: float
    parameters: int | None
    size_bytes: int | None
    stack: str = ""
    gpu_lanes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(ShownResult):
    """A sweep that can be run, and what it takes.

    Attributes:
        lanes: trials at once on the cluster as it is; `gpus_used` of `gpus`.
        seconds: for all of it if nothing is stopped early; None where it cannot be told.
        disk_bytes: for kept models and checkpoints.
        done: trials that the ledger has already.
        data: what was seen of the data, a line each.
        warnings: what is worth a thought before it runs.
    """

    screen: ClassVar[str] = "flows.sweeps.screens:print_plan"

    sweep: str
    objectives: tuple[dict[str, str], ...]
    families: tuple[FamilyPlan, ...]
    trials: int
    done: int
    lanes: int
    cpus: float
    gpus: float
    gpus_used: float
    seconds: float | None
    disk_bytes: int
    data: tuple[str, ...]
    warnings: tuple[str, ...]


def plan(
    file: SweepSource | Callable[..., object],
    *,
    space: Mapping[str, Any] | None = None,
    objective: str | None = None,
    direction: Literal["minimize", "maximize"] | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    name: str | None = None,
    overrides: Sequence[str] = (),
    address: str | None = None,
    home: Home | None = None,
) -> Plan:
    """Checks a sweep file, its data, families (by some real steps), the cluster, the ledger and tracking.

    Args:
        file: the sweep file, or as `sweep` takes it, with what a function needs beside it.
        overrides: `search.pruner=none` and the like, over the file's keys.
        address: an existing Ray cluster; without it what a local one would have.

    Raises:
        WrongInput: with file, line and key.
        ClusterUnavailable: it cannot be reached, cannot place a lane, or has nodes that do not reach what the
            sweep shares.
        LedgerUnavailable: the ledger cannot be read.
        StorageUnavailable: the bucket of its storage takes nothing.
    """
    place = home or Home.from_environment()
    source = find_sweep(
        file, space=space, objective=objective, direction=direction, trials=trials, epochs=epochs, name=name
    )
    prepared = prepare_sweep(source, overrides, place)
    warnings = [*_ledger_warnings(prepared, place), *_grid_warnings(prepared.spec)]
    ended, facts = _find_known(prepared.spec, place)
    check_writable(storage_root(place, prepared.spec))
    undone = {family.name: max(0, family.trials - ended[family.name]) for family in prepared.spec.families}
    lanes = place_lanes(prepared.spec, address, place, facts, undone)
    warnings += [GROWS] if lanes.grows else []
    probes = dry_run_families(prepared, place)
    warnings += [f"{name}: {found.warning}" for name, found in probes.items() if found.warning]
    warnings += _tracking_warnings(prepared.spec, place)
    return _summarize(prepared, lanes, probes, ended.total(), warnings)


def _summarize(
    prepared: PreparedSweep,
    lanes: PlannedLanes,
    probes: Mapping[str, DryRun],
    done: int,
    warnings: Sequence[str],
) -> Plan:
    """What the sweep takes, from what was tried of it."""
    spec = prepared.spec
    families = tuple(_family_plan(family, probes[family.name], lanes) for family in spec.families)
    return Plan(
        sweep=spec.name,
        objectives=tuple({"metric": goal.metric, "direction": goal.direction} for goal in spec.objectives),
        families=families,
        trials=sum(family.trials for family in families),
        done=done,
        lanes=lanes.lanes,
        cpus=lanes.cpus,
        gpus=lanes.gpus,
        gpus_used=lanes.gpus_used,
        seconds=_estimate_seconds(families, done, lanes.lanes, spec),
        disk_bytes=_disk_bytes(spec, probes, lanes.lanes),
        data=tuple(profile_lines(prepared.look)) if prepared.look is not None else (),
        warnings=tuple(warnings),
    )


def _family_plan(family: FamilySpec, found: DryRun, lanes: PlannedLanes) -> FamilyPlan:
    resources = lanes.resources[family.name]
    lane = f"{resources.cpus:g} CPU" + (f", {resources.gpus:g} GPU" if resources.gpus else "")
    if resources.workers > 1:
        sharded = ", the weights sharded over them" if resources.sharding == "full" else ""
        lane = f"{resources.workers} workers of {lane}{sharded}"
    return FamilyPlan(
        family=family.name,
        trials=family.trials,
        epochs=family.budget.reports,
        lane=lane,
        trial_seconds=found.trial_seconds,
        parameters=found.parameters,
        size_bytes=found.size_bytes,
        stack=found.stack,
        gpu_lanes=lanes.gpu_words.get(family.name, ""),
    )


def _estimate_seconds(families: Sequence[FamilyPlan], done: int, lanes: int, spec: SweepSpec) -> float | None:
    """What is left of the work, shared by the lanes, within the sweep's own limit."""
    total = sum(family.trials for family in families)
    if not total:
        return None
    work_s = sum(family.trials * family.trial_seconds for family in families)
    seconds = work_s * max(0, total - done) / total / max(1, lanes)
    return seconds if spec.minutes is None else min(seconds, spec.minutes * 60.0)


def _disk_bytes(spec: SweepSpec, probes: Mapping[str, DryRun], lanes: int) -> int:
    """Kept models of each family, and a checkpoint with the optimizer's state for each lane and one more."""
    total = 0
    for family in spec.families:
        size = probes[family.name].size_bytes or 0
        kept = {"best": 1, "all": family.trials}.get(spec.keep_models)
        if kept is None:
            kept = int(spec.keep_models.rpartition(" ")[2])
        total += size * kept
    largest = max((found.size_bytes or 0 for found in probes.values()), default=0)
    return total + largest * CHECKPOINT_SIZES * (lanes + 1)


# -- what is around ----------------------------------------------------------------------------------------


def _find_known(spec: SweepSpec, home: Home) -> tuple[Counter[str], Document]:
    """How many trials of each family have ended, and the sweep's facts, where the ledger has it."""
    ledger = open_ledger(home, spec.ledger)
    if ledger is None:
        return Counter(), {}
    with closing(ledger):
        row = views.find_sweep(ledger, spec.name)
        if row is None:
            return Counter(), {}
        ended = (trial.family for trial in views.trials(ledger, row.id) if trial.has_ended)
        return Counter(ended), row.facts


def _ledger_warnings(prepared: PreparedSweep, home: Home) -> list[str]:
    """Why `sweep` would refuse to carry on with the sweep that the ledger has; of a new sweep what it learns
    from others."""
    from flows.sweeps.compatibility import compare_sweep
    from flows.sweeps.warm_start import check_warm_start

    ledger = open_ledger(home, prepared.spec.ledger)
    if ledger is None:
        return check_warm_start(None, prepared)
    with closing(ledger):
        known = views.find_sweep(ledger, prepared.spec.name)
        if known is None or not views.has_journal(ledger, known.id):  # `sweep` writes it anew
            return check_warm_start(ledger, prepared)
    prepared = prepared.split_as(known.fingerprint)
    carried = compare_sweep(known, prepared.spec, prepared.fingerprint)
    found = list(carried.refused)
    found += [f"the source of {name} changed" for name in carried.code_changed]
    return (
        [f"{known.label} is in the ledger and differs ({'; '.join(found)}): --new starts the next version"]
        if found
        else []
    )


def _grid_warnings(spec: SweepSpec) -> list[str]:
    """Grids of which `trials` leaves points out."""
    sizes = [(family, count_configurations(family)) for family in spec.families]
    return [
        f"{family.name}: {family.trials} of the {size} configurations of its grid are tried"
        for family, size in sizes
        if size is not None and family.trials < size
    ]


def _tracking_warnings(spec: SweepSpec, home: Home) -> list[str]:
    """Tracking that is away stops nothing, but is worth knowing before."""
    from infra.tracking.client import TrackingError, connect, embedded_path

    try:
        storage_root(home, spec)
        uri = tracking_uri(home, spec)
    except VelodromeError as error:
        return [str(error)]
    if embedded_path(uri) is not None:
        return []
    try:
        connect(uri).call("search_experiments", max_results=1)
    except TrackingError as error:
        return [f"tracking does not answer at {redact(uri)} ({error}): the sweep would run and send later"]
    return []
