"""What a node finds out about itself."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.coordinator.placement import Node
from infra.places import check
from infra.places.check import measure_offset
from infra.places.judging import NodeReport
from infra.places.probe import NodeProbe, SharedPlaces, ledger_error, read_software, tracking_error
from infra.wheel import hash_packages


def test_nodes_see_each_others_files_where_they_share_the_folder(tmp_path: Path) -> None:
    places = [
        SharedPlaces(name=".probe-1", storage=str(tmp_path / folder)) for folder in ("mnt", "mnt", "own")
    ]
    probes = [NodeProbe(f"n{number}", place) for number, place in enumerate(places)]
    assert [probe.look(0.0).storage for probe in probes] == ["", "", ""]
    nodes = ["n0", "n1", "n2"]
    assert [probe.list_unseen(nodes) for probe in probes] == [("n2",), ("n2",), ("n0", "n1")]
    for probe in (*probes, *probes):
        probe.clean()
    assert list(tmp_path.iterdir()) == []


def test_storage_that_cannot_be_written_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    report = NodeProbe("n0", SharedPlaces(name=".probe-1", storage=str(tmp_path / "file"))).look(0.0)
    assert report.storage == f"{tmp_path / 'file'}: Not a directory"
    assert report.host == socket.gethostname()


def test_software_says_versions_and_the_files_that_run() -> None:
    found = read_software()
    assert found.keys() >= {"python", "ray", "torch", "code"}
    assert hash_packages().startswith(found["code"])


def test_ledger_and_tracking_that_nobody_serves_are_told_without_passwords() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert tracking_error(f"http://me:canary@127.0.0.1:{port}") == ""
    closed = tracking_error(f"http://me:canary@127.0.0.1:{port}")
    assert closed == f"127.0.0.1:{port}: Connection refused"
    pytest.importorskip("psycopg")
    away = ledger_error(f"postgresql+psycopg://me:canary@127.0.0.1:{port}/db")
    assert "refused" in away
    assert "canary" not in away
    assert [ledger_error("sqlite:////x.db"), ledger_error(""), tracking_error("sqlite:///x")] == ["", "", ""]


def test_clock_is_compared_with_the_middle_of_the_exchange() -> None:
    passed = iter([7.0, 7.5])
    assert measure_offset(lambda: 103.25, now=lambda: 100.0, steady=lambda: next(passed)) == (0.5, 3.0)


def test_node_of_a_busy_machine_gets_its_time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process starts ten times slower there."""
    given: list[float] = []

    def answer(probes: Any, hosts: Any, node: str, look: Any, deadline: float) -> NodeReport:
        given.append(deadline - time.monotonic())
        return NodeReport(node=node, host="h", failure="silent")

    probe = SimpleNamespace(look=SimpleNamespace(remote=lambda gpus: None))
    monkeypatch.setattr(check, "_started_probes", lambda *_: contextlib.nullcontext({"n0": probe}))
    monkeypatch.setattr(check, "_answer", answer)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (20.0, 1.0, 1.0))
    check.probe_nodes([Node(name="n0", cpus=1.0)], SharedPlaces(name=".probe-1", storage="/"), limit_s=60.0)
    assert given == [pytest.approx(600.0, abs=10.0)]


def test_storage_that_is_not_asked_for_is_neither_written_nor_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`doctor` said that a machine's own storage is not looked at elsewhere, and missed it there."""
    monkeypatch.chdir(tmp_path)
    probe = NodeProbe("n0", SharedPlaces(name=".probe-1"))
    assert probe.look(0.0).storage == ""
    assert probe.list_unseen(["n0", "n1"]) == ()
    probe.clean()
    assert not list(tmp_path.iterdir())
