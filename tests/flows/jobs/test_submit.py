"""A sweep as a job: what travels, what is refused, what is followed, and how it ends."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.jobs.submit import server_address, submit
from infra.errors import ClusterUnavailable, InterruptedCommand, WrongInput
from infra.home import Home
from infra.jobs import client
from tests.flows.conftest import CommandResult
from tests.infra.jobs.job_server import FakeJobServer, run_job_server

FILE = """name: digits
data: {source: builtin:digits}
budget: {trials: 2, epochs: 1}
families: {mlp: {}}
"""
OWN = """name: own
data: {source: none}
objective: {metric: accuracy, direction: maximize}
families:
  own_train:train: {space: {rate: {type: float, low: 0.1, high: 0.2}}}
"""
# Ray's client leaves the connection by which it follows a log to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*Connection:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def server(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJobServer]:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # what is written wins over them
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(client, "LOOK_EVERY_S", 0.05)
    Path("digits.yaml").write_text(FILE)
    with run_job_server() as started:
        yield started
    gc.collect()  # what is left open is told of here, and not in another test


def test_submitted_sweep_is_followed_to_its_end(
    server: FakeJobServer, velodrome: Callable[..., CommandResult]
) -> None:
    Path("other.csv").write_text("a,b\n1,2\n")
    words = ("submit", "digits.yaml", "--trials", "3", "--new", "--address", server.address)
    ended = velodrome(*words)
    assert (ended.status, ended.out) == (0, "one\ntwo\n"), ended.err
    ((job, kept),) = server.jobs.items()
    assert kept["entrypoint"] == "velodrome sweep digits.yaml --set budget.trials=3 --new"
    assert kept["runtime_env"]["env_vars"] == client.STOP_WAIT
    assert list(server.packages.values()) == [["digits.yaml"]]
    assert f"ray job stop {job} --address {server.address}" in ended.err
    assert ended.err.endswith(f"job {job} succeeded\n")


@pytest.mark.parametrize(
    ("ends", "status"),
    [(("FAILED", "exit 3", 3), 3), (("FAILED", "exit 2", 2), 2), (("STOPPED", "stopped", -15), 143)],
)
def test_job_ends_the_command_with_the_status_of_its_sweep(
    server: FakeJobServer,
    velodrome: Callable[..., CommandResult],
    ends: tuple[str, str, int],
    status: int,
) -> None:
    server.ends = ends
    ended = velodrome("submit", "digits.yaml", "--address", server.address, "--json")
    assert ended.status == status
    document = json.loads(ended.out)
    assert (document["state"], document["exit_code"]) == (ends[0].lower(), status)
    assert "one\ntwo\n" in ended.err


def test_job_that_cannot_start_is_told_with_what_ray_says(server: FakeJobServer) -> None:
    server.ends = ("FAILED", "runtime_env setup failed: no space", None)
    with pytest.raises(ClusterUnavailable, match=r"no space.*ray job logs digits-"):
        submit("digits.yaml", address=server.address)
    server.ends = ("FAILED", "sh: velodrome: not found", 127)
    with pytest.raises(ClusterUnavailable, match="must have the command velodrome"):
        submit("digits.yaml", address=server.address)


def test_log_is_shown_once_though_the_connection_breaks(server: FakeJobServer) -> None:
    server.log = "".join(f"line {number}\n" for number in range(50))
    server.cuts, server.refuses = [0, 100, 40, 250], 2
    shown: list[str] = []
    submit("digits.yaml", address=server.address, show=shown.append)
    assert "".join(shown) == server.log


def test_cluster_that_stays_away_ends_the_following_with_a_way_back(
    server: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "AWAY_LIMIT_S", 0.2)
    server.holds = True

    def fail(_text: str) -> None:
        server.status = 503

    with pytest.raises(ClusterUnavailable, match="the same command follows it again"):
        submit("digits.yaml", address=server.address, show=fail)


def test_ctrl_c_ends_the_following_and_not_the_job(server: FakeJobServer) -> None:
    server.holds = True
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))

    def show(_text: str) -> None:
        if not interrupt.is_alive():
            interrupt.start()

    with pytest.raises(InterruptedCommand, match="the job goes on") as told:
        submit("digits.yaml", address=server.address, show=show)
    ((job, kept),) = server.jobs.items()
    assert kept["status"] == "RUNNING"
    assert told.value.exit_code == 130
    assert f"velodrome submit digits.yaml --address {server.address}` follows it again" in told.value.do
    assert f"ray job stop {job}" in told.value.do


def test_same_submission_again_follows_the_running_job(server: FakeJobServer) -> None:
    first = submit("digits.yaml", address=server.address, follow=False)
    assert (first.state, first.joined, first.exit_code) == ("submitted", False, None)
    other = submit("digits.yaml", overrides=["seed=2"], address=server.address, follow=False)
    assert other.job != first.job
    again = submit("digits.yaml", address=server.address)
    assert (again.job, again.joined, again.state) == (first.job, True, "succeeded")
    later = submit("digits.yaml", address=server.address, follow=False)
    assert later.job not in {first.job, other.job}
    assert len(server.packages) == 1


def test_own_code_travels_without_secrets_and_homes(
    server: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".env", "deep/.env", "key.pem", "token.txt", ".velodrome/ledger.db", "home/mlflow.db"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("canary-3")
    Path("own_train.py").write_text("def train(trial):\n    trial.report(accuracy=1.0)\n")
    Path("deep/own.yaml").write_text(OWN)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "token.txt")
    monkeypatch.setenv("VELODROME_HOME", "home")
    made = submit("deep/own.yaml", address=server.address, follow=False)
    assert made.command == "velodrome sweep deep/own.yaml"
    (names,) = server.packages.values()
    assert names == ["deep/own.yaml", "digits.yaml", "own_train.py"]


def test_own_code_beside_the_file_travels_with_it(server: FakeJobServer) -> None:
    Path("sweeps").mkdir()
    Path("src").mkdir()
    Path("src/far_train.py").write_text("def train(trial):\n    trial.report(accuracy=1.0)\n")
    text = OWN.replace("own_train", "far_train")
    Path("own.yaml").write_text(text + "code: {root: src}\n")
    submit("own.yaml", address=server.address, follow=False)
    assert [*server.packages.values()][-1] == ["digits.yaml", "own.yaml", "src/far_train.py"]
    Path("sweeps/own.yaml").write_text(text + "code: {root: ../src}\n")
    with pytest.raises(WrongInput, match="must lie in the folder of the code"):
        submit("sweeps/own.yaml", address=server.address, follow=False)


def test_data_beside_the_file_travels_and_data_above_is_refused(server: FakeJobServer) -> None:
    Path("in").mkdir()
    for place in ("in/rows.csv", "above.csv", "in/stray.csv"):
        Path(place).write_text("a,b\n" + "1.5,x\n2.5,y\n" * 40)
    text = "name: rows\ndata: {source: 'csv:rows.csv', columns: {target: b}}\nfamilies: {mlp: {}}\n"
    Path("in/rows.yaml").write_text(text)
    submit("in/rows.yaml", address=server.address, follow=False)
    assert [*server.packages.values()] == [["rows.csv", "rows.yaml"]]
    Path("in/rows.yaml").write_text(text.replace("csv:rows", "csv:../above"))
    with pytest.raises(WrongInput, match="below its folder"):
        submit("in/rows.yaml", address=server.address, follow=False)


@pytest.mark.parametrize(
    "line",
    [
        "ledger: postgresql+psycopg://me:canary-1@db/velodrome",
        "tracking: {uri: 'https://me:canary-1@mlflow'}",
        "storage: s3://b/x?secret=canary-1",
    ],
)
def test_secret_in_what_would_travel_is_refused_unsaid(server: FakeJobServer, line: str) -> None:
    Path("digits.yaml").write_text(FILE + line + "\n")
    with pytest.raises(WrongInput, match=r"hold no secret.*\$\{NAME\}") as told:
        submit("digits.yaml", address=server.address)
    assert "canary-1" not in str(told.value)
    Path("digits.yaml").write_text(FILE + line.replace("canary-1", "${PASSWORD}") + "\n")
    submit("digits.yaml", address=server.address, follow=False)
    Path("digits.yaml").write_text(FILE)
    with pytest.raises(WrongInput, match="--set ledger must hold no secret") as told:
        submit("digits.yaml", overrides=["ledger=postgresql://me:canary-1@db/v"], address=server.address)
    assert "canary-1" not in str(told.value)


def test_wrong_file_is_refused_before_the_cluster_is_asked(server: FakeJobServer) -> None:
    server.status = 500
    Path("digits.yaml").write_text(FILE.replace("mlp", "mpl"))
    with pytest.raises(WrongInput, match="mlp"):
        submit("digits.yaml", address=server.address)


def test_server_that_wants_a_token_is_told_apart_from_none(server: FakeJobServer) -> None:
    server.status = 401
    with pytest.raises(ClusterUnavailable, match="RAY_AUTH_TOKEN_PATH"):
        submit("digits.yaml", address=server.address)
    began = time.monotonic()
    with pytest.raises(ClusterUnavailable, match=r"must answer at http://127\.0\.0\.1:1"):
        submit("digits.yaml", address="http://127.0.0.1:1")
    assert time.monotonic() - began < 20


def test_server_of_another_kind_is_told_as_none_of_rays(server: FakeJobServer) -> None:
    server.version = ""
    with pytest.raises(ClusterUnavailable, match="a Ray job server must answer"):
        submit("digits.yaml", address=server.address)


def test_folder_that_ray_does_not_take_is_refused_before_it_is_sent(
    server: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "GCS_STORAGE_MAX_SIZE", 1 << 20)
    Path("large_train.py").write_text("def train(trial):\n    trial.report(accuracy=1.0)\n")
    Path("own.yaml").write_text(OWN.replace("own_train", "large_train"))
    Path("weights.bin").write_bytes(os.urandom(2 << 20))
    with pytest.raises(WrongInput, match=r"2 MiB when zipped.*\.rayignore"):
        submit("own.yaml", address=server.address, follow=False)
    assert server.jobs == {}
    Path(".rayignore").write_text("weights.bin\n")
    submit("own.yaml", address=server.address, follow=False)
    assert len(server.jobs) == 1


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://head:8265/", "http://head:8265"),
        ("https://ray.example", "https://ray.example"),
        ("http://[::1]:8265", "http://[::1]:8265"),
        (None, "http://env:1"),
    ],
)
def test_server_address_is_one_of_http(written: str | None, meant: str) -> None:
    assert server_address(written, {"RAY_ADDRESS": "http://env:1"}) == meant


@pytest.mark.parametrize(
    "written", ["head:6379", "auto", "ray://head:1", "http://", "http://h:x", "http://h/a", "http://u:pw1@h"]
)
def test_other_addresses_are_refused(written: str) -> None:
    with pytest.raises(WrongInput) as told:
        server_address(written, {})
    assert "pw1" not in str(told.value)
    with pytest.raises(WrongInput, match="must be given"):
        server_address(None, {})
