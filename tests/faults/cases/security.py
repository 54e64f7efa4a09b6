"""Pickles that somebody handed over, and passwords that must not be handed on."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import subprocess
import sys
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.coordinator.messages import Assignment, AttemptResult
from infra.lanes.attempt import AttemptRunner
from infra.lanes.attempt_hooks import AttemptHooks
from infra.lanes.settings import LaneSettings
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.spec import Budget, Objective, Resources
from infra.storage.checkpoints import CheckpointStore, verify_folder, write_folder
from infra.storage.sealed_folders import read_tensors
from infra.tracking.mlflow_environment import set_defaults
from tests.faults.cases.checkpoints import Nobody, save, step_of
from tests.faults.harness import ROOT
from tests.faults.outcome import Outcome, Pace, case
from tests.infra.conftest import Bench, family, hello, sweep
from tests.infra.tracking.story import FACTS, Story, a_spec
from trainers.bundle.bundle import WEIGHTS, load_bundle
from trainers.data.sources.arrays import read_npz
from trainers.errors import InputError
from trainers.types import Ranks

# -- pickles -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Payload:
    """Unpickled, it leaves a file."""

    canary: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.canary,))


@case("F46", "a pickle in a checkpoint, a model, the journal, the outbox, the data or a request", fast=True)
def pickles(folder: Path, pace: Pace) -> Outcome:
    """Refused, and never executed."""
    canary = folder / "canary"
    payload = pickle.dumps(Payload(canary))
    run = 0
    for place in (_in_checkpoint, _in_bundle, _in_mlflow, _in_journal, _in_outbox, _in_data, _in_request):
        place(folder / place.__name__, payload)
        run += canary.exists()
    pickle.loads(payload)
    assert canary.exists()  # it would have been seen
    return Outcome(silent=run)


def _in_checkpoint(folder: Path, payload: bytes) -> None:
    store = CheckpointStore(folder / "t", keep=2)
    save(store, 1)
    newest = save(store, 2)
    (newest / "optimizer.pkl").write_bytes(payload)
    assert step_of(store) == 1
    (newest / "optimizer.pkl").unlink()
    for name in ("tensors.safetensors", "document.json"):
        original = (newest / name).read_bytes()
        (newest / name).write_bytes(payload)
        assert step_of(store) == 1
        (newest / name).write_bytes(original)
    assert step_of(store) == 2
    # sealed by its own manifest, as an attacker would: read as safetensors, refused, and still not run
    forged = write_folder(folder / "f", files={"tensors.safetensors": payload})
    with pytest.raises(Exception, match=r"(?i)header"):
        read_tensors(verify_folder(forged)["tensors.safetensors"])


def _in_bundle(folder: Path, payload: bytes) -> None:
    from tests.infra.tracking.bundles import a_bundle

    good = a_bundle("linear_regression", folder / "good", folder / "cache")
    files = {path.name: path.read_bytes() for path in good.iterdir() if path.name != "manifest.json"}
    for name in files:
        changed = folder / f"changed-{name}"
        write_folder(changed, files={**files, name: payload})  # with a manifest that is true
        with pytest.raises(InputError):
            load_bundle(changed)
    load_bundle(write_folder(folder / "more", files={**files, "model.pkl": payload}))


def _in_mlflow(folder: Path, payload: bytes) -> None:
    set_defaults()
    # MLflow warns of type hints of its own while it is imported.
    warnings.filterwarnings("ignore", message=".*inferred as AnyType", category=UserWarning)
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import load_model

    folder.mkdir()
    (folder / "model.pkl").write_bytes(payload)
    flavors = {
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle", "sklearn_version": "1"},
        "python_function": {
            "loader_module": "mlflow.sklearn", "model_path": "model.pkl", "predict_fn": "predict",
            "python_version": "3.11",
        },
    }  # fmt: skip
    (folder / "MLmodel").write_text(json.dumps({"flavors": flavors, "model_uuid": "0" * 32}))
    with pytest.raises(MlflowException, match=r"(?i)pickle"):
        load_model(str(folder))


def _in_journal(folder: Path, payload: bytes) -> None:
    bench = Bench(folder)
    bench.begin(sweep())
    owner = views.owner(bench.ledger, bench.sweep_id)
    assert owner is not None
    bench.ledger.commit(bench.sweep_id, owner.epoch, WriteBatch(journal=[payload.decode("latin-1")]))
    with pytest.raises(Exception, match="ledger"):
        bench.take_over(token="driver-2")
    bench.ledger.close()


def _in_outbox(folder: Path, payload: bytes) -> None:
    story = Story(folder)
    sender = story.sender()
    sender.stop()
    with sqlite3.connect(story.home.outbox) as connection:
        rows = ("0" * 16, "s", "k", payload)
        connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, 0, 0, '')", rows)
    connection.close()
    again = story.sender()
    assert again.run_ids() == {}
    again.stop()
    story.ledger.close()


def _in_data(folder: Path, payload: bytes) -> None:
    folder.mkdir()
    np.savez(folder / "objects.npz", x=np.array([{}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(folder / "raw.npz", "w") as archive:
        archive.writestr("x.npy", payload)
    for path in folder.glob("*.npz"):
        with pytest.raises(InputError):
            read_npz(path, folder / "cache")


def _in_request(folder: Path, payload: bytes) -> None:
    from tests.infra.serving.scripted_server import Server, run

    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        for kind in ("application/json", "text/csv", "application/x-pickle", "application/octet-stream"):
            reply = await server.ask(payload, headers={"content-type": kind})
            assert reply.status in (400, 415), (kind, reply.status)

    run(story)


# -- passwords ---------------------------------------------------------------------------------------------

SECRET = "hunter2-V3lo"
LEDGER = f"postgresql+psycopg://ada:{SECRET}@127.0.0.1:1/none"
TRACKING = f"http://ada:{SECRET}@127.0.0.1:9/"
VARIABLES = {
    "VELODROME_LEDGER": LEDGER, "MLFLOW_TRACKING_URI": TRACKING, "MLFLOW_TRACKING_TOKEN": SECRET,
    "AWS_SECRET_ACCESS_KEY": SECRET, "PASSWORD": SECRET,
}  # fmt: skip


@case("F51", "a password in an address, a token in the environment", fast=True)
def passwords(folder: Path, pace: Pace) -> Outcome:
    """In no output, log, traceback, argument list, MLflow store, ledger, checkpoint or bundle."""
    shown = 0
    for number, look in enumerate((_in_commands, _in_defects, _in_tracking, _in_training)):
        here = folder / str(number)
        here.mkdir()
        shown += SECRET in look(here)
        shown += len(files_holding(here, SECRET))
    return Outcome(silent=shown)


def files_holding(folder: Path, text: str) -> list[str]:
    """The files below a folder that hold the text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path.relative_to(folder)) for path in files if text.encode() in path.read_bytes()]


def _in_commands(folder: Path) -> str:
    """A ledger that is not there, for a command that reads and for one that runs a file."""
    file = folder / "s.yaml"
    file.write_text(
        "name: s\ndata: {source: builtin:diabetes}\nobjective: {metric: mse}\n"
        "tracking: {uri: 'http://ada:${PASSWORD}@127.0.0.1:9'}\n"
        "ledger: 'postgresql+psycopg://ada:${PASSWORD}@127.0.0.1:1/none'\n"
        "families: {linear_regression: {}}\n"
    )
    said = ""
    for words in (("status",), ("stop", "s"), ("sweep", str(file))):
        command = [sys.executable, "-m", "flows.cli", *words]
        ended = subprocess.Popen(
            command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **VARIABLES, "PYTHONPATH": str(ROOT), "VELODROME_HOME": str(folder / "home")},
        )  # fmt: skip
        out, err = ended.communicate(timeout=600)
        assert ended.returncode == 4, (words, err)
        assert "Traceback" not in err
        said += out + err
    assert "***" in said
    return said


def _in_defects(folder: Path) -> str:
    """A defect of ours whose message quotes an address: its block, its traceback and its log."""
    from tests.faults.commands import standing_in, velodrome

    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError(f"could not open {LEDGER}")

    with standing_in(folder / "here"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.sweeps.views.status.status", fail)
        said = velodrome("status")
    assert said.status == 1
    assert "RuntimeError" in said.err
    return said.out + said.err


def _in_tracking(folder: Path) -> str:
    """What a sweep knows of its addresses and its errors, in MLflow's store and in the outbox."""
    told = folder.with_name("told")  # the ledger that the story is told to is not looked at
    facts = {**FACTS, "command": f"velodrome sweep d.yaml --set tracking.uri={TRACKING}"}
    story = Story(told, spec=a_spec(data={"source": f"csv:https://ada:{SECRET}@host/d.csv"}), facts=facts)
    trial = story.start(story.ask("rnn", 0))
    story.end(trial, "failed", reason=f"error: could not reach {LEDGER}")
    story.conclude()
    for uri in (story.home.mlflow_uri, TRACKING):
        sender = story.sender(uri)
        assert (sender.drain(30.0) > 0) == (uri == TRACKING)
        sender.stop()
    story.ledger.close()
    for name in ("mlflow.db", "outbox.db"):
        with sqlite3.connect(told / name) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        connection.close()
        (told / name).rename(folder / name)
    return ""


def _in_training(folder: Path) -> str:
    """What an attempt leaves: checkpoints, the kept model and its end; and an error's text in the ledger."""
    home = folder / "home"
    made = family(
        "linear_regression",
        reference="linear_regression",
        budget=Budget(epochs=3),
        checkpoint_every="1 epochs",
    )
    spec = sweep(
        made, data={"source": "builtin:diabetes", "task": "regression"}, tracking_uri="http://a:${PASSWORD}@h",
        objectives=(Objective(metric="val/mse", direction="minimize"),),
    )  # fmt: skip
    settings = LaneSettings(
        run="r", shape="1x1cpu", resources=Resources(), spec=spec.to_json(), base=str(folder),
        storage=str(home), cache=str(folder / "cache"), logs=str(folder),
    )  # fmt: skip
    assignment = Assignment(
        attempt="a",
        role="search",
        family=made.name,
        number=0,
        ordinal=1,
        params={"learning_rate": 0.01},
        seed=1,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        runner = AttemptRunner(settings, device="cpu", ranks=Ranks())
        store = CheckpointStore(runner.jobs.checkpoint_folder(assignment))
        ended = runner.run(assignment, AttemptHooks(assignment, Nobody(), store))
    assert ended.outcome == "complete", ended.detail
    assert store.paths()
    assert list(home.rglob(WEIGHTS))
    bench = Bench(folder / "ledger")
    coordinator = bench.begin(spec)
    coordinator.register_lane(hello())
    (given,) = coordinator.next_attempts(hello()).attempts
    failed = AttemptResult(
        attempt=given.attempt, outcome="failed", reason="error", detail=f"no {LEDGER}\nat {TRACKING}"
    )
    coordinator.next_attempts(hello(), ended=failed)
    bench.ledger.close()
    return repr(ended)
