"""`velodrome doctor --address`: the nodes of a cluster, and what is wrong with them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from flows.installation.result import ClusterNode, HealthFinding
from infra.home import Home
from infra.spec import SweepSpec

if TYPE_CHECKING:
    from infra.coordinator.placement import Node
    from infra.places.judging import NodeReport
    from infra.places.probe import SharedPlaces


def check_cluster(address: str, home: Home, rows: list[ClusterNode]) -> Iterator[HealthFinding]:
    """Asks every node; what it found of them is added to `rows`."""
    from infra.driver.cluster import connect_ray
    from infra.places.check import find_faults, probe_nodes, shared_places
    from infra.places.judging import host_names

    with connect_ray(address, home) as nodes:
        places = shared_places(SweepSpec(name="none"), home)
        own = _own_places(places, home, nodes)
        places = replace(places, **dict.fromkeys(own, ""))
        reports = probe_nodes(nodes, places)
        faults = find_faults(reports)
    names, by_id = host_names(reports), {node.name: node for node in nodes}
    rows += [_make_row(report, by_id[report.node], names[report.node], places) for report in reports]
    yield HealthFinding("cluster", "ok", f"{len(nodes)} node(s) at {address}")
    if own:
        yield HealthFinding(
            "cluster",
            "warn",
            f"{' and '.join(own)} of this machine alone: other nodes were not asked for it",
            "sweeps there need shared ones: VELODROME_LEDGER, VELODROME_STORAGE or the sweep file's keys",
        )
    for fault in faults:
        yield HealthFinding(fault.host, "fail", fault.found, fault.do)


def _own_places(places: SharedPlaces, home: Home, nodes: list[Node]) -> list[str]:
    """What is kept on this machine though there are nodes on others."""
    if all(node.host == socket.gethostname() for node in nodes):
        return []
    own = {"storage": places.storage == str(home.storage), "ledger": places.ledger.startswith("sqlite")}
    return [name for name, is_own in own.items() if is_own]


def _make_row(report: NodeReport, node: Node, name: str, places: SharedPlaces) -> ClusterNode:
    def state(fault: str, asked: str) -> str:
        return "?" if report.failure else fault or ("ok" if asked else "-")

    unseen = "not what others wrote" if report.unseen else ""
    return ClusterNode(
        name=name, node=report.node, cpus=node.cpus, free_cpus=node.free_cpus, gpus=node.gpus,
        free_gpus=node.free_gpus, gpus_seen=report.gpus_seen, clock_offset_s=report.clock_offset_s,
        storage=state(report.storage or unseen, places.storage), ledger=state(report.ledger, places.ledger),
        tracking=state(report.tracking, places.tracking), failure=report.failure,
        **{package: report.software.get(package, "?") for package in ("python", "ray", "torch", "velodrome")},
    )  # fmt: skip
