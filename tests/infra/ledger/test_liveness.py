"""Owners: who lives, who does not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from infra.ledger.liveness import describe_this_process, is_alive_here, is_owner_alive, process_started_at
from infra.ledger.rows import OwnerRow

OWNER = OwnerRow(epoch=1, token="t", host="here", pid=42, pid_started_at=1000.0, heartbeat_at=5000.0)


def process_started(at: float | None):
    return lambda pid: at if pid == 42 else None


@pytest.mark.parametrize(
    ("started_at", "now", "lives"),
    [
        (1000.0, 5001.0, True),
        (1001.9, 5001.0, True),  # clock ticks and a rounded boot time
        (1003.0, 5001.0, False),  # the pid was given to another process
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
