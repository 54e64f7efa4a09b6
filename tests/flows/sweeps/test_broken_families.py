"""A stopped family says why and how it begins again; `sweep --json` is one document whatever ends it."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.cli import app
from flows.sweeps import progress
from flows.sweeps import sweep as verb
from flows.sweeps.session import SessionEnd
from infra.coordinator.shell.actor import CoordinatorStatus
from infra.coordinator.trial_table import TrialTable
from infra.errors import ClusterUnavailable, InterruptedCommand
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.broken_families import find_broken_families, mark_outdated
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger
from tests.flows.ledger_sweeps import spec_of, trial_of, write_sweep

DIED = "worker-died: its process ended with status 3 (os._exit, or a library that exits)"
CODE = "def train(trial):\n    trial.report(accuracy=trial.params['rate'])\n"
FILE = """
name: own
data: {source: none}
objective: {metric: accuracy}
budget: {trials: 9, epochs: 1}
families:
  stopped_code:train: {space: {rate: {type: float, low: 0.0, high: 1.0}}}
"""


def failed(number: int, reason: str = DIED, family: str = "text_cnn", **more: Any) -> Any:
    return trial_of(family, number, "failed", reason=reason, **more)


@pytest.fixture
def run(home, velodrome, monkeypatch):
    """Runs `sweep own.yaml`; its session is the given one, on the trials so far."""
    Path("stopped_code.py").write_text(CODE)
    Path("own.yaml").write_text(FILE)
    monkeypatch.syspath_prepend(Path.cwd())

    @contextmanager
    def quiet(*_: Any):
        yield SimpleNamespace(count_unsent=lambda: 0, drain=lambda *a, **k: 0)

    monkeypatch.setattr(verb, "background_sender", quiet)
    monkeypatch.setattr(app, "exit_now", sys.exit)  # which would end this process

    def call(*arguments: str, ran: Any = None):
        def act(ledger, row, place, **_):
            assert ran is not None, "there is nothing to run"
            return ran(ledger, row)

        monkeypatch.setattr(verb, "run_session", act)
        return velodrome("sweep", "own.yaml", *arguments)

    return call


def fail_five(ledger, row) -> SessionEnd:
    batch = WriteBatch(sweep={"state": "failed"}, journal=["{}"])
    for number in range(5):
        trial = failed(number, family="stopped_code.train", ended_at=time.time() + 7_200.0)  # a wrong clock
        batch.add_event("ended", time.time(), {}, trial)
    ledger.add_events(row.id, batch)
    return SessionEnd(state="failed", unsent=0)


def raise_error(error: BaseException) -> Any:
    def ran(ledger, row):
        fail_five(ledger, row)
        raise error

    return ran


def test_family_whose_first_trials_failed_alike_is_told_everywhere(home, velodrome):
    trials = (*(failed(number) for number in range(6)), trial_of("image_cnn", 0, "complete", 0.9))
    write_sweep(home, spec_of(trials=9), trials=trials)
    shown = velodrome("status", "digits").out
    told = json.loads(velodrome("status", "digits", "--json").out)["stopped_families"]
    assert [(one["family"], one["kind"], one["count"], one["left"], one["message"]) for one in told] == [
        ("text_cnn", "worker-died", 6, 3, DIED)
    ]
    assert "velodrome retry digits --accept-code-change" in told[0]["do"]
    said = " ".join(shown.split())
    assert "text_cnn is stopped, and 3 of its trials are not made: all 6 that ended failed alike" in said
    assert DIED in said


@pytest.mark.parametrize(
    "trials",
    [
        [failed(number) for number in range(4)],
        [failed(number, f"{kind}: x") for number, kind in enumerate(["error", "timeout"] * 3)],
        [*(failed(number) for number in range(6)), trial_of("text_cnn", 6, "complete", 0.5)],
        [failed(number) for number in range(9)],
        [failed(number, ended_at=50.0) for number in range(6)],
        [*(failed(number, epochs=2) for number in range(6)), trial_of("text_cnn", 6, "running", epochs=3)],
        [trial_of("text_cnn", 0, "running"), *(failed(n, "not-finite: x") for n in range(1, 7))],
    ],
    ids=["few", "several-kinds", "one-good", "all-made", "mended", "one-came-further", "diverged-first"],
)
def test_family_that_may_work_is_not_stopped(trials):
    row: Any = SimpleNamespace(spec=spec_of(trials=9), label="digits", facts={})
    mark_outdated((trial for trial in trials if trial.ended_at == 50.0), {"text_cnn"})
    assert find_broken_families(row, trials) == ()


def test_family_whose_code_was_mended_is_asked_again():
    trials, counts = [failed(number) for number in range(6)], []
    for mended in ((), ("image_cnn",), ("text_cnn",)):
        mark_outdated(trials, mended)
        counts.append(TrialTable(spec_of(trials=9), trials).count_to_ask("text_cnn"))
    assert counts == [0, 0, 3]


def test_sweep_of_stopped_family_begins_again_after_its_code_was_mended(run, home):
    first = run(ran=fail_five)
    assert first.status == 3
    assert "stopped_code.train is stopped, and 4 of its trials are not made" in first.err
    again = run()  # no Ray is started to do nothing
    assert (again.status, "is stopped" in again.err) == (3, True)
    Path("stopped_code.py").write_text(CODE.replace("rate']", "rate'] + 1"))
    seen = []

    def ran(ledger: Ledger, row: SweepRow) -> SessionEnd:
        seen.append(TrialTable(row.spec, views.trials(ledger, row.id)).count_to_ask("stopped_code.train"))
        return SessionEnd(state="x", unsent=0)

    run("--accept-code-change", ran=ran)
    assert seen == [4]


@pytest.mark.parametrize(
    ("ran", "status", "said"),
    [
        (fail_five, 3, "at least one trial must succeed"),
        (raise_error(ClusterUnavailable("Ray must run", "it is gone")), 4, "Ray must run"),
        (raise_error(InterruptedCommand("it ran", "signal 15", signal=15)), 143, "it ran"),
        (raise_error(KeyboardInterrupt()), 130, None),
    ],
)
def test_sweep_json_that_ends_badly_is_one_document_with_the_error(run, ran, status, said):
    ended = run("--json", ran=ran)
    document = json.loads(ended.out)
    assert (ended.status, document["error"]["exit_status"]) == (status, status)
    assert document["error"]["must"] == said
    if said is not None:
        assert document["sweep"] == "own"
        assert [trial["reason"] for trial in document["trials"]] == [DIED] * 5
        assert document["stopped_families"][0]["left"] == 4


@pytest.mark.parametrize("text", [FILE.replace("9", "many"), FILE.replace("code:train", "code:gone"), None])
def test_sweep_json_of_wrong_input_is_one_document_with_the_error(run, text):
    Path("own.yaml").write_text(text) if text else Path("own.yaml").unlink()
    ended = run("--json")
    assert ended.status == 2
    error = json.loads(ended.out)["error"]
    assert (error["exit_status"], bool(error["must"]), error["found"] in ended.err) == (2, True, True)


def test_sweep_json_that_meets_a_defect_is_one_document(run):
    ended = run("--json", ran=raise_error(ZeroDivisionError("by zero")))
    assert ended.status == 1
    assert json.loads(ended.out)["error"]["found"] == "ZeroDivisionError('by zero')"


def test_sweep_that_is_carried_on_says_one_document_without_an_error(run, home):
    def succeed(ledger, row):
        trial = trial_of("stopped_code.train", 0, "complete", 0.5)
        ledger.add_events(row.id, WriteBatch(sweep={"state": "finished"}))
        batch = WriteBatch()
        batch.add_event("ended", time.time(), {}, trial)
        ledger.add_events(row.id, batch)
        return SessionEnd(state="finished", unsent=0)

    ended = run("--json", ran=succeed)
    document = json.loads(ended.out)
    assert (ended.status, "error" in document, document["stopped_families"]) == (0, False, [])


def test_running_sweep_tells_once_that_a_family_is_stopped(home, capsys, monkeypatch):
    identity = write_sweep(home, spec_of(trials=9), state="running", trials=tuple(map(failed, range(6))))
    monkeypatch.setattr(progress, "SHOW_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "SHOW_REST", 0.0)
    ledger, sender = Ledger(home.ledger_url), SimpleNamespace(start=len, wake=len, count_unsent=lambda: 0)
    with progress.show_progress(ledger, views.sweep_by_id(ledger, identity), sender, "search") as shown:
        for _ in range(3):
            shown.watch(CoordinatorStatus())
    ledger.close()
    assert " ".join(capsys.readouterr().err.split()).count("text_cnn is stopped") == 1


def test_sweep_that_is_over_has_no_lane_that_is_starting(home, capsys, monkeypatch):
    identity = write_sweep(home, spec_of(trials=9), state="running", trials=())
    monkeypatch.setattr(progress, "SHOW_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "SHOW_REST", 0.0)
    ledger = Ledger(home.ledger_url)
    sender = SimpleNamespace(wake=lambda: None, count_unsent=lambda: 0)
    with progress.show_progress(ledger, views.sweep_by_id(ledger, identity), sender, "search") as shown:
        shown.watch(CoordinatorStatus(planned=2))
        assert "(+2 starting)" in capsys.readouterr().err
        shown.watch(CoordinatorStatus(state="finished", planned=2))
    ledger.close()
    assert "starting)" not in capsys.readouterr().err
