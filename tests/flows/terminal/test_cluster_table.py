"""The nodes of a cluster as `doctor --address` shows them."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from infra.coordinator.placement import Node
from infra.driver import cluster
from infra.errors import ClusterUnavailable
from infra.places import check
from infra.places.judging import NodeReport, judge_nodes
from infra.places.probe import SharedPlaces
from tests.flows.conftest import CommandResult

SOFTWARE = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0", "velodrome": "0.1.0", "code": "abc"}
NODES = [
    Node(name="id-head", host=socket.gethostname(), cpus=4.0, free_cpus=1.5),
    Node(name="id-one", host="one", cpus=8.0, free_cpus=8.0, gpus=2.0, free_gpus=2.0),
    Node(name="id-two", host="two", cpus=8.0),
]
REPORTS = [
    NodeReport(node="id-head", host=NODES[0].host, software=SOFTWARE, clock_offset_s=0.0),
    NodeReport(node="id-one", host="one", software={**SOFTWARE, "torch": "2.12.0"}, gpus=2.0, gpus_seen=2,
               clock_offset_s=-2.5),
    NodeReport(node="id-two", host="two", failure="no answer within 60 s: it wrote to /mnt last"),
]  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SharedPlaces]:
    """What nodes were asked for, of a cluster of three."""
    places: list[SharedPlaces] = []

    @contextlib.contextmanager
    def connect(address: str, _home: object) -> Iterator[list[Node]]:
        if address != "head:6379":
            raise ClusterUnavailable("a Ray cluster must be reachable", address)
        yield NODES

    def probe(_nodes: Sequence[Node], shared: SharedPlaces) -> list[NodeReport]:
        places.append(shared)
        return REPORTS

    monkeypatch.setattr(cluster, "connect_ray", connect)
    monkeypatch.setattr(check, "probe_nodes", probe)
    judge: Callable[[Any], Any] = lambda found: judge_nodes(found, driver="id-head", software=SOFTWARE)  # noqa: E731
    monkeypatch.setattr(check, "find_faults", judge)
    return places


def test_doctor_shows_each_node_and_what_is_wrong_with_it(
    asked: list[SharedPlaces], velodrome: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    ended = velodrome("doctor", "--address", "head:6379")
    assert ended.status == 1
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert "one 8 of 8 2 of 2 -2.500 s - - ok 3.11.7 2.60.0 2.12.0 0.1.0" in lines
    assert "two ? of 8 ? of 0 ? ? ? ? ? ? ? ?" in lines
    assert "fail one torch 2.12.0 there, 2.13.0 here" in lines
    assert "fail one its clock is 2.5 s behind" in lines
    assert "fail two no answer within 60 s: it wrote to /mnt last" in lines
    assert "warn cluster storage and ledger of this machine alone: other nodes were not asked for it" in lines
    assert (asked[0].storage, asked[0].ledger) == ("", "")


def test_doctor_asks_nodes_for_the_places_that_the_environment_names(
    asked: list[SharedPlaces], velodrome: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_STORAGE", "/mnt/shared")
    monkeypatch.setenv("VELODROME_LEDGER", "postgresql+psycopg://me:canary@127.0.0.1:1/none")
    ended = velodrome("doctor", "--address", "head:6379", "--json")
    assert (asked[0].storage, asked[0].ledger[-5:]) == ("/mnt/shared", "/none")
    document = json.loads(ended.out)
    assert [(node["name"], node["storage"], node["clock_offset_s"]) for node in document["nodes"]] == [
        (NODES[0].host, "ok", 0.0), ("one", "ok", -2.5), ("two", "?", None)
    ]  # fmt: skip
    assert "canary" not in ended.out + ended.err


@pytest.mark.usefixtures("asked")
def test_doctor_tells_of_a_cluster_that_is_not_there(velodrome: Callable[..., CommandResult]) -> None:
    document = json.loads(velodrome("doctor", "--address", "gone:1", "--json").out)
    assert document["findings"][-1]["found"] == "a Ray cluster must be reachable: gone:1"
    assert document["nodes"] == []
