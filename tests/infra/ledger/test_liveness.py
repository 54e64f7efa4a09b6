"""Owners: who lives, who does not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from infra.coordinator.actor import CoordinatorActor
from infra.coordinator.messages import LaneHandshake
from infra.ledger.liveness import describe_this_process, is_alive_here, is_owner_alive, process_started_at
from infra.ledger.rows import OwnerRow

OWNER = OwnerRow(epoch=1, token="t", host="here", pid=42, pid_started_at=1000.0, heartbeat_at=5000.0)


def process_started(at: float | None):
    return lambda pid: at if pid == 42 else None


@pytest.mark.parametrize(
    ("started_at", "now", "lives"),
    [
        (1000.0, 5001.0, True),
        (1000.01, 5001.0, False),  # the pid was given to another process
        (None, 5001.0, False),  # no such process, whatever the heartbeat says
        (1000.0, 99_999.0, True),  # stopped or starved, but there
    ],
)
def test_owner_on_this_host_lives_by_the_process_table(started_at, now, lives):
    assert (
        is_owner_alive(OWNER, here="here", now=now, process_started_at=process_started(started_at)) is lives
    )


@pytest.mark.parametrize(("now", "lives"), [(5059.0, True), (5061.0, False)])
def test_owner_on_another_host_lives_by_its_heartbeat(now, lives):
    assert is_owner_alive(OWNER, here="there", now=now, process_started_at=process_started(None)) is lives


def test_released_owner_is_not_alive():
    empty = replace(OWNER, token="")
    assert not is_owner_alive(empty, here="here", now=5000.0, process_started_at=process_started(1000.0))


def test_owner_pid_with_another_start_time_is_not_alive():
    mine = describe_this_process()
    assert is_alive_here(mine)
    assert mine.pid == os.getpid()
    assert describe_this_process().token != mine.token
    assert not is_alive_here(replace(mine, pid_started_at=mine.pid_started_at - 100))


def test_owner_process_that_is_a_zombie_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it ended, and nobody has asked how
    assert process_started_at(child.pid) is None
    child.wait()
    assert process_started_at(child.pid) is None


@pytest.mark.parametrize("step_s", [1.0, -1.0, 3_600.0])
def test_process_start_after_a_step_of_the_clock_is_the_same(step_s, monkeypatch):
    """A first synchronisation, a machine that wakes: the kernel's boot time moves, and no process ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    before, mine = process_started_at(child.pid), describe_this_process()
    boot_time = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time + step_s)
    assert process_started_at(child.pid) == before is not None
    assert is_alive_here(mine)
    hello = LaneHandshake(lane="l", shape="", host="h", pid=child.pid, pid_started_at=before)
    assert CoordinatorActor._is_alive(SimpleNamespace(_host="h"), hello)
    child.communicate(b"\n")
    assert not CoordinatorActor._is_alive(SimpleNamespace(_host="h"), hello)


def test_process_start_is_the_one_that_psutil_reads(monkeypatch):
    """Whatever the process calls itself."""
    script = "import sys, ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (x'); print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    assert process_started_at(child.pid) == pytest.approx(
        psutil.Process(child.pid).create_time() - psutil.boot_time(), abs=0.02
    )
    child.communicate(b"\n")
