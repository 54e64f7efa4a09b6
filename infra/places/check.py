"""The check of a cluster's nodes that `plan`, `sweep` and `doctor` share: each is asked, with a limit."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from infra.busy_machine import stretch_limit
from infra.errors import ClusterUnavailable
from infra.home import Home, ledger_url, storage_root, tracking_uri
from infra.mirror import find_mirror
from infra.places.judging import NodeFinding, NodeReport, judge_nodes
from infra.places.probe import NodeProbe, SharedPlaces, read_software
from infra.secrets import redact

if TYPE_CHECKING:
    from infra.coordinator.placement import Node
    from infra.spec import SweepSpec

ANSWER_LIMIT_S = 60.0
CLOCK_LOOKS = 5
MOST_TOLD = 8


def check_nodes(spec: SweepSpec, home: Home, nodes: Sequence[Node]) -> None:
    """Refuses a cluster of which a node could not work for the sweep as the others do.

    Raises:
        ClusterUnavailable: with each node and what to do there.
    """
    findings = find_faults(probe_nodes(nodes, shared_places(spec, home)))
    if findings:
        raise ClusterUnavailable(
            "every node must reach what the sweep shares and run the same software",
            "\n".join(f"{finding.host}: {finding.found}" for finding in findings[:MOST_TOLD]),
            "\n".join(dict.fromkeys(f"{finding.host}: {finding.do}" for finding in findings[:MOST_TOLD])),
        )


def find_faults(reports: Sequence[NodeReport]) -> list[NodeFinding]:
    """What is wrong with the nodes, against this process and its node."""
    import ray

    return judge_nodes(reports, driver=ray.get_runtime_context().get_node_id(), software=read_software())


def shared_places(spec: SweepSpec, home: Home) -> SharedPlaces:
    """What a sweep's nodes are to reach."""
    root = storage_root(home, spec)
    mirror = find_mirror(root)
    return SharedPlaces(
        name=f".probe-{uuid.uuid4().hex[:12]}",
        storage=str(root),
        bucket="" if mirror is None else mirror.bucket.url,
        ledger=ledger_url(home, spec.ledger),
        tracking=tracking_uri(home, spec),
    )


def probe_nodes(
    nodes: Sequence[Node], places: SharedPlaces, *, limit_s: float = ANSWER_LIMIT_S
) -> list[NodeReport]:
    """Asks every node at once; one that does not answer within the limit says so."""
    limit_s = stretch_limit(limit_s)
    deadline = time.monotonic() + limit_s
    hosts = {node.name: node.host for node in nodes}
    with _started_probes(nodes, places) as probes:
        looks = {node.name: probes[node.name].look.remote(node.gpus) for node in nodes}
        reports = {node: _answer(probes, hosts, node, look, deadline) for node, look in looks.items()}
        wrote = [node for node, report in reports.items() if not report.failure and not report.storage]
        deadline = time.monotonic() + limit_s
        reads = {node: probes[node].list_unseen.remote(wrote) for node in wrote}
        for node, read in reads.items():
            reports[node] = _with_unseen(reports[node], probes[node], read, deadline)
        return [_with_clock(report, probes[node]) for node, report in reports.items()]


@contextmanager
def _started_probes(nodes: Sequence[Node], places: SharedPlaces) -> Iterator[dict[str, Any]]:
    """An actor on each node, with nothing of its resources; ended with the block, whatever they wait for."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    actor: Any = ray.remote(NodeProbe)
    probes = {
        node.name: actor.options(
            num_cpus=0,
            max_concurrency=2,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node.name, soft=False),
            # Ray hides all GPUs of a node from who asks for none.
            runtime_env={"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}},
        ).remote(node.name, places)
        for node in nodes
    }
    try:
        yield probes
    finally:
        for _ in range(2):  # a folder that one made goes once all have taken their files away
            cleaned = [probe.clean.remote() for probe in probes.values()]
            with contextlib.suppress(ray.exceptions.RayError):
                ray.wait(cleaned, num_returns=len(cleaned), timeout=2.0)
        for probe in probes.values():
            ray.kill(probe)


def _answer(
    probes: Mapping[str, Any], hosts: Mapping[str, str], node: str, look: Any, deadline: float
) -> NodeReport:
    failure = ""
    try:
        report: NodeReport = _get(look, deadline)
        return report
    except Exception as error:  # what ails a node comes in every shape, and is what was asked
        failure = _describe_failure(error, probes[node])
    return NodeReport(node=node, host=hosts[node], failure=failure)


def _with_unseen(report: NodeReport, probe: Any, read: Any, deadline: float) -> NodeReport:
    try:
        return replace(report, unseen=_get(read, deadline))
    except Exception as error:  # as above
        return replace(report, failure=_describe_failure(error, probe))


def _with_clock(report: NodeReport, probe: Any) -> NodeReport:
    """Its clock by the fastest of some exchanges: against the middle between question and answer."""
    if report.failure:
        return report
    looks = []
    for _ in range(CLOCK_LOOKS):
        try:
            looks.append(measure_offset(lambda: _get(probe.now.remote(), time.monotonic() + 5.0)))
        except Exception as error:  # as above
            return replace(report, failure=_describe_failure(error, probe))
    trip_s, offset_s = min(looks)
    return replace(report, clock_offset_s=offset_s, clock_error_s=trip_s / 2)


def measure_offset(
    ask: Callable[[], float],
    *,
    now: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
) -> tuple[float, float]:
    """How long an exchange took, and how far the other's clock is ahead if both ways take as long.

    Args:
        ask: what the other's clock says.
        now: what this machine's says.
        steady: seconds that only pass.
    """
    began, sent = steady(), now()
    there = ask()
    trip_s = steady() - began
    return trip_s, there - (sent + trip_s / 2)


def _get(reference: Any, deadline: float) -> Any:
    import ray

    return ray.get(reference, timeout=max(0.1, deadline - time.monotonic()))


def _describe_failure(error: Exception, probe: Any) -> str:
    from ray.exceptions import GetTimeoutError

    if isinstance(error, GetTimeoutError):
        step = ""
        with contextlib.suppress(Exception):  # a node that is away says nothing at all
            step = f": it {_get(probe.step.remote(), time.monotonic() + 2.0)} last"
        return f"no answer within {ANSWER_LIMIT_S:.0f} s{step}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "No module named" in line]
    return redact((named or lines or [type(error).__name__])[-1 if named else 0])
