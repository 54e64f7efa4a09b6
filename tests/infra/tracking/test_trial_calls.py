"""What a trial's code logs by MLflow is in the trial's own run, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow as user_mlflow
import pytest

from infra.coordinator.messages import Assignment
from infra.coordinator.run_requests import KnownRuns, RunAnswer, RunRequests, TrialKey
from infra.lanes import attempt_functions
from infra.spec import FamilySpec
from infra.tracking.sender import Sender
from tests.infra.tracking.conftest import runs_of
from tests.infra.tracking.story import SPACE, Story

Tell = Callable[..., Story]
PARAMS = {"learning_rate": 0.005, "optimizer": "sgd", "momentum": True}


class Driver:
    """The coordinator and the driver of a sweep, in one."""

    def __init__(self, store: str, sender: Sender) -> None:
        self.requests, self._sender = RunRequests(store), sender
        self.asked = 0

    def find_run(self, trial: TrialKey, wanted: bool) -> RunAnswer:
        self.asked += wanted
        answer = self.requests.find(trial, wanted=wanted)
        if self.requests.wanted_trials:
            self._sender.send_once()
            self.requests.answer(self._sender.find_runs(self.requests.wanted_trials))
        return answer


def run_code(code: Callable[[], object], story: Story, store: str, **changes: Any) -> Driver:
    """Runs the code as that of trial `rnn` 0."""
    driver = Driver(store, story.sender(store))
    spec = FamilySpec(**{"name": "rnn", "reference": "mod:rnn", "space": SPACE, **changes})
    asked = Assignment(attempt="1", role="search", family="rnn", number=0, ordinal=1, params=PARAMS, seed=1)
    with attempt_functions.route_mlflow(driver, spec, asked, story.folder / "trial"):
        code()
    return driver


def log_without_a_run() -> None:
    user_mlflow.log_metric("mine", 1.0, step=3)
    user_mlflow.log_text("told", "note.txt")
    user_mlflow.end_run()


def log_in_runs_of_an_experiment() -> None:
    user_mlflow.set_experiment("mine")
    with user_mlflow.start_run(run_name="first", tags={"team": "red"}, description="why"):
        user_mlflow.log_metric("mine", 1.0, step=3)
    with user_mlflow.start_run(run_name="second"):
        user_mlflow.log_text("told", "note.txt")


def log_by_the_client() -> None:
    client = user_mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("mine by hand"))
    client.log_metric(run.info.run_id, "mine", 1.0, step=3)
    client.log_text(run.info.run_id, "told", "note.txt")
    client.set_terminated(run.info.run_id)


@pytest.mark.parametrize("log", [log_without_a_run, log_in_runs_of_an_experiment, log_by_the_client])
def test_call_of_mlflow_goes_to_the_run_of_its_trial(
    log: Callable[[], None], store: str, mlflow: Any, tell: Tell
) -> None:
    story = tell()
    trial = story.start(story.ask("rnn", 0))
    run_code(log, story, store)
    (run,) = (run for name, run in runs_of(mlflow, story).items() if name == "rnn-0000")
    assert run.data.metrics["mine"] == 1.0
    assert [file.path for file in mlflow.list_artifacts(run.info.run_id)] == ["note.txt"]
    assert run.info.status == "RUNNING"  # its end is the ledger's to say
    story.end(trial, "pruned", 0.5)
    story.sender(store).send_once()
    ended = runs_of(mlflow, story)
    assert {name: run.info.status for name, run in ended.items() if name != story.spec.name} == {
        "rnn-0000": "KILLED"
    }
    assert not list(Path.cwd().iterdir())
    assert user_mlflow.active_run() is None


def test_sampled_parameters_are_ours_and_others_are_logged(store: str, mlflow: Any, tell: Tell) -> None:
    def log() -> None:
        user_mlflow.log_params({**PARAMS, "own": 3})  # `True` here, `true` in the run
        user_mlflow.log_param("momentum", None)
        user_mlflow.end_run()

    story = tell()
    story.start(story.ask("rnn", 0))
    run_code(log, story, store)
    params = runs_of(mlflow, story)["rnn-0000"].data.params
    assert (params["own"], params["learning_rate"], params["momentum"]) == ("3", "0.01", "inactive")


def test_nested_run_is_below_the_trial_and_ends_with_the_sweep(store: str, mlflow: Any, tell: Tell) -> None:
    def log() -> None:
        with user_mlflow.start_run():
            user_mlflow.start_run(nested=True, run_name="fold")
            user_mlflow.log_metric("mine", 1.0)
            user_mlflow.tracking.fluent._active_run_stack.set([])  # as where the process dies here

    story = tell()
    trial = story.start(story.ask("rnn", 0))
    run_code(log, story, store)
    runs = runs_of(mlflow, story)
    story.end(trial, "complete", 0.5)
    story.conclude()
    story.sender(store).reconcile()
    (child,) = mlflow.search_runs([runs["rnn-0000"].info.experiment_id], "metrics.mine = 1")
    assert child.data.tags["mlflow.parentRunId"] == runs["rnn-0000"].info.run_id
    assert child.info.status == "KILLED"


def test_run_that_a_family_of_ones_own_leaves_open_is_ended_and_stays_the_trials(
    store: str, mlflow: Any, tell: Tell
) -> None:
    """A family's training is not isolated as a function is."""
    story = tell()
    story.start(story.ask("rnn", 0))
    run_code(lambda: user_mlflow.log_metric("mine", 1.0), story, store, reference="mod:Family")
    assert user_mlflow.active_run() is None
    run = runs_of(mlflow, story)["rnn-0000"]
    assert (run.info.status, run.data.metrics["mine"]) == ("RUNNING", 1.0)


def test_family_of_ours_is_not_looked_after(store: str, tell: Tell) -> None:
    story, seen = tell(), list[str]()
    run_code(lambda: seen.extend(os.environ), story, store, reference="rnn")
    assert "MLFLOW_TRACKING_URI" not in seen


def test_function_that_never_calls_mlflow_waits_for_no_run(store: str, tell: Tell) -> None:
    story = tell()
    story.start(story.ask("rnn", 0))
    assert run_code(lambda: None, story, store).asked == 0


def test_command_is_told_of_its_run_when_it_begins(store: str, mlflow: Any, tell: Tell) -> None:
    story, seen = tell(), dict[str, str]()
    story.start(story.ask("rnn", 0))
    run_code(lambda: seen.update(os.environ), story, store, reference=attempt_functions.COMMAND)
    assert seen["MLFLOW_TRACKING_URI"] == store
    assert seen["MLFLOW_RUN_ID"] == runs_of(mlflow, story)["rnn-0000"].info.run_id
    assert "MLFLOW_RUN_ID" not in os.environ


def test_command_that_ends_its_run_after_its_trial_ended_changes_no_status(
    store: str, mlflow: Any, tell: Tell
) -> None:
    family = FamilySpec(name="rnn", reference=attempt_functions.COMMAND, space=SPACE)
    story = tell(families=(family,))
    story.end(story.start(story.ask("rnn", 0)), "pruned", 0.5)
    story.sender(store).send_once()
    mlflow.set_terminated(runs_of(mlflow, story)["rnn-0000"].info.run_id, "FINISHED")
    story.conclude()
    story.sender(store).send_once()
    assert runs_of(mlflow, story)["rnn-0000"].info.status == "KILLED"


def test_store_that_code_names_itself_is_followed(
    store: str, mlflow: Any, tell: Tell, tmp_path: Path
) -> None:
    named = (tmp_path / "named").as_uri()

    def log() -> None:
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        user_mlflow.set_tracking_uri(named)
        with user_mlflow.start_run() as run:
            user_mlflow.log_metric("mine", 1.0)
        assert user_mlflow.get_run(run.info.run_id).info.status == "FINISHED"
        user_mlflow.set_tracking_uri(None)  # type: ignore[arg-type]

    story = tell()
    story.start(story.ask("rnn", 0))
    assert run_code(log, story, store).asked == 0
    assert (tmp_path / "named").is_dir()


def test_tracking_that_is_away_leaves_what_is_logged_in_the_trials_folder(
    store: str, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = tell()
    story.start(story.ask("rnn", 0))
    monkeypatch.setattr(Sender, "send_once", lambda self: 0)
    monkeypatch.setattr(Sender, "find_runs", lambda self, trials: KnownRuns(away=True))
    run_code(log_without_a_run, story, store)
    spare = story.folder / "trial" / "mlflow"
    assert [path.read_text() for path in spare.rglob("note.txt")] == ["told"]
    assert not list(Path.cwd().iterdir())


def test_mlflow_that_is_imported_within_is_routed_too(tmp_path: Path) -> None:
    """In a process that did not have it: the run is asked for at the first call."""
    code = f"""
from pathlib import Path
from infra.tracking.trial_calls import TrialCalls, route_trial_calls
asked = []
calls = TrialCalls(uri="sqlite:///nowhere.db", run_id=None, find_run=lambda: asked.append(1),
                   parameters=frozenset(), spare=Path({str(tmp_path)!r}) / "spare")
with route_trial_calls(calls):
    import mlflow
    held = mlflow.start_run
    print(asked)
print(held is mlflow.start_run, mlflow.__spec__.loader is not None)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True, cwd=tmp_path
    )
    assert ended.stdout.split("\n")[:2] == ["[]", "False True"]
