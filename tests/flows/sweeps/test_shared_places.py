"""What a cluster's nodes cannot reach is refused by `plan` as by `sweep`."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.sweeps.plan import plan
from infra.coordinator.placement import Node
from infra.errors import ClusterUnavailable
from infra.home import Home
from infra.lanes import cluster

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
