"""Owners: who lives, who does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest
from sqlalchemy import update

from infra.coordinator.messages import LaneHandshake
from infra.coordinator.shell.lane_processes import LaneProcesses
from infra.ledger import schema, views
from infra.ledger.liveness import describe_this_process, is_alive_here, is_owner_alive, process_started_at
from infra.ledger.rows import OwnerRow
from infra.ledger.store import Ledger
from tests.infra.conftest import sweep

OWNER = OwnerRow(epoch=1, token="t", host="here", pid=42, pid_started_at=1000.0)


def process_started(at: float | None):
    return lambda pid: at if pid == 42 else None


@pytest.mark.parametrize(
    ("started_at", "silent_s", "lives"),
    [
        (1000.0, 1.0, True),
        (1000.01, 1.0, False),  # the pid was given to another process
        (None, 1.0, False),  # no such process, whatever the heartbeat says
        (1000.0, 99_999.0, True),  # stopped or starved, but there
    ],
)
def test_owner_on_this_host_lives_by_the_process_table(started_at, silent_s, lives):
    owner, started = replace(OWNER, silent_s=silent_s), process_started(started_at)
    assert is_owner_alive(owner, here="here", process_started_at=started) is lives


@pytest.mark.parametrize(("silent_s", "lives"), [(59.0, True), (60.0, False), (61.0, False)])
def test_owner_on_another_host_lives_by_its_heartbeat(silent_s, lives):
    owner = replace(OWNER, silent_s=silent_s)
    assert is_owner_alive(owner, here="there", process_started_at=process_started(None)) is lives


@pytest.mark.parametrize("skew_s", [-7_200.0, 7_200.0])
def test_owner_on_another_host_with_a_wrong_clock_lives_by_the_databases(postgres, skew_s, monkeypatch):
    """Its heartbeat is as old for everybody, whatever time it is here or there."""
    ledger = Ledger(postgres.database(), create=True)
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    away = replace(describe_this_process(), host="another-host")
    real = time.time
    with monkeypatch.context() as there:
        there.setattr(time, "time", lambda: real() + skew_s)
        ledger.claim(sweep_id, away, lambda owner: True)
        assert ledger.renew_heartbeat(sweep_id, away.token)
    assert is_alive_here(views.owner(ledger, sweep_id))
    assert ledger.claim(sweep_id, describe_this_process(), lambda owner: not is_alive_here(owner))[0] == 0
    long_ago = schema.owners.c.heartbeat_at - 61.0
    ledger.run_transaction(
        lambda connection: connection.execute(update(schema.owners).values(heartbeat_at=long_ago))
    )
    assert not is_alive_here(views.owner(ledger, sweep_id))
    ledger.close()


def test_released_owner_is_not_alive():
    empty = replace(OWNER, token="")
    assert not is_owner_alive(empty, here="here", process_started_at=process_started(1000.0))


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
    assert LaneProcesses.is_alive(SimpleNamespace(_host="h"), hello)
    child.communicate(b"\n")
    assert not LaneProcesses.is_alive(SimpleNamespace(_host="h"), hello)


def test_process_start_is_the_one_that_psutil_reads(monkeypatch):
    """Whatever the process calls itself."""
    script = "import sys, ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (x'); print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    assert process_started_at(child.pid) == pytest.approx(
        psutil.Process(child.pid).create_time() - psutil.boot_time(), abs=0.02
    )
    child.communicate(b"\n")
