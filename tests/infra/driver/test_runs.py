"""Ray is closed when no thread waits for a run any more, and never under one."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from infra.coordinator.placement import RunPlan
from infra.driver import cluster
from infra.driver.runs import LaneRun, end_runs, is_any_run_alive
from infra.errors import ClusterUnavailable
from infra.home import Home, storage_place
from infra.lanes.settings import LaneSettings
from infra.spec import Resources
from tests.infra.object_store import running_store


class WaitingRun:
    """A run whose thread waits until its controller is killed."""

    def __init__(self) -> None:
        self.killed = threading.Event()
        self._thread = threading.Thread(target=self.killed.wait, daemon=True, name="lanes-01234567")
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """As `LaneRun.join`."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()


@pytest.fixture
def run() -> Iterator[WaitingRun]:
    """One that is over after the test."""
    made = WaitingRun()
    yield made
    made.killed.set()
    made.join(5)


def end(run: WaitingRun, ask: Any, **more: Any) -> bool:
    """Ends it with short waits."""
    limits: dict[str, Any] = {"first_s": 0.0, "again_s": 0.05, "limit_s": 5.0, **more}
    return end_runs([cast(LaneRun, run)], ask, **limits)


def test_runs_that_wait_are_asked_to_end_until_they_do(run: WaitingRun) -> None:
    """A coordinator that has just died, or knows none of the controllers, does nothing the first times."""
    asked = []

    def ask() -> None:
        asked.append(1)
        if len(asked) == 1:
            raise ClusterUnavailable("the coordinator must answer within 5 s", "no answer")
        if len(asked) == 3:
            run.killed.set()

    assert end(run, ask)
    assert len(asked) == 3
    assert not is_any_run_alive()


def test_runs_that_end_by_themselves_are_not_asked(run: WaitingRun) -> None:
    threading.Timer(0.2, run.killed.set).start()
    assert end(run, lambda: pytest.fail("it was about to end"), first_s=5.0)


@pytest.mark.parametrize("more", [{"limit_s": 0.3}, {"is_hurried": lambda: True}])
def test_waiting_for_runs_ends_at_its_limit_and_when_hurried(run: WaitingRun, more: dict[str, Any]) -> None:
    assert not end(run, lambda: None, **more)


def test_ray_is_not_closed_under_a_thread_that_waits_for_a_run(
    run: WaitingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    ray = ModuleType("ray")
    ray.shutdown = lambda: closed.append(1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert not cluster._shut_ray_down()
    assert closed == []
    run.killed.set()
    run.join(5)
    assert cluster._shut_ray_down()
    assert closed == [1]


COMMAND = """
import atexit, os, threading
from flows.cli.error_boundary import leave
import infra.driver.runs
if {alive}:
    threading.Thread(target=threading.Event().wait, daemon=True, name="lanes-01234567").start()
atexit.register(os._exit, 1)  # as Ray's own end under such a thread
print("document")
leave({asked}, is_program=True)
"""


@pytest.mark.parametrize(
    ("alive", "asked", "status"), [(True, 4, 4), (False, 4, 1), (False, 130, 130), (False, 143, 143)]
)
def test_command_leaves_with_its_status_and_document_though_a_run_did_not_end(
    alive: bool, asked: int, status: int
) -> None:
    """Where none is left the interpreter ends as usual, but for a command that was interrupted: a second
    signal would end the interpreter by another status."""
    code = COMMAND.format(alive=alive, asked=asked)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stderr
    assert done.stdout.strip() == "document"


@pytest.mark.parametrize("own_ray", [True, False])
def test_rays_own_files_are_in_the_bucket_where_workers_may_be_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_ray: bool
) -> None:
    from ray.train.v2._internal.execution.storage import StorageContext

    with running_store(monkeypatch) as store:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
        root = storage_place(Home(tmp_path), "s3://models/team")
        settings = LaneSettings(
            run="", shape="", resources=Resources(), spec={}, base=".", storage=str(root), cache="", logs="",
        )  # fmt: skip
        plan = RunPlan(shape="1x1cpu", resources=Resources(), lanes=1)
        coordinator: Any = None
        run = LaneRun(plan, settings, coordinator, root / ".ray" / "01", own_ray=own_ray)
        place, files = run._ray_storage()
        assert b"canary-secret" not in pickle.dumps(files)  # it travels to Ray's controller
        made = StorageContext(storage_path=place, experiment_dir_name=run.name, storage_filesystem=files)
        made._check_validation_file()
        assert [name.rpartition("/")[0] for name in store.names()] == (
            [] if own_ray else [f"models/team/.ray/01/{run.name}"]
        )
