"""What is said of a Ray that cannot be had."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import ray

from infra.driver import local_ray
from infra.driver.cluster import connect_ray
from infra.driver.local_ray import free_ports, log_error_messages
from infra.errors import ClusterUnavailable
from infra.home import Home
from infra.ray_job import JOB_CONFIG, job_address

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `ray.init` raise what it is given."""

    def fail_with(error: Exception) -> None:
        def init(**_: object) -> None:
            raise error

        monkeypatch.setattr(ray, "init", init)

    return fail_with


@pytest.mark.parametrize("error", [Exception("The current node timed out during startup."), OSError("full")])
def test_ray_that_does_not_start_is_cluster_unavailable(
    error: Exception, failing: Any, tmp_path: Path
) -> None:
    failing(error)
    with (
        pytest.raises(ClusterUnavailable, match="a local Ray must start") as told,
        connect_ray(None, Home(tmp_path)),
    ):
        pass
    assert str(error) in str(told.value)


def test_death_of_a_worker_is_logged_and_not_printed(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """As Ray's listener tells it: on stdout a document may be wanted, and whoever reads it parses it."""
    from ray._private import worker

    before = worker.print_to_stdstream
    told = {"lines": ["A worker died at https://me:secret@host"], "pid": "raylet", "is_err": False}
    with caplog.at_level(logging.WARNING, "ray"), log_error_messages():
        worker.print_to_stdstream(told, ignore_prefix=False)
    assert capsys.readouterr().out == ""
    assert "raylet: A worker died at https://" in caplog.text
    assert "secret" not in caplog.text
    assert worker.print_to_stdstream is before


def test_defect_while_connecting_to_ray_is_raised_unchanged(failing: Any, tmp_path: Path) -> None:
    failing(KeyError("no such option"))
    with pytest.raises(KeyError), connect_ray(None, Home(tmp_path)):
        pass


def test_connected_ray_leaves_signal_handlers_to_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that systemd ends would end with a status of Ray's, told as a defect of ours."""
    import signal

    import ray

    from infra.driver import cluster

    taken: list[object] = []

    def init(**options: object) -> None:
        taken.append(signal.signal(signal.SIGTERM, lambda number, frame: None))

    monkeypatch.setattr(ray, "init", init)
    before = signal.getsignal(signal.SIGTERM)
    cluster._init_ray(address="local")
    assert taken == [before]
    assert signal.getsignal(signal.SIGTERM) is before


def test_ray_that_does_not_start_leaves_the_environment_as_it_was(failing: Any, tmp_path: Path) -> None:
    """A notebook's own Ray Train, used afterwards, is set as it was."""
    before = dict(os.environ)
    failing(OSError("full"))
    with pytest.raises(ClusterUnavailable), connect_ray(None, Home(tmp_path)):
        pass
    assert dict(os.environ) == before


@pytest.mark.ray
def test_notebooks_running_ray_is_used_and_left_running(tmp_path: Path) -> None:
    """A process of its own: a test session has one Ray."""
    idle = {"RAY_prestart_worker_first_driver": "0", "RAY_enable_worker_prestart": "0"}  # a second each
    done = subprocess.run(
        [sys.executable, "-m", "tests.infra.driver.notebook", str(tmp_path)],
        env={**os.environ, **idle}, capture_output=True, text=True, timeout=600, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    assert done.stdout.splitlines()[-4:] == [
        "finished 2", "a process has one Ray at a time", "Ray Train's settings: False",
        "actors: Counter alive",
    ]  # fmt: skip


SLOW_AGENTS = """
import sys, time
if any("/agent" in word for word in sys.orig_argv):
    time.sleep(35)  # Ray itself waits for 30 s
"""
CONNECT = """
import sys
from pathlib import Path
from infra.home import Home
from infra.driver.cluster import connect_ray
for folder in sys.argv[1:]:
    with connect_ray(None, Home(Path(folder))) as nodes:
        import ray
        print(len(nodes), ray.get(ray.remote(num_cpus=0)(lambda: "ran").remote()))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_ray_on_a_machine_that_is_slow_starts_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_AGENTS)
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.stdout == "1 ran\n", done.stderr


@pytest.mark.ray
def test_one_process_starts_a_ray_in_one_home_after_another(tmp_path: Path) -> None:
    """Each home has a token of its own, of which Ray's compiled half would remember the first."""
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, str(tmp_path / "one"), str(tmp_path / "two")],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.stdout == "1 ran\n1 ran\n", done.stderr


def test_refusal_of_a_ray_says_the_error_that_ray_ends_its_message_with(failing: Any, tmp_path: Path) -> None:
    failing(RuntimeError("No GCS.\n[E] agent\nray.exceptions.AuthenticationError: RPC error. More"))
    refused = pytest.raises(ClusterUnavailable, match=r"No GCS\. AuthenticationError: RPC error")
    with refused, connect_ray(None, Home(tmp_path)):
        pass


def test_agent_ports_differ_and_nothing_listens_on_them() -> None:
    ports = free_ports(4)
    assert len(set(ports)) == 4
    for port in ports:
        socket.create_server(("", port)).close()
    with socket.create_server(("", ports[0])), patch.object(local_ray, "AGENT_PORTS", ports):
        assert sorted(free_ports(4)) == sorted(ports[1:])


@pytest.mark.slow
@pytest.mark.ray
def test_dead_references_collected_while_ray_ends_do_not_end_the_process(tmp_path: Path) -> None:
    """As the thread that sends to MLflow collects them; Ray ends such a process with status 1."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.infra.driver.leaving_ray", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "document"), done.stderr[-2_000:]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.ray
def test_free_processors_of_unlike_nodes_get_lanes_beside_a_stranger(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.infra.driver.unlike_nodes", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    told = [line for line in done.stdout.splitlines() if line.startswith(("lanes ", "each node"))]
    assert told == ["lanes 4 of 4", "each node is full: True"], done.stderr[-2_000:]  # raylets print as well


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.ray
def test_code_of_each_kind_travels_to_every_node(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.infra.driver.travelling_code", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "VELODROME_STORAGE": str(tmp_path / "storage")},
    )  # fmt: skip
    told = [line for line in done.stdout.splitlines() if line.startswith("kind ")]
    assert told == [
        "kind command complete 4 nodes 2 at home False beside",
        "kind function complete 4 nodes 2 at home False beside",
        "kind trainer complete 4 nodes 2 at home False beside",
    ], done.stdout[-2_000:] + done.stderr[-2_000:]


@pytest.mark.parametrize(
    ("config", "given"),
    [
        (None, {"working_dir": "code"}),
        ('{"runtime_env": {}}', {"working_dir": "code"}),
        ('{"runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}}', {}),
        ("no json", {"working_dir": "code"}),
    ],
)
def test_job_brings_its_own_folder_and_its_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str | None, given: dict[str, str]
) -> None:
    asked: list[Any] = []

    def init(**options: Any) -> None:
        asked.append(options["runtime_env"])
        raise ConnectionError("no cluster; env_vars {'DB_PASSWORD': 'canary-1'}")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv(JOB_CONFIG, raising=False)
    if config is not None:
        monkeypatch.setenv(JOB_CONFIG, config)
    assert job_address() == (None if config is None else "auto")
    refused = pytest.raises(ClusterUnavailable)
    with refused as error, connect_ray("auto", Home(tmp_path), working_dir="code"):
        pass
    assert [{key: env[key] for key in env if key != "excludes"} for env in asked] == [given]
    assert all(".velodrome/" in env["excludes"] for env in asked if env)
    assert "canary-1" not in str(error.value)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_two_sweeps_come_to_equal_shares_and_a_dead_drivers_lanes_go_to_the_other(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.infra.driver.two_sweeps", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    told = [line.partition(" after ")[0] for line in done.stdout.splitlines() if " after " in line]
    expected = ["first {'first': 4}", "second {'first': 2, 'second': 2}", "second alone 4"]
    assert told == expected, done.stdout + done.stderr[-2_000:]
