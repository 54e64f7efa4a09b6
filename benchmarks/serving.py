"""`velodrome serve` beside `mlflow models serve`, with the same model, the same bodies and the same clients.

    python -m benchmarks.serving --clients 1 8 64 --seconds 6 --rounds 3

Both servers run on loopback with one process that computes (Velodrome's has another for HTTP, MLflow's does
both in one); only the one that is measured runs. Each number of clients is measured for so many seconds after
a warm-up; the load comes from a process of its own (`load.py`), whose own most is measured first, against a
server that answers at once. Rounds take the servers in turn, so that a machine that slows down slows all of
them; the medians are compared, beside the processor time that a server with all its processes takes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import psutil

if TYPE_CHECKING:
    from benchmarks.load import LoadSummary

ROOT = Path(__file__).resolve().parents[1]
UP_LIMIT_S = 120.0
HOSTILE = [
    b'{"instances": [',
    b'{"instances": [["a", true]]}',
    b'{"instances": [[NaN]]}',
    b'{"instances": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    b'{"dataframe_split": {"columns": ["x"], "data": [[1], [2, 3]]}}',
]
END_LIMIT_S = 30.0
NOTHING = """
import asyncio, sys, uvicorn
async def app(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
uvicorn.run(app, port=int(sys.argv[1]), log_config=None, lifespan="off")
"""


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--family", default="linear_regression")
    parser.add_argument("--hostile", type=int, default=0, help="so many beside them who send nonsense")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--servers", nargs="+", default=["nothing", "mlflow", "velodrome"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        body, model = _model(Path(folder), given.family)
        servers = {
            "nothing": lambda port: [sys.executable, "-c", NOTHING, str(port)],
            "mlflow": lambda port: [
                sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local",
                "--port", str(port), "--workers", "1",
            ],
            "velodrome": lambda port: [
                sys.executable, "-m", "flows.cli", "serve", "bench", "--port", str(port),
            ],
        }  # fmt: skip
        found: defaultdict[tuple[str, int], list[LoadSummary]] = defaultdict(list)
        for name, command in [*servers.items()] * given.rounds:
            if name in given.servers:
                with _server(command, Path(folder)) as (port, process):
                    for clients in given.clients:
                        one = _measure(name, port, process, body, clients, given.seconds)
                        found[name, clients].append(one)
                        if given.hostile and name == "velodrome":
                            _measure_hostile(port, body, clients, given.seconds, given.hostile)
        for clients in given.clients:
            _compare(found["mlflow", clients], found["velodrome", clients], clients)


def _measure(
    name: str, port: int, process: psutil.Process, body: Path, clients: int, seconds: float
) -> LoadSummary:
    """A server under load; the row has the processor time that it and all that it started took a request."""
    _run_load(port, body, clients, min(2.0, seconds))
    before = _processor_s(process)
    found = _run_load(port, body, clients, seconds)
    spent_ms = (_processor_s(process) - before) * 1000 / max(1, found["requests"])
    _print_row(name, found, f"  {spent_ms:.2f} ms of processor time a request")
    return found


def _processor_s(process: psutil.Process) -> float:
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def _compare(mlflow: Sequence[LoadSummary], velodrome: Sequence[LoadSummary], clients: int) -> None:
    """The medians over the rounds, where both were measured."""
    if mlflow and velodrome:
        rate, theirs = (
            statistics.median(one["per_second"] for one in given) for given in (velodrome, mlflow)
        )
        tail, their_tail = (
            statistics.median(one["p99_ms"] for one in given) for given in (velodrome, mlflow)
        )
        print(
            f"velodrome / mlflow at {clients} clients: {rate / theirs:.1f} times the requests a second, "
            f"p99 {tail:.1f} against {their_tail:.1f} ms ({len(velodrome)} rounds)"
        )


def _model(folder: Path, family: str) -> tuple[Path, Path]:
    """A body of one row, and the folder of the model; it is registered in a home of its own too."""
    sys.path.insert(0, str(ROOT))
    from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle, save_mlflow_folder
    from trainers.bundle.bundle import read_description
    from trainers.bundle.frames import frame_to_json

    bundle = a_bundle(family, folder / "bundle", folder / "cache")
    RegistryFixture(folder).add("bench", bundle, alias="champion")
    save_mlflow_folder(folder / "model", bundle)
    rows = frame_to_json(read_description(bundle).example[:1])
    (folder / "body.json").write_text(json.dumps({"dataframe_split": rows}))
    return folder / "body.json", folder / "model"


@contextlib.contextmanager
def _server(command: Callable[[int], list[str]], folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environ = {
        **os.environ, "PYTHONPATH": str(ROOT), "VELODROME_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # mlflow runs `uvicorn`
    }  # fmt: skip
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            command(port), env=environ, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_until_up(server, port, folder / "server.log")
        yield port, psutil.Process(server.pid)
    finally:
        server.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(END_LIMIT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def _wait_until_up(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() < began + UP_LIMIT_S and server.poll() is None:
        with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            print(f"up after {time.monotonic() - began:.1f} s", flush=True)
            return
        time.sleep(0.2)
    raise SystemExit(f"the server did not come up:\n{log.read_text()[-2000:]}")


def _run_load(port: int, body: Path, clients: int, seconds: float) -> LoadSummary:
    return _load_result(_start_load(port, [body], clients, seconds), seconds)


def _start_load(port: int, bodies: Sequence[Path], clients: int, seconds: float) -> subprocess.Popen[str]:
    command = [
        sys.executable, str(ROOT / "benchmarks" / "load.py"), "--port", str(port), "--clients", str(clients),
        "--seconds", str(seconds), "--body", *map(str, bodies),
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _load_result(load: subprocess.Popen[str], seconds: float) -> LoadSummary:
    found: LoadSummary = json.loads(load.communicate(timeout=seconds + 120)[0])
    return found


def _measure_hostile(port: int, body: Path, clients: int, seconds: float, hostile: int) -> None:
    bad = []
    for number, content in enumerate(HOSTILE):
        bad.append(body.parent / f"hostile-{number}.json")
        bad[-1].write_bytes(content)
    others = _start_load(port, bad, hostile, seconds)
    _print_row("beside bad", _run_load(port, body, clients, seconds))
    _print_row("the bad", _load_result(others, seconds))


def _print_row(name: str, found: LoadSummary, more: str = "") -> None:
    print(
        f"{name:10} {found['clients']:3} clients  {found['per_second']:8.1f} /s"
        f"  p50 {found['p50_ms']:7.2f} ms  p99 {found['p99_ms']:7.2f} ms  {found['statuses']}{more}",
        flush=True,
    )


if __name__ == "__main__":
    main()
