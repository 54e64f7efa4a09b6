"""Wrong and hostile input: said with exit status 2, before anything is spent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.coordinator.messages import AttemptResult
from infra.errors import WrongInput
from infra.ledger import views
from infra.names import check_name, check_sweep_label
from search_spaces.space import Space
from tests.faults.commands import CommandResult, standing_in, tree, velodrome
from tests.faults.harness import ROOT, stretch_limit
from tests.faults.hostile_names import HOSTILE_NAMES
from tests.faults.outcome import Outcome, Pace, case
from tests.infra.conftest import SPACE as SAMPLED
from tests.infra.conftest import Bench, family, hello, sweep
from tests.infra.tracking.conftest import runs_of, shared_store
from tests.infra.tracking.story import Story, a_spec
from tests.postgres import run_postgres

# -- wrong files -------------------------------------------------------------------------------------------

SPACE = "families: {linear_regression: {space: {learning_rate: {type: float, low: 0.01, high: 0.1}}}}"
WRONG = {  # what is put in, the line of the file, and what is said of it
    "unknown key": ("budgett: {trials: 3}", 4, "did you mean 'budget'"),
    "typo within": ("budget: {trails: 3}", 4, "did you mean 'trials'"),
    "wrong type": ("budget: {trials: many}", 4, "whole number"),
    "duplicate key": ("budget: {trials: 3}\nbudget: {trials: 4}", 5, "stand once"),
    "no trials": ("budget: {trials: 0}", 4, "greater than or equal to 1"),
    "negative workers": ("resources: {workers: -1}", 4, "greater than or equal to 1"),
    "rate as text": (SPACE.replace("low: 0.01", "low: '1e-3'"), 4, "low"),
    "low above high": (SPACE.replace("low: 0.01", "low: 1"), 4, "exchange"),
    "log with 0": (SPACE.replace("low: 0.01", "low: 0, log: true"), 4, "above 0"),
    "NaN bound": (SPACE.replace("low: 0.01", "low: .nan"), 4, "finite"),
    "unknown family": ("families: {linear_regresion: {}}", 4, "did you mean 'linear_regression'"),
}
PROGRAM = """
import contextlib, io, json, re, resource, sys, time
from flows.cli import main
said = []
for path in sys.argv[1:]:
    err, began = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(err):
        try:
            main(["plan", path])
        except SystemExit as ended:
            status = ended.code
    said.append([status, time.process_time() - began, err.getvalue()])
heavy = sorted({"ray", "torch", "mlflow", "optuna"} & sys.modules.keys())
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())  # ru_maxrss counts the parent
print(json.dumps({"said": said, "heavy": heavy, "peak_kib": int(peak[1])}))
"""


def plan_files(
    folder: Path, files: dict[str, bytes]
) -> tuple[dict[str, tuple[int, float, str]], dict[str, Any]]:
    """What `plan` says of each file, in one process: status, processor seconds, text; and its other facts."""
    paths = {name: folder / f"{number}.yaml" for number, name in enumerate(files)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        path.write_bytes(files[name])
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths.values())],
        env={**os.environ, "PYTHONPATH": str(ROOT), "VELODROME_HOME": str(folder / "home")},
        cwd=folder, capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    found = json.loads(ended.stdout.splitlines()[-1])
    assert not (folder / "home").exists()
    return dict(zip(files, map(tuple, found["said"]), strict=True)), found


@case("F43", "a wrong key, type, bound or number in a sweep file", fast=True)
def wrong_files(folder: Path, pace: Pace) -> Outcome:
    """Exit 2 in 2 s, before torch or Ray are loaded, with file, line, key and the nearest valid one."""
    head = "name: wrong\ndata: {source: builtin:diabetes}\nobjective: {metric: mse}\n"
    rest = "families: {linear_regression: {}}\n"
    files = {
        name: f"{head}{text}\n{'' if 'families' in text else rest}".encode()
        for name, (text, *_) in WRONG.items()
    }
    said, facts = plan_files(folder, files)
    for name, (_, line, words) in WRONG.items():
        status, seconds, text = said[name]
        assert status == 2, (name, text)
        assert seconds < 2.0, name  # the first one imports what all need
        plain = " ".join(text.split())
        assert f".yaml, line {line}: " in plain, text
        assert words in plain, text
        assert "Traceback" not in text
    assert facts["heavy"] == []
    return Outcome(note=f"{len(files)} files")


@case(
    "F44", "an alias bomb, 2,000 brackets, 50 MB, tags, NUL, BOM, UTF-16 in place of a sweep file", fast=True
)
def hostile_files(folder: Path, pace: Pace) -> Outcome:
    """Exit 2 within 1 s each, in less than 200 MiB for all of them."""
    from tests.search_spaces.hostile_files import HOSTILE

    said, facts = plan_files(folder, HOSTILE)
    for name, (status, seconds, text) in said.items():
        assert status == 2, (name, text)
        assert seconds < stretch_limit(1.0), name
        assert "Traceback" not in text, name
        assert text.isprintable() or "\x1b" not in text, name
    assert facts["peak_kib"] < 200 * 1024
    assert facts["heavy"] == []
    return Outcome(note=f"{len(said)} files, {facts['peak_kib'] // 1024} MiB")


# -- hostile names -----------------------------------------------------------------------------------------

KINDS = ("sweep", "study", "run", "model", "alias", "artifact")
COMMANDS = {  # those that take a sweep's or a model's name; others' may come
    "status": (), "show": ("--trial", "0"), "logs": (), "compare": (), "extend": ("--trials", "1"),
    "retry": (), "stop": (), "remove": ("--yes",), "confirm": (), "report": (), "promote": (),
    "rollback": (), "history": (),
}  # fmt: skip


@case("F45", "hostile names for sweep, study, run, model, alias and artifact", fast=True)
def hostile_names(folder: Path, pace: Pace) -> Outcome:
    """One rule, refused alike everywhere; nothing is created anywhere."""
    from flows.cli.app import SECTIONS

    known = {function.__name__ for functions in SECTIONS.values() for function in functions}
    with standing_in(folder / "here"):
        for number, name in enumerate(HOSTILE_NAMES):
            _refused_alike(name)
            if name != "a@1":  # a sweep's name with its version
                words = sorted(known & COMMANDS.keys())
                for command in words[number % 3 :: 3] if pace.fast else words:
                    _refused_by(velodrome(command, *COMMANDS[command], "--", name), command, name)
    assert tree(folder) == {"here"}
    return Outcome(note=f"{len(HOSTILE_NAMES)} names")


def _refused_alike(name: str) -> None:
    from flows.config.schema import Sweep

    refusals = set()
    for what in KINDS:
        with pytest.raises(WrongInput) as caught:
            check_name(name, what)
        refusals.add((caught.value.must.replace(what, "…"), caught.value.found, caught.value.do))
        assert str(caught.value).isascii()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400
    assert len(refusals) == 1
    if name != "a@1":
        with pytest.raises(WrongInput):
            check_sweep_label(name)
    for keys in ({"name": name}, {"name": "good", "model": name}):
        with pytest.raises(ValueError, match="name"):
            Sweep.model_validate({"data": {"source": "none"}, "families": {"rnn": {}}, **keys})


def _refused_by(said: CommandResult, command: str, name: str) -> None:
    assert said.status == 2, (command, name, said.err)
    assert said.out == ""
    assert said.err.isascii() or "…" in said.err
    assert "\x1b" not in said.err
    assert "Traceback" not in said.err


# -- hostile texts -----------------------------------------------------------------------------------------

SQL_TEXTS = (
    "'; DROP TABLE trials; --", '" OR 1=1 --', "%_%", "\\'; SELECT pg_sleep(10)", "{x} %s :name ?", "a\nb\0c",
)  # fmt: skip
LONG = "'; DROP TABLE trials; -- " * 40_000  # a megabyte


@case("F52", "SQL in parameters, errors and filters; an error of a megabyte")
def sql_texts(folder: Path, pace: Pace) -> Outcome:
    """Every text comes back as it was given, by the ledger of either kind and by MLflow."""
    silent = _from_ledger(folder / "sqlite", "")
    with run_postgres() as server:
        silent += _from_ledger(folder / "postgresql", server.database())
    silent += _from_tracking(folder)
    return Outcome(silent=silent, note=f"{len(SQL_TEXTS)} texts, {len(LONG) // 1000} kB")


def _from_ledger(folder: Path, url: str) -> int:
    """How many texts came back as others."""
    space = Space.from_mapping({**SAMPLED, "word": {"type": "categorical", "choices": list(SQL_TEXTS[:-1])}})
    grid = family(trials=60, space=space.to_json(), sampler={"name": "random"}, pruner={"name": "none"})
    bench = Bench(folder, url=url)
    coordinator, lane, changed = bench.begin(sweep(grid)), hello(), 0
    coordinator.register_lane(lane)
    work = coordinator.next_attempts(lane)
    while work.attempts:
        (one,) = work.attempts
        detail = LONG if one.number == 0 else SQL_TEXTS[one.number % len(SQL_TEXTS)]
        ended = AttemptResult(attempt=one.attempt, outcome="failed", reason="not-finite", detail=detail)
        work = coordinator.next_attempts(lane, ended=ended)
    trials = views.trials(bench.ledger, bench.sweep_id)
    for trial in trials:
        (told,) = views.attempts(bench.ledger, bench.sweep_id, trial.family, trial.number)
        text = LONG if trial.number == 0 else SQL_TEXTS[trial.number % len(SQL_TEXTS)].replace("\0", "\\0")
        changed += not text.startswith(told.detail) or len(told.detail) < min(len(text), 20_000)
    used = {trial.params["word"] for trial in trials}
    bench.ledger.close()
    assert used == set(SQL_TEXTS[:-1])
    return changed


def _from_tracking(folder: Path) -> int:
    from mlflow import MlflowClient

    story = Story(folder / "home", spec=a_spec(f"texts-{os.getpid()}"))
    for number, text in enumerate(SQL_TEXTS):
        story.complete_trial("rnn", number, optimizer=text)
    failed = story.start(story.ask("rnn", len(SQL_TEXTS), optimizer="adam"))
    story.end(failed, "failed", reason=LONG)
    story.conclude()
    mlflow = MlflowClient(shared_store(), registry_uri=shared_store())
    sending = story.sender(shared_store())
    assert sending.drain(60.0) == 0
    sending.stop()
    runs = runs_of(mlflow, story)
    known = [runs[f"rnn-{number:04d}"].data.params["optimizer"] for number in range(len(SQL_TEXTS))]
    with standing_in(folder / "here", VELODROME_HOME=str(folder / "home")):
        for text in SQL_TEXTS[:-1]:
            said = velodrome("compare", story.spec.name, "--where", f"family={text}")
            assert said.status in (0, 2), said.err
            assert "Traceback" not in said.err
    assert runs[f"rnn-{len(SQL_TEXTS):04d}"].info.status == "FAILED"
    assert len(views.trials(story.ledger, story.sweep_id)) == len(SQL_TEXTS) + 1
    story.ledger.close()
    return sum(a != b for a, b in zip(known, SQL_TEXTS, strict=True))
