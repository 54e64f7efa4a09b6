"""Owners: who lives, who does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
from sqlalchemy import update

from infra.coordinator.messages import LaneHandshake
from infra.coordinator.shell.lane_processes import LaneProcesses
from infra.ledger import schema, views
from infra.ledger.liveness import (
    describe_this_process,
    is_alive_here,
    is_owner_alive,
    is_owner_here,
    may_replace,
    process_started_at,
    watch_owner,
)
from infra.ledger.rows import OwnerRow
from infra.ledger.store import Ledger
from tests.infra.conftest import sweep
from trainers.storage.machine import machine_id

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
    assert is_owner_alive(owner, is_here=True, process_started_at=started) is lives


@pytest.mark.parametrize(("silent_s", "lives"), [(59.0, True), (60.0, False), (61.0, False)])
def test_owner_on_another_host_lives_by_its_heartbeat(silent_s, lives):
    owner = replace(OWNER, silent_s=silent_s)
    assert is_owner_alive(owner, is_here=False, process_started_at=process_started(None)) is lives


@pytest.mark.parametrize("skew_s", [-7_200.0, 7_200.0])
def test_owner_on_another_host_with_a_wrong_clock_lives_by_the_databases(postgres, skew_s, monkeypatch):
    """Its heartbeat is as old for everybody, whatever time it is here or there."""
    ledger = Ledger(postgres.database(), create=True)
    sweep_id = ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    away = replace(describe_this_process(), host="another-host", token="away-another-machine")
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
    assert not is_owner_alive(empty, is_here=True, process_started_at=process_started(1000.0))


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
    hello = LaneHandshake(
        lane="l", shape="", host="h", pid=child.pid, pid_started_at=before, machine=machine_id()
    )
    assert LaneProcesses().is_alive(hello)
    child.communicate(b"\n")
    assert not LaneProcesses().is_alive(hello)


def test_process_start_is_the_one_that_psutil_reads(monkeypatch):
    """Whatever the process calls itself."""
    script = "import sys, ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (x'); print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    assert process_started_at(child.pid) == pytest.approx(
        psutil.Process(child.pid).create_time() - psutil.boot_time(), abs=0.02
    )
    child.communicate(b"\n")


AWAY = replace(OWNER, token="t-another-machine", heartbeat_at=5.0)


class Watch:
    """A clock and an owner's row that are what a test says after so many seconds."""

    def __init__(self, *beats: tuple[float, OwnerRow | None]) -> None:
        self.now, self.beats, self.said = 0.0, beats, list[float]()

    def read(self) -> OwnerRow | None:
        return [owner for since, owner in self.beats if since <= self.now][-1]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def look(self) -> OwnerRow | None:
        return watch_owner(
            self.read, lambda _, left_s: self.said.append(left_s), clock=lambda: self.now, sleep=self.sleep
        )


def test_process_of_a_machine_of_the_same_name_is_not_looked_for_in_this_ones_table():
    """Cloned machines: the pid is free here, and its process lives there."""
    mine = describe_this_process()
    assert is_owner_here(mine)
    assert is_owner_here(replace(mine, host="renamed"))
    there = replace(mine, token=f"{'0' * 32}-{'f' * 12}", pid=2**22 + 1, silent_s=1.0)
    assert is_alive_here(there)
    hello = LaneHandshake(
        lane="l", shape="", host=mine.host, pid=there.pid, pid_started_at=1.0, machine=there.machine
    )
    assert LaneProcesses().is_alive(hello)
    assert not LaneProcesses().is_alive(replace(hello, machine=machine_id()))
    assert not LaneProcesses().is_alive(replace(hello, machine=""))  # of an earlier version: by the name


@pytest.mark.parametrize("silent_s", [0.0, 59.0, 61.0, 90_000.0, -90_000.0])
def test_owner_elsewhere_that_beats_is_not_replaced_however_old_its_beat_looks(silent_s):
    first = replace(AWAY, silent_s=silent_s)
    watch = Watch((0.0, first), (2.0, replace(first, heartbeat_at=7.0)))
    assert watch.look() is None
    assert watch.now < 3.0
    assert not may_replace(first, watch.look())


@pytest.mark.parametrize(
    ("silent_s", "after_s"), [(0.0, 60.0), (20.0, 40.0), (61.0, 7.0), (90_000.0, 7.0), (-90_000.0, 60.0)]
)
def test_owner_elsewhere_that_does_not_beat_is_replaced_once_it_may_no_longer_be_silent(silent_s, after_s):
    """Also where the database's clock was set back by a day."""
    watch = Watch((0.0, replace(AWAY, silent_s=silent_s)))
    silent = watch.look()
    assert silent == replace(AWAY, silent_s=silent_s)
    assert after_s <= watch.now < after_s + 1.0
    assert len(watch.said) == 1
    assert may_replace(replace(AWAY, silent_s=99.0), silent)
    for change in ({"heartbeat_at": 6.0}, {"token": "new-another-machine"}, {"epoch": 2}):
        assert not may_replace(replace(AWAY, **change), silent)


def test_owner_that_left_or_is_here_is_not_waited_for():
    for owner in (None, replace(AWAY, token=""), describe_this_process()):
        watch = Watch((0.0, owner))
        assert (watch.look(), watch.now) == (None, 0.0)
    left = Watch((0.0, AWAY), (1.0, replace(AWAY, token="", epoch=2)))
    assert left.look() is None
    assert left.now <= 1.5
    assert not may_replace(describe_this_process(), None)
    assert may_replace(replace(describe_this_process(), pid_started_at=1.0), None)
