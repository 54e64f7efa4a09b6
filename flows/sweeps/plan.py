"""`velodrome plan`: tries all that can fail before anything is spent, and says what the sweep will need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from flows.config.lookup import open_ledger
from flows.sweeps.dry_run import DryRun, dry_run_families
from flows.sweeps.new import find_sweep
from flows.sweeps.preparation import PreparedSweep, SweepSource, prepare_sweep
from flows.terminal.shown_result import ShownResult
from infra.errors import VelodromeError
from infra.home import Home, storage_root, tracking_uri
from infra.mirror import check_writable
from infra.secrets import redact
from infra.spec import FamilySpec, SweepSpec

if TYPE_CHECKING:
    from infra.coordinator.placement import Node
    from infra.gpus.sharing import GpuSharing
    from infra.spec import Resources
    from trainers.types import Document, JsonObject

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

    def to_json(self) -> JsonObject:
        """All of it."""
        return asdict(self)


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
    from flows.config.sweep_text import profile_lines

    place = home or Home.from_environment()
    source = find_sweep(
        file, space=space, objective=objective, direction=direction, trials=trials, epochs=epochs, name=name
    )
    prepared = prepare_sweep(source, overrides, place)
    warnings = [*_ledger_warnings(prepared, place)]
    ended, facts = _find_known(prepared.spec, place)
    done = ended.total()
    check_writable(storage_root(place, prepared.spec))
    nodes, grows = _nodes(prepared.spec, address, place)
    undone = {family.name: max(0, family.trials - ended[family.name]) for family in prepared.spec.families}
    lanes, sharing = _place_lanes(prepared.spec, nodes, facts, undone, grows=grows)
    resources = sharing.resources
    warnings += [GROWS] if grows else []
    probes = dry_run_families(prepared, place)
    warnings += [f"{name}: {found.warning}" for name, found in probes.items() if found.warning]
    warnings += _tracking_warnings(prepared.spec, place)
    families = tuple(
        _family_plan(family, probes[family.name], resources[family.name], sharing.words.get(family.name, ""))
        for family in prepared.spec.families
    )
    total = sum(family.trials for family in families)
    left = max(0, total - done)
    work_s = sum(family.trials * family.trial_seconds for family in families)
    return Plan(
        sweep=prepared.spec.name,
        objectives=tuple(
            {"metric": goal.metric, "direction": goal.direction} for goal in prepared.spec.objectives
        ),
        families=families,
        trials=total,
        done=done,
        lanes=lanes,
        cpus=sum(node.cpus for node in nodes),
        gpus=sum(node.gpus for node in nodes),
        gpus_used=min(
            sum(node.gpus for node in nodes), lanes * max(r.gpus or 0.0 for r in resources.values())
        ),
        seconds=_limit_seconds(work_s * left / total / max(1, lanes), prepared.spec) if total else None,
        disk_bytes=_disk_bytes(prepared.spec, probes, lanes),
        data=tuple(profile_lines(prepared.look)) if prepared.look is not None else (),
        warnings=tuple(warnings),
    )


def _family_plan(family: FamilySpec, found: DryRun, resources: Resources, gpu_lanes: str) -> FamilyPlan:
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
        gpu_lanes=gpu_lanes,
    )


def _limit_seconds(seconds: float, spec: SweepSpec) -> float:
    return seconds if spec.minutes is None else min(seconds, spec.minutes * 60.0)


def _disk_bytes(spec: SweepSpec, probes: dict[str, DryRun], lanes: int) -> int:
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


def _nodes(spec: SweepSpec, address: str | None, home: Home) -> tuple[Sequence[Node], bool]:
    """The cluster's nodes, which reach what the sweep shares, and whether it grows by demand; without an
    address this machine, as a local Ray would see it."""
    from flows.sweeps.shared_places import check_shared_places
    from infra.driver.cluster import connect_ray, has_own_connection
    from infra.ray_job import job_address
    from infra.sharing.growth import has_autoscaler

    address = address or job_address()
    if address is not None or has_own_connection():
        with connect_ray(address, home) as nodes:
            check_shared_places(spec, home, nodes)
            return list(nodes), has_autoscaler()
    return [this_machine()], False


def this_machine() -> Node:
    """What a local Ray would have."""
    import os
    import socket

    import psutil
    import torch

    from infra.coordinator.placement import Node

    return Node(
        name="local",
        host=socket.gethostname(),
        cpus=float(len(os.sched_getaffinity(0))),
        gpus=float(torch.cuda.device_count()),
        memory_bytes=int(psutil.virtual_memory().available * 0.7),
    )


def _place_lanes(
    spec: SweepSpec, nodes: Sequence[Node], facts: Document, left: Mapping[str, int], *, grows: bool
) -> tuple[int, GpuSharing]:
    """How many lanes there will be at first, and each family's settled resources.

    Args:
        facts: of the sweep, where the ledger has it.
        left: by family, how many trials there are to run.
    """
    from infra.coordinator.placement import (
        check_placeable,
        gpu_rooms,
        plan_runs,
        resolve_shapes,
        shape_name,
    )
    from infra.gpus.sharing import GpuSharing

    sharing = GpuSharing(
        resolve_shapes(spec, nodes), gpu_rooms(spec, nodes), facts, lambda **_: None, left.__getitem__,
        same_driver=False,
    )  # fmt: skip
    resources = sharing.resources
    for family, needed in resources.items() if not grows else ():
        check_placeable(family, needed, nodes)
    wanted: dict[str, int] = {}
    for entry in spec.families:
        shape = shape_name(resources[entry.name])
        wanted[shape] = wanted.get(shape, 0) + entry.trials
    shapes = {shape_name(needed): needed for needed in resources.values()}
    runs = plan_runs(shapes, wanted, nodes, spec.lanes)
    return max(1, sum(run.lanes for run in runs)), sharing


def _find_known(spec: SweepSpec, home: Home) -> tuple[Counter[str], Document]:
    """How many trials of each family have ended, and the sweep's facts, where the ledger has it."""
    from infra.ledger import views

    ledger = open_ledger(home, spec.ledger)
    if ledger is None:
        return Counter(), {}
    try:
        row = views.find_sweep(ledger, spec.name)
        if row is None:
            return Counter(), {}
        ended = (trial.family for trial in views.trials(ledger, row.id) if trial.has_ended)
        return Counter(ended), row.facts
    finally:
        ledger.close()


def _ledger_warnings(prepared: PreparedSweep, home: Home) -> list[str]:
    """Why `sweep` would refuse to carry on with the sweep that the ledger has; of a new sweep what it learns
    from others."""
    from flows.sweeps.compatibility import compare_sweep
    from flows.sweeps.warm_start import check_warm_start
    from infra.ledger import views

    ledger = open_ledger(home, prepared.spec.ledger)
    if ledger is None:
        return check_warm_start(None, prepared)
    try:
        known = views.find_sweep(ledger, prepared.spec.name)
        if known is None or not views.has_journal(ledger, known.id):  # `sweep` writes it anew
            return check_warm_start(ledger, prepared)
    finally:
        ledger.close()
    prepared = prepared.split_as(known.fingerprint)
    carried = compare_sweep(known, prepared.spec, prepared.fingerprint)
    found = list(carried.refused)
    found += [f"the source of {name} changed" for name in carried.code_changed]
    return (
        [f"{known.label} is in the ledger and differs ({'; '.join(found)}): --new starts the next version"]
        if found
        else []
    )


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
