"""Nodes that share a bucket: each writes an object that the others read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import bucket
from infra.home import Home, storage_place
from infra.places.judging import NodeReport, judge_nodes
from infra.places.probe import NodeProbe, SharedPlaces
from tests.infra.object_store import ObjectStore, running_store

URL = "s3://models/team"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    monkeypatch.setattr(bucket, "ATTEMPTS", 2)
    with running_store(monkeypatch) as made:
        yield made


def probe(folder: Path, node: str) -> NodeProbe:
    """Of a machine with a home of its own."""
    root = storage_place(Home(folder / node), URL)
    return NodeProbe(node, SharedPlaces(name=".probe-1", storage=str(root), bucket=URL))


def test_nodes_see_what_others_wrote_to_the_bucket_and_leave_nothing(
    store: ObjectStore, tmp_path: Path
) -> None:
    head, worker = probe(tmp_path, "head"), probe(tmp_path, "worker")
    reports = [head.look(0.0), worker.look(0.0)]
    assert [report.storage for report in reports] == ["", ""]
    assert worker.list_unseen(["head", "worker"]) == ()
    store.objects.pop("models/team/.probe-1/worker")
    assert head.list_unseen(["head", "worker"]) == ("worker",)
    head.clean()
    worker.clean()
    assert not store.names()
    assert not list((tmp_path / "head").rglob(".probe*"))


def test_node_without_keys_is_told_with_what_to_do_there(store: ObjectStore, tmp_path: Path) -> None:
    store.fault = lambda method, path: (403, "AccessDenied") if method in {"PUT", "POST"} else None
    report = probe(tmp_path, "worker").look(0.0)
    assert report.storage.startswith("s3://models/team must take .probe-1/worker: ")
    head = NodeReport(node="head", host="head", software=report.software, clock_offset_s=0.0)
    (finding,) = judge_nodes([head, report], driver="head", software=report.software)
    assert finding.do == "give it the store's address and keys (AWS_…), as the others have them"
