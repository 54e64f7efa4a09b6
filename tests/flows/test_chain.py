"""From sweep to champion and back by the real commands: on the embedded store, and on an MLflow server on
PostgreSQL, where two promotions meet too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import postgres
from tests.faults.harness import ROOT, Stage, children, until
from tests.flows.inference.test_serve import Clients, ask, free_port, run_server, seconds_until
from tests.infra.tracking.servers import Server

FILE = """
name: {name}
data: {{source: builtin:digits}}
objective: {{metric: accuracy}}
budget: {{trials: {trials}, epochs: {epochs}}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 1}}
keep: {{models: all}}
model: digits
families:
  image_cnn:
    space:
      learning_rate: {{type: float, low: {low}, high: {high}, log: true}}
      optimizer: {{type: categorical, choices: [adam]}}
      channels: [{channels}]
      dense: [32]
"""
# A weak and a good trial: what follows the chain needs no second sweep.
BOTH = """
name: digits
data: {source: builtin:digits}
objective: {metric: accuracy}
budget: {trials: 2, epochs: 5}
search: {sampler: random, pruner: none}
resources: {lanes: 1}
keep: {models: all}
model: digits
families:
  image_cnn:
    start_with: [{learning_rate: 1.0e-4}, {learning_rate: 4.0e-3}]
    space:
      learning_rate: {type: float, low: 1.0e-5, high: 1.0e-2, log: true}
      optimizer: {type: categorical, choices: [adam]}
      channels: [16]
      dense: [32]
"""
WEAK = {"name": "first", "trials": 1, "epochs": 1, "low": 2e-3, "high": 3e-3, "channels": 4}
BETTER = {"name": "second", "trials": 2, "epochs": 5, "low": 3e-3, "high": 5e-3, "channels": 16}
ROWS = 40
FOLLOWED_WITHIN_S = 3.0
JUDGES_WITHIN_S = 60.0


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A home of its own."""
    return Stage(tmp_path / "chain", {"OMP_NUM_THREADS": "1", "COLUMNS": "120"})


def output_of(stage: Stage, *words: str) -> str:
    """What a command that ends well prints."""
    done = stage.run(*words)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def document_of(stage: Stage, *words: str) -> Any:
    """The same as a document."""
    return json.loads(output_of(stage, *words, "--json"))


def moves(stage: Stage) -> list[tuple[str, int | None, int | None]]:
    """What the history says was moved, once it is verified."""
    history = document_of(stage, "history", "digits", "--verify")
    assert (history["verified"], history["state"]) == (True, "settled")
    entries = [e for e in history["entries"] if e["kind"] in ("promotion", "rollback", "adoption", "foreign")]
    assert all(entry["applied"] for entry in entries)
    assert entries[-1]["target"] == history["champion"]
    return [(entry["kind"], entry["source"], entry["target"]) for entry in entries]


def a_picture_a_row(count: int = ROWS) -> tuple[list[dict[str, Any]], list[int]]:
    """Raw rows as the model takes them, and what they show."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pictures = (found.images[:count, :, :, None] * (255 / 16)).round().astype(np.uint8)
    return [{"image": picture.tolist()} for picture in pictures], found.target[:count].tolist()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)  # a dozen commands, each of which imports much
def test_sweep_promote_serve_predict_and_rollback_agree(stage: Stage, tmp_path: Path) -> None:
    stage.write("digits.yaml", BOTH)
    output_of(stage, "sweep", "digits.yaml")
    first = document_of(stage, "promote", "digits", "--trial", "0", "--reason", "the first")
    assert (first["outcome"], first["version"], first["former"]) == ("moved", 1, None)
    rows, labels = a_picture_a_row()
    body, port = json.dumps({"dataframe_records": rows[:4]}).encode(), free_port()
    command = [sys.executable, "-m", "flows.cli", "serve", "digits", "--port", str(port)]
    environ = {
        **stage.environment, "VELODROME_HOME": str(stage.home.path),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }  # fmt: skip
    with run_server(command, port, environ, tmp_path / "serve.log"):
        status, version, weak = ask(port, body)
        assert (status, version) == (200, "digits/1")
        with Clients(port, body, count=4, pause_s=0.2) as clients:
            second = document_of(stage, "promote", "digits")
            assert (second["outcome"], second["version"], second["former"]) == ("moved", 2, 1)
            seconds_until(lambda: ask(port, body)[1] == "digits/2", FOLLOWED_WITHIN_S)
            check_batch(stage, rows, labels, ask(port, body)[2]["predictions"])
            output_of(stage, "rollback", "digits", "--reason", "to see it")
            seconds = seconds_until(lambda: ask(port, body)[1] == "digits/1", FOLLOWED_WITHIN_S)
            time.sleep(0.5)
        assert not clients.failures
        assert {(status, version) for status, version, _ in clients.seen} == {
            (200, "digits/1"), (200, "digits/2"),
        }  # fmt: skip
        assert answers_agree(ask(port, body)[2], weak)
    check_answers(clients)
    print(f"back {seconds:.2f} s after the rollback; {sum(clients.seen.values())} requests")
    assert moves(stage) == [("promotion", None, 1), ("promotion", 1, 2), ("rollback", 2, 1)]


def check_batch(stage: Stage, rows: list[Any], labels: list[int], served: list[Any]) -> None:
    """The champion's answers for a file: as those that are served, and mostly right."""
    stage.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    done = document_of(stage, "predict", "digits", "rows.jsonl")
    assert (done["model"], done["rows"], done["warning"]) == ("digits/2", len(rows), "")
    found = [json.loads(line) for line in Path(done["output"]).read_text().splitlines()]
    assert [row["image"] for row in found] == [row["image"] for row in rows]
    assert np.mean([int(row["prediction"]) == label for row, label in zip(found, labels, strict=True)]) > 0.8
    assert answers_agree({"predictions": served}, {"predictions": found[: len(served)]})


def numbers(document: Any) -> list[float]:
    """Every class's probability for every row of an answer."""
    return [row[f"p_{digit}"] for row in document["predictions"] for digit in range(10)]


def answers_agree(one: Any, other: Any) -> bool:
    """Whether two answers come of one model: the last digits depend on the size of the batch."""
    return bool(np.allclose(numbers(one), numbers(other), rtol=1e-4, atol=1e-6))


def check_answers(clients: Clients) -> None:
    """Each version always says the same, and the two differ."""
    by_version: dict[str, list[Any]] = {}
    for _, version, document in clients.seen:
        by_version.setdefault(version, []).append(json.loads(document))
    one, two = by_version["digits/1"], by_version["digits/2"]
    assert all(answers_agree(answer, one[0]) for answer in one)
    assert all(answers_agree(answer, two[0]) for answer in two)
    assert not answers_agree(one[0], two[0])


@pytest.fixture
def on_postgres(stage: Stage, tmp_path: Path) -> Iterator[Stage]:
    """Two sweeps for one model, the second better and the first one's winner confirmed; then an MLflow server
    on PostgreSQL for tracking and registry."""
    for values in (WEAK, BETTER):
        stage.write(f"{values['name']}.yaml", FILE.format(**values))
        output_of(stage, "sweep", f"{values['name']}.yaml")
    output_of(stage, "confirm", "first", "--top", "1", "--seeds", "2")
    with postgres.run_postgres() as database:
        server = Server(tmp_path / "server", database.database())
        try:
            yield replace(stage, environment={**stage.environment, "MLFLOW_TRACKING_URI": server.url})
        finally:
            server.end()


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)  # a dozen commands, each of which imports much
def test_promotions_that_meet_on_postgres_move_in_one_order(on_postgres: Stage) -> None:
    stage = on_postgres
    first = document_of(stage, "promote", "first")
    assert first["version"] == 1
    assert "seed" in first["candidate"]  # a confirmed run
    with pause_while_judging(stage, "promote", "second", "--trial", "0") as slow:
        quick = document_of(stage, "promote", "second", "--trial", "1")
        assert (quick["outcome"], quick["version"], quick["former"]) == ("moved", 3, 1)
    _, err = slow.communicate(timeout=600)
    assert slow.returncode == 3, err
    assert "nobody else must change digits" in err
    assert "promotion of version 3" in err
    assert document_of(stage, "rollback", "digits")["version"] == 1
    assert moves(stage) == [("promotion", None, 1), ("promotion", 1, 3), ("rollback", 3, 1)]


@contextlib.contextmanager
def pause_while_judging(stage: Stage, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A promotion that is stopped while it asks a model in a new interpreter, and goes on after the block."""
    process = stage.start(*words)
    try:
        until(lambda: bool(children(process, "trial_use")), JUDGES_WITHIN_S)
        os.killpg(process.pid, signal.SIGSTOP)
        yield process
        os.killpg(process.pid, signal.SIGCONT)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
