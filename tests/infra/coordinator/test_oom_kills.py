"""The kernel's count of processes that it ended for memory, in both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.coordinator.oom_kills import RECENT_S, KernelOomKills
from tests.infra.conftest import Clock


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("4:memory:/jobs/7\n0::/jobs/7\n", "sys/fs/cgroup/memory/jobs/7/memory.oom_control"),
        ("4:cpu,memory:/jobs/7\n", "sys/fs/cgroup/memory/memory.oom_control"),
        ("0::/jobs/7\n", "sys/fs/cgroup/jobs/7/memory.events"),
        ("0::/\n", "sys/fs/cgroup/memory.events"),
    ],
)
def test_oom_kill_count_that_rose_is_recent_for_a_while(tmp_path: Path, groups: str, file: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    count, clock = tmp_path / file, Clock()
    count.parent.mkdir(parents=True)
    count.write_text("low 0\noom_kill 3\n")
    kills = KernelOomKills(tmp_path, clock)
    assert not kills.has_recent()
    count.write_text("low 0\noom_kill 4\n")
    assert kills.has_recent()
    clock.now += RECENT_S / 2
    assert kills.has_recent()
    clock.now += RECENT_S
    assert not kills.has_recent()


def test_oom_kills_without_counter_file_are_none(tmp_path: Path) -> None:
    assert not KernelOomKills(tmp_path).has_recent()
