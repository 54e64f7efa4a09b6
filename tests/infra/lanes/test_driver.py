"""What Ray's errors come to in one line."""

from __future__ import annotations

from infra.coordinator.placement import Node
from infra.lanes.driver import last_line
from infra.lanes.run_pool import first_room


def test_last_line_of_coloured_traceback_is_plain() -> None:
    """Ray colours its remote tracebacks."""
    text = "\x1b[36mray::A()\x1b[39m\n  File x\nModuleNotFoundError: No module named 'infra'\n\n"
    assert last_line(text) == "ModuleNotFoundError: No module named 'infra'"
    assert last_line("  \n") == ""


def test_ray_of_our_own_has_room_before_it_says_so_and_a_cluster_has_what_is_free() -> None:
    nodes = [Node(name="a", cpus=2.0, free_cpus=0.0, free_gpus=0.0)]
    assert [node.cpus for node in first_room(nodes, own_ray=True)] == [2.0]
    assert [node.cpus for node in first_room(nodes, own_ray=False)] == [0.0]
