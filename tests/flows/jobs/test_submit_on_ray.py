"""Own code as a job of a real head: submitted, stopped, carried on, and no secret of it anywhere."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, inspect, text

from tests.flows.jobs.real_head import RealHead, run_head
from tests.infra.tracking.servers import Server
from tests.postgres import run_postgres

LIMIT_S = 600
CANARIES = {"DB_PASSWORD": "canary-db-1", "MLFLOW_PASSWORD": "canary-ml-2", "OWN_API_TOKEN": "canary-env-3"}
SWEEP = """name: own
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 4, epochs: 20}}
search: {{pruner: none, sampler: random}}
families:
  own_code.train:train: {{space: {{rate: {{type: float, low: 0.1, high: 0.2}}}}, resources: {{cpus: 1}}}}
ledger: {ledger}
tracking: {{uri: "{tracking}"}}
"""
TRAIN = """import time

from own_code.pause import PAUSE_S


def train(trial):
    for _ in range(trial.budget.epochs):
        time.sleep(PAUSE_S)
        trial.report(accuracy=1.0 - trial.params["rate"])
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_own_code_is_submitted_stopped_and_carried_on_and_no_secret_is_seen(tmp_path: Path) -> None:
    mlflow = Server(tmp_path / "mlflow")
    try:
        with run_postgres() as postgres:
            ledger = postgres.database()
            _write_project(tmp_path / "code", ledger, mlflow.url)
            with run_head(tmp_path, _secrets(tmp_path)) as head, _command_lines() as seen:
                stopped = _stop_when_training(head, tmp_path / "code")
                finished = _submit(head, tmp_path / "code")
                jobs = _run(head, "ray", "job", "list", "--address", head.address)
                assert "4/4 done" in finished, finished
                logs = _texts_below(head.session / "session_latest" / "logs")
            kept = [_rows(ledger), *_texts_below(tmp_path / "mlflow"), *_texts_below(tmp_path / "home")]
    finally:
        mlflow.end()
    texts = [stopped, finished, jobs, *logs, *kept, *seen, (tmp_path / "head.log").read_text()]
    token = (tmp_path / "token").read_text()
    assert "own_code.train" in kept[0]  # what is searched was written
    assert [
        found[max(0, found.find(secret) - 300) :][:600]
        for found in texts
        for secret in (*CANARIES.values(), token)
        if secret in found
    ] == []


def _secrets(folder: Path) -> dict[str, str]:
    """The head's: one by file, the others by its environment."""
    (folder / "db-password").write_text(CANARIES["DB_PASSWORD"] + "\n")
    more = {name: value for name, value in CANARIES.items() if name != "DB_PASSWORD"}
    return {**more, "DB_PASSWORD_FILE": str(folder / "db-password")}


def _write_project(folder: Path, ledger: str, tracking: str) -> None:
    (folder / "own_code").mkdir(parents=True)
    (folder / "own_code" / "train.py").write_text(TRAIN)
    (folder / "own_code" / "pause.py").write_text("PAUSE_S = 1.0\n")
    sweep = SWEEP.format(
        ledger=ledger.replace("velodrome@", "velodrome:${DB_PASSWORD}@"),
        tracking=tracking.replace("://", "://me:${MLFLOW_PASSWORD}@"),
    )
    (folder / "own.yaml").write_text(sweep)


def _submit(head: RealHead, folder: Path) -> str:
    words = ["velodrome", "submit", "own.yaml", "--address", head.address]
    ended = subprocess.run(
        words, env=dict(head.environ), cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def _stop_when_training(head: RealHead, folder: Path) -> str:
    """What was seen of a job that `ray job stop` ended: paused, within the time that Ray gives it."""
    lines: list[str] = []
    with subprocess.Popen(
        ["velodrome", "submit", "own.yaml", "--address", head.address],
        env=dict(head.environ), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as submitted:  # fmt: skip
        assert submitted.stdout is not None
        for line in submitted.stdout:
            lines.append(line)
            if " running · " in line:
                job = next(word for word in "".join(lines).split() if word.startswith("own-"))
                _run(head, "ray", "job", "stop", job, "--address", head.address)
                break
        lines += submitted.stdout.readlines()
        said = "".join(lines)
        assert submitted.wait(LIMIT_S) == 143, said
    assert "carries own on where it stopped" in said
    return said


def _run(head: RealHead, *words: str) -> str:
    done = subprocess.run(words, env=dict(head.environ), capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _process_names() -> list[str]:
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


@contextmanager
def _command_lines() -> Iterator[set[str]]:
    """Every command line that a process of this machine had meanwhile."""
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            seen.update(_process_names())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join(30)


def _texts_below(folder: Path) -> list[str]:
    """Each file's bytes, those of databases too, as text."""
    return [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]


def _rows(url: str) -> str:
    """All that a database holds."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            rows = [connection.execute(text(f'select * from "{name}"')).all() for name in tables]
    finally:
        engine.dispose()
    return repr(rows)
