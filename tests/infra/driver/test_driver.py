"""What the driver makes of what it is told: Ray's errors in one line, limits, who has the sweep."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from infra.coordinator.placement import Node
from infra.coordinator.shell.status import CoordinatorStatus
from infra.driver.coordinator_link import LEAVE_LIMIT_S, CoordinatorLink, last_line
from infra.driver.driver import _Driver
from infra.driver.run_pool import first_room
from infra.errors import ClusterUnavailable
from infra.spec import Resources, SweepLimits


def test_last_line_of_coloured_traceback_is_plain() -> None:
    """Ray colours its remote tracebacks."""
    text = "\x1b[36mray::A()\x1b[39m\n  File x\nModuleNotFoundError: No module named 'infra'\n\n"
    assert last_line(text) == "ModuleNotFoundError: No module named 'infra'"
    assert last_line("  \n") == ""


def test_ray_of_our_own_has_room_before_it_says_so_and_a_cluster_has_what_is_free() -> None:
    nodes = [Node(name="a", cpus=2.0, free_cpus=0.0, free_gpus=0.0)]
    assert [node.cpus for node in first_room(nodes, own_ray=True)] == [2.0]
    assert [node.cpus for node in first_room(nodes, own_ray=False)] == [0.0]


def test_lanes_a_gpu_are_logged_when_they_change(caplog: pytest.LogCaptureFixture) -> None:
    driver = object.__new__(_Driver)
    driver._gpu_lanes = {}
    for why in ("1 lane a GPU", "1 lane a GPU", "4 lanes a GPU"):
        driver._log_gpu_lanes(CoordinatorStatus(gpu_lanes={"mlp": why}))
    assert caplog.messages == [f"gpus: auto: mlp: {lanes} a GPU" for lanes in ("1 lane", "4 lanes")]


def test_lanes_of_a_machine_with_twenty_programs_a_core_get_their_time_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = object.__new__(_Driver)
    limits = SweepLimits(start_s=60.0)
    driver._job = SimpleNamespace(spec=SimpleNamespace(limits=limits))  # type: ignore[assignment]
    driver._pool = SimpleNamespace(planned_lanes=1)  # type: ignore[assignment]
    driver._seen_lane_at = time.monotonic() - 20 * 60.0 + 10.0
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (40.0, 1.0, 1.0))
    driver._check_lanes(CoordinatorStatus())
    monkeypatch.setattr("os.getloadavg", lambda: (1.0, 40.0, 40.0))
    with pytest.raises(ClusterUnavailable, match=r"within 60 s \(limits.start\); but got none did in 60 s"):
        driver._check_lanes(CoordinatorStatus())


@dataclass
class Early:
    """Stands for a process that trains ahead of the lanes."""

    is_at_work: bool = True
    state: str | None = None
    is_to_blame: bool = False
    stopping: str | None = None
    demand: Mapping[str, tuple[Resources, int]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def leave(self) -> None:
        self.told.append("leave")

    def stop(self, why: str) -> None:
        self.stopping = why

    def kill(self) -> None:
        self.told.append("kill")
        self.is_at_work = False


class Actor:
    """Stands for the coordinator's, which answers at once."""

    def __init__(self) -> None:
        self.standing = CoordinatorStatus(waits=True)
        self.taken: list[bool] = []
        self.status = SimpleNamespace(remote=lambda: self.standing)
        self.take_over = SimpleNamespace(remote=self._take_over)

    def _take_over(self, same_driver: bool) -> None:
        self.taken.append(same_driver)
        self.standing = CoordinatorStatus(lanes=2)


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> CoordinatorLink:
    """One with an actor that waits, and no Ray."""
    made = CoordinatorLink(Actor(), None, Early())  # type: ignore[arg-type]
    monkeypatch.setattr(made, "call", lambda send: send())
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(wait=lambda refs, timeout: (refs, [])))
    return made


def test_process_ahead_of_the_lanes_has_the_sweep_until_one_is_up(link: CoordinatorLink) -> None:
    early, actor = link.early, link.actor
    assert link.fetch_status().head_start
    assert early.told == []  # type: ignore[union-attr]
    actor.standing = CoordinatorStatus(waits=True, waiting_lanes=1)  # type: ignore[attr-defined]
    assert link.fetch_status().head_start
    assert early.told == ["leave"]  # type: ignore[union-attr]
    assert actor.taken == []  # type: ignore[attr-defined]
    early.is_at_work = False  # type: ignore[union-attr,misc]
    standing = link.fetch_status()
    assert (standing.lanes, standing.head_start) == (2, False)
    assert actor.taken == [False]  # type: ignore[attr-defined]
    assert link.fetch_status().lanes == 2
    assert actor.taken == [False]  # type: ignore[attr-defined]


def test_process_that_does_not_leave_in_time_is_ended_and_not_charged(
    link: CoordinatorLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is frozen: nobody would ever have the sweep again."""
    now = [0.0]
    link._steady = lambda: now[0]
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    link.actor.standing = CoordinatorStatus(waits=True, waiting_lanes=1)  # type: ignore[attr-defined]
    for now[0] in (5.0, 5.0 + LEAVE_LIMIT_S):
        assert link.fetch_status().head_start
    assert link.early.told == ["leave"]  # type: ignore[union-attr]
    now[0] += 0.1
    link.fetch_status()
    assert link.early.told == ["leave", "kill"]  # type: ignore[union-attr]
    assert not link.fetch_status().head_start
    assert link.actor.taken == [False]  # type: ignore[attr-defined]


def test_process_that_was_killed_leaves_its_trial_to_be_charged(link: CoordinatorLink) -> None:
    link.early = Early(is_at_work=False, is_to_blame=True)
    link.fetch_status()
    assert link.actor.taken == [True]  # type: ignore[attr-defined]


def test_sweep_that_ended_ahead_of_the_lanes_is_never_the_coordinators(link: CoordinatorLink) -> None:
    link.early = Early(is_at_work=False, state="finished")
    assert link.fetch_status().state == "finished"
    assert link.fetch_status().state == "finished"
    assert link.actor.taken == []  # type: ignore[attr-defined]


def test_coordinator_that_came_back_after_its_death_is_told_again(link: CoordinatorLink) -> None:
    link.early = None
    assert link.fetch_status().lanes == 2
    assert link.actor.taken == [True]  # type: ignore[attr-defined]


def test_stop_goes_to_whoever_has_the_sweep_and_waits_for_it(link: CoordinatorLink) -> None:
    link.stop("signal SIGINT")
    standing = link.fetch_status()
    assert (standing.stopping, standing.lanes) == ("signal SIGINT", 1), "it would not be waited for"


def test_lanes_that_cannot_begin_are_heard_of_while_others_train(link: CoordinatorLink) -> None:
    link.actor.standing = CoordinatorStatus(waits=True, start_failures=("boom",))  # type: ignore[attr-defined]
    assert link.fetch_status().start_failures == ("boom",)
