"""A lane's use of its machine."""

from __future__ import annotations

import subprocess
import sys
import time

from infra.lanes.process_sampler import EVERY_S, ProcessSampler
from tests.infra.conftest import Clock


def test_process_sample_of_busy_process_has_core_and_memory() -> None:
    clock = Clock()
    sampler = ProcessSampler(clock=clock)
    ends = time.process_time() + 0.2
    while time.process_time() < ends:
        pass
    clock.now += EVERY_S
    sample = sampler.sample()
    assert 5 < sample["system/cpu_percent"] < 400
    assert 5 < sample["system/memory_mb"] < 50_000


def test_process_sampler_gives_one_sample_a_second_after_the_first() -> None:
    clock = Clock()
    sampler = ProcessSampler(clock=clock)
    sampled = []
    for _ in range(9):
        sampled.append(bool(sampler.sample()))
        clock.now += EVERY_S / 4
    assert sampled == [False, False, False, False, True, False, False, False, True]


def test_process_sample_of_ended_process_is_empty() -> None:
    clock = Clock()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    sampler = ProcessSampler(child.pid, clock)
    clock.now += EVERY_S
    assert sampler.sample()
    clock.now += EVERY_S
    child.communicate(b"\n")
    assert sampler.sample() == {}
