"""A lane's use of its machine."""

from __future__ import annotations

import subprocess
import sys
import time

from infra.tracking.system import ProcessSampler


def test_a_busy_process_uses_a_core_and_memory() -> None:
    sampler = ProcessSampler()
    ends = time.process_time() + 0.2
    while time.process_time() < ends:
        pass
    sample = sampler.sample()
    assert 5 < sample["system/cpu_percent"] < 400
    assert 5 < sample["system/memory_mb"] < 50_000


def test_a_process_that_is_gone_has_no_numbers() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    sampler = ProcessSampler(child.pid)
    child.communicate(b"\n")
    assert sampler.sample() == {}
