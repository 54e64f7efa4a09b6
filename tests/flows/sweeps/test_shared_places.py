"""What a cluster's nodes cannot reach is refused by `plan` as by `sweep`."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from flows.sweeps.plan import plan
from flows.sweeps.preparation import prepare_sweep
from flows.sweeps.shared_places import check_shared_places
from infra.coordinator.placement import Node
from infra.driver import cluster
from infra.errors import ClusterUnavailable
from infra.home import Home
from infra.places import check
from infra.places.judging import NodeReport, judge_nodes
from infra.places.probe import SharedPlaces, read_software

FILE = "name: d\ndata: {source: builtin:digits}\nbudget: {trials: 2, epochs: 1}\nfamilies: {mlp: {}}\n"


@pytest.fixture
def two_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def connect(address: str | None, home: Home) -> Iterator[list[Node]]:
        yield [Node(name=host, host=host, cpus=2.0) for host in (socket.gethostname(), "elsewhere")]

    monkeypatch.setattr(cluster, "connect_ray", connect)


@pytest.mark.usefixtures("two_hosts")
def test_plan_of_a_cluster_without_shared_places_is_refused_as_by_sweep(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path("d.yaml")
    file.write_text(FILE)
    with pytest.raises(ClusterUnavailable, match=r"storage .*ledger .*elsewhere"):
        plan(file, address="head:6379", home=home)
    monkeypatch.setenv("VELODROME_STORAGE", str(Path("shared").absolute()))
    with pytest.raises(ClusterUnavailable, match=r"alone: ledger "):
        plan(file, address="head:6379", home=home)


@pytest.mark.usefixtures("two_hosts")
def test_node_that_differs_is_refused_by_plan_as_by_sweep(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SharedPlaces] = []

    def probe(nodes: Sequence[Node], places: SharedPlaces) -> list[NodeReport]:
        asked.append(places)
        here, there = nodes
        software = read_software()
        return [
            NodeReport(node=here.name, host=here.host, software=software),
            NodeReport(
                node=there.name, host=there.host, software={**software, "ray": "1.0"}, unseen=(here.name,)
            ),
        ]

    monkeypatch.setattr(check, "probe_nodes", probe)
    monkeypatch.setattr(
        check,
        "find_faults",
        lambda found: judge_nodes(found, driver=found[0].node, software=read_software()),
    )
    monkeypatch.setenv("VELODROME_STORAGE", str(Path("shared").absolute()))
    Path("d.yaml").write_text(FILE + "ledger: postgresql+psycopg://me:${PW}@127.0.0.1:1/none\n")
    monkeypatch.setenv("PW", "canary")
    spec = prepare_sweep("d.yaml", (), home).spec
    with cluster.connect_ray("head:6379", home) as nodes, pytest.raises(ClusterUnavailable) as told:
        check_shared_places(spec, home, nodes)
    assert "elsewhere: ray 1.0 there" in told.value.found
    assert "elsewhere: storage: what " in told.value.found
    assert "elsewhere: install the same Ray there" in told.value.do
    assert (asked[0].storage, asked[0].ledger) == (
        str(Path("shared").absolute()),
        "postgresql+psycopg://me:canary@127.0.0.1:1/none",
    )
    assert "canary" not in str(told.value)
