"""Machines in namespaces are what the tests of clusters take them for."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from tests.cluster.machines import make_network
from tests.faults.harness import children, until

ASK = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2).close()"
ANSWER = "import socket; s = socket.create_server(('0.0.0.0', 7000))\nwhile True: s.accept()"


@pytest.mark.cluster
def test_machine_has_name_network_and_processes_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    with make_network(tmp_path, ["left", "right"]) as network:
        left, right = network.machines.values()
        assert left.check("hostname").strip() == "left"
        answering = right.start(sys.executable, "-c", ANSWER)
        until(lambda: left.run(sys.executable, "-c", ASK, "right", "7000").returncode == 0, 30)
        network.unplug(right)
        assert left.run(sys.executable, "-c", ASK, "right", "7000").returncode != 0
        network.plug_again(right)
        until(lambda: left.run(sys.executable, "-c", ASK, "right", "7000").returncode == 0, 30)
        assert "ANSWER" not in left.check("cat", "/proc/1/cmdline")
        left.check("touch", "/tmp/ray/mine")
        assert right.check("ls", "/tmp/ray").strip() == ""
        right.end()
        answering.communicate(timeout=30)
        assert answering.returncode != 0
    assert not children(psutil.Process(), "infinity")
