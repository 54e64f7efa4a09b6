"""The kernel's count of processes that it ended for memory, in both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.coordinator.shell.oom_kills import RECENT_S, KernelOomKills, is_oom_killed_by_ray
from tests.infra.conftest import Clock


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("4:memory:/jobs/7\n0::/jobs/7\n", "sys/fs/cgroup/memory/jobs/7/memory.oom_control"),
        ("4:cpu,memory:/jobs/7\n", "sys/fs/cgroup/memory/memory.oom_control"),
        ("0::/jobs/7\n", "sys/fs/cgroup/jobs/7/memory.events"),
        ("0::/\n", "sys/fs/cgroup/memory.events"),
        ("0::/a:b\n", "sys/fs/cgroup/a:b/memory.events"),
        ("3:cpu:/x\n4:memory:/y\n", "sys/fs/cgroup/memory/y/memory.oom_control"),
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
    clock.now += RECENT_S / 2
    assert not kills.has_recent()
    count.write_text("low 0\noom_kill 2\n")  # another cgroup's, after a move
    assert not kills.has_recent()
    count.write_text("low 0\noom_kill 3\n")
    assert kills.has_recent()


def test_oom_kills_without_counter_file_are_none(tmp_path: Path) -> None:
    assert not KernelOomKills(tmp_path).has_recent()


def test_first_kill_that_is_counted_where_nothing_was_is_recent(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("3:cpu:/x\n0::/jobs\n")
    kills, folder = KernelOomKills(tmp_path, Clock()), tmp_path / "sys/fs/cgroup"
    folder.mkdir(parents=True)
    (folder / "memory.events").write_text("low 7\n")
    assert not kills.has_recent()
    (folder / "memory.events").write_text("low 7\noom_kill 1\n")
    assert kills.has_recent()


class Cause:
    """Of an actor's death, as Ray's table has it."""

    def __init__(self, *fields: str) -> None:
        self._fields = fields

    def HasField(self, name: str) -> bool:
        return name in self._fields


@pytest.mark.parametrize(
    ("actor", "known", "killed"),
    [
        ("a", {"DeathCause": Cause("oom_context")}, True),
        ("a", {"DeathCause": Cause("actor_died_error_context")}, False),
        ("a", {}, False),
        ("", {"DeathCause": Cause("oom_context")}, False),
        ("a", RuntimeError("no head"), False),
    ],
)
def test_actor_that_rays_monitor_ended_is_known_from_its_table(
    actor: str, known: object, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray._private.state

    def actors(_: str) -> object:
        if isinstance(known, Exception):
            raise known
        return known

    monkeypatch.setattr(ray._private.state, "actors", actors)
    assert is_oom_killed_by_ray(actor) is killed
