"""What Ray's errors come to in one line."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from infra.coordinator.placement import Node
from infra.coordinator.status import CoordinatorStatus
from infra.errors import ClusterUnavailable
from infra.lanes.driver import _Driver, last_line
from infra.lanes.run_pool import first_room
from infra.spec import SweepLimits


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
