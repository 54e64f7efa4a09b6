"""Training functions: what they may report, where they end, and that a resumed one is the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.errors import InputError, OutOfMemory, TrialError
from trainers.functions.job import FunctionJob
from trainers.functions.run import dry_run_function, run_function
from trainers.functions.trial import Trial
from trainers.job import Outcome
from trainers.types import Goal, Length

ACCURACY = Goal(metric="val/accuracy", maximize=True)
LOSS = Goal(metric="val/loss", maximize=False)


class Recorder:
    """Hooks that write everything down, prune or stop on cue, and keep the newest checkpoint."""

    def __init__(self, prune_at: int = 0, stop_after: int = 0) -> None:
        self.prune_at, self.stop_after = prune_at, stop_after
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.saved: tuple[dict[str, torch.Tensor], dict[str, Any]] | None = None
        self.saves = 0
        self.steps: list[int] = []

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.reports.append((epoch, dict(metrics)))
        return epoch != self.prune_at

    def alive(self, step: int) -> None:
        self.steps.append(step)

    def stopping(self) -> bool:
        return bool(self.stop_after) and len(self.reports) >= self.stop_after

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]) -> None:
        self.saves += 1
        self.saved = ({name: tensor.clone() for name, tensor in tensors.items()}, dict(document))

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        return self.saved


@pytest.fixture
def job(tmp_path: Path) -> FunctionJob:
    return FunctionJob(
        function=learner,
        params={"learning_rate": 0.05},
        seed=3,
        length=Length(epochs=6),
        goals=(LOSS,),
        directory=tmp_path,
    )


def build(**params: Any) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))


def learner(trial: Trial) -> Any:
    """Learns with dropout, Adam, a schedule and all three generators, so that each must be resumed."""
    model = build(**trial.params)
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.params["learning_rate"])
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    for _ in trial.epochs(model=model, optimizer=optimizer, schedule=schedule):
        inputs = torch.randn(16, 4) + float(np.random.rand())
        loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        trial.report(loss=loss)
    return trial.model(model, build=f"{__name__}:build")


def run(job: FunctionJob, hooks: Recorder, **changes: Any) -> Outcome:
    return run_function(replace(job, **changes), hooks)


def function_reporting(*reports: Mapping[str, Any]) -> Any:
    def function(trial: Trial) -> None:
        for metrics in reports:
            trial.report(**metrics)

    return function


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_resumed_trial_equals_one_never_stopped(job: FunctionJob, cut: int) -> None:
    whole, first = Recorder(), Recorder(stop_after=cut)
    expected = run(job, whole)
    stopped = run(job, first)
    assert (stopped.status, stopped.epochs, stopped.weights) == ("stopped", cut, {})
    torch.manual_seed(99)  # another process would have other generators
    second = Recorder()
    second.saved = first.saved
    resumed = run(job, second)
    assert first.reports + second.reports == whole.reports
    assert [epoch for epoch, _ in second.reports] == list(range(cut + 1, 7))
    assert resumed.values == expected.values
    assert resumed.epoch == expected.epoch
    assert expected.weights.keys() == resumed.weights.keys() != set()
    for name, weight in expected.weights.items():
        assert torch.equal(weight, resumed.weights[name]), name


def test_trial_of_another_seed_differs(job: FunctionJob) -> None:
    whole, other = Recorder(), Recorder()
    run(job, whole)
    run(job, other, seed=4)
    assert whole.reports != other.reports


def test_pruned_trial_ends_after_the_body_of_its_epoch(job: FunctionJob) -> None:
    bodies: list[str] = []

    def function(trial: Trial) -> None:
        for epoch in trial.epochs():
            trial.report(loss=1.0)
            bodies.append(f"after report {epoch}")
        trial.report(loss=0.0)

    hooks = Recorder(prune_at=2)
    outcome = run(job, hooks, function=function)
    assert outcome.status == "pruned"
    assert bodies == ["after report 0", "after report 1"]
    assert hooks.reports == [(1, {"val/loss": 1.0}), (2, {"val/loss": 1.0})]
    assert outcome.values == (1.0,)


def test_function_checkpoints_are_made_as_often_as_asked(job: FunctionJob) -> None:
    every_two, always, never = Recorder(), Recorder(), Recorder()
    run(job, every_two, checkpoint_epochs=2)
    run(job, always, checkpoint_seconds=0.0)
    run(job, never, checkpoint_seconds=3600.0)
    assert (every_two.saves, always.saves, never.saves) == (2, 5, 0)  # none when the trial has ended


def test_reports_of_one_body_are_one_report(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        for _ in trial.epochs():
            trial.report({"train/loss": 2.0})
            trial.report(loss=1.0, accuracy=0.5)

    hooks = Recorder()
    run(job, hooks, function=function, length=Length(epochs=1))
    assert hooks.reports == [(1, {"train/loss": 2.0, "val/loss": 1.0, "val/accuracy": 0.5})]


def test_function_keeps_value_and_weights_of_the_best_epoch(job: FunctionJob) -> None:
    def function(trial: Trial) -> Any:
        model = torch.nn.Linear(1, 1, bias=False)
        for epoch in trial.epochs(model=model):
            torch.nn.init.constant_(model.weight, float(epoch))
            trial.report(accuracy=[0.1, 0.9, 0.5][epoch], loss=0.0)
        return trial.model(model, build=f"{__name__}:build")

    three = Length(epochs=3)
    best = run(job, Recorder(), function=function, goals=(ACCURACY,), length=three)
    last = run(job, Recorder(), function=function, goals=(ACCURACY,), length=three, at="last")
    assert (best.values, best.epoch, best.weights["weight"].item()) == ((0.9,), 2, 1.0)
    assert (last.values, last.epoch, last.weights["weight"].item()) == ((0.5,), 3, 2.0)
    assert best.metrics == {"val/accuracy": 0.9, "val/loss": 0.0}
    assert best.code["build"] == f"{__name__}:build"
    assert len(best.code["build_sha256"]) == 64
    assert (best.facts["parameters"], best.facts["size_bytes"]) == (1.0, 4.0)


def test_a_model_that_comes_too_late_for_its_best_weights_is_refused(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        for _ in trial.epochs():
            trial.report(loss=1.0)
        trial.model(torch.nn.Linear(1, 1), build=f"{__name__}:build")

    with pytest.raises(TrialError, match=r"pass it to trial\.epochs"):
        run(job, Recorder(), function=function)
    assert run(job, Recorder(), function=function, at="last").weights.keys() == {"weight", "bias"}


def test_model_without_epochs_may_come_last_and_is_warned_of(
    job: FunctionJob, caplog: pytest.LogCaptureFixture
) -> None:
    def function(trial: Trial) -> None:
        for loss in (1.0, 2.0):
            trial.report(loss=loss)
        trial.model(torch.nn.Linear(1, 1), build=f"{__name__}:build")

    with caplog.at_level(logging.WARNING):
        outcome = run(job, Recorder(), function=function)
    assert (outcome.values, outcome.weights.keys()) == ((1.0,), {"weight", "bias"})
    assert "after report 2; the best report is 1" in caplog.text


def test_function_ends_by_patience_or_time(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        for _ in trial.epochs():
            trial.report(loss=1.0)

    waited = run(job, Recorder(), function=function, length=Length(epochs=50, patience=3))
    late = run(job, Recorder(), function=function, length=Length(epochs=50, seconds=0.0))
    assert (waited.status, waited.epochs) == ("complete", 4)
    assert (late.status, late.epochs) == ("complete", 1)


def test_a_function_may_report_without_epochs(job: FunctionJob) -> None:
    hooks = Recorder()
    outcome = run(job, hooks, function=function_reporting({"loss": 3.0}, {"loss": 1.0}, {"loss": 2.0}))
    assert [epoch for epoch, _ in hooks.reports] == [1, 2, 3]
    assert (outcome.status, outcome.values, outcome.epoch, outcome.epochs) == ("complete", (1.0,), 2, 3)


def test_a_function_without_epochs_can_ask_whether_to_end(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        for _ in range(9):
            trial.report(loss=1.0)
            if trial.over():
                break

    pruned, stopped = Recorder(prune_at=3), Recorder(stop_after=4)
    assert run(job, pruned, function=function).status == "pruned"
    assert run(job, stopped, function=function).status == "stopped"
    assert (len(pruned.reports), len(stopped.reports)) == (3, 4)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (Length(epochs=4), 4),
        (Length(steps=10, report_every=4), 3),
        (Length(epochs=9, patience=2), 3),
        (Length(epochs=9, seconds=0.0), 1),
    ],
)
def test_over_without_epochs_is_true_at_the_end_of_the_budget(
    job: FunctionJob, length: Length, expected: int
) -> None:
    def function(trial: Trial) -> None:
        for _ in range(20):
            trial.report(loss=1.0)
            if trial.over():
                break

    outcome = run(job, Recorder(), function=function, length=length)
    assert (outcome.status, outcome.epochs) == ("complete", expected)


def test_reports_without_epochs_go_on_from_those_of_earlier_attempts(job: FunctionJob) -> None:
    """A library that resumes from its own files: the value is the best of all the trial's reports."""
    earlier = {n: {"val/accuracy": value, "system/rss": 1.0} for n, value in [(1, 0.9), (2, 0.1), (3, 0.2)]}

    def function(trial: Trial) -> None:
        assert (trial.attempt, trial.number, trial.budget.epochs) == (2, 7, 6)
        for accuracy in (0.3, 0.4, 0.5, 0.6):
            trial.report(accuracy=accuracy)
            if trial.over():
                break

    hooks = Recorder()
    again = replace(job, earlier=earlier, attempt=2, number=7)
    outcome = run(again, hooks, function=function, goals=(ACCURACY,))
    assert [epoch for epoch, _ in hooks.reports] == [4, 5, 6]
    assert (outcome.values, outcome.epoch, outcome.epochs) == ((0.9,), 1, 6)
    assert outcome.metrics == {"val/accuracy": 0.9}


def test_report_without_epochs_is_told_before_the_function_goes_on(job: FunctionJob) -> None:
    """What the function writes next may let it skip that epoch once it resumes."""

    class Telling(Recorder):
        told = 0

        def send_heartbeat(self) -> None:
            self.told += 1

    hooks, told = Telling(), []

    def function(trial: Trial) -> None:
        trial.report(loss=1.0)
        told.append(hooks.told)

    run(job, hooks, function=function)
    assert told == [1]


class TellingHooks(Recorder):
    """Hooks that hold what is reported until they are asked to tell it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[int, float] = {}

    def send_heartbeat(self) -> None:
        """Tells all that is held."""
        self.told = {epoch: metrics["val/accuracy"] for epoch, metrics in self.reports}


def test_reports_of_a_process_that_is_killed_before_they_are_told_are_told_by_the_next_attempt(
    job: FunctionJob,
) -> None:
    """Its own file says that they were made, so nobody would make them again: the best may be among them."""

    def die(trial: Trial) -> None:
        for accuracy in (0.1, 0.9, 0.3):
            trial.report(accuracy=accuracy)
        raise ZeroDivisionError  # as far as hooks know that a process is gone

    def resume(trial: Trial) -> None:
        assert trial.reports == 3
        values = {number: report["val/accuracy"] for number, report in trial.earlier_reports.items()}
        assert values == {1: 0.1, 2: 0.9, 3: 0.3}  # a tracker that a command logs to gets these, too
        trial.report(accuracy=0.2)
        assert trial.last_report == {"val/accuracy": 0.2}

    killed, hooks = TellingHooks(), TellingHooks()
    with pytest.raises(ZeroDivisionError):
        run(job, killed, function=die, goals=(ACCURACY,))
    assert killed.told == {1: 0.1}
    earlier = {epoch: {"val/accuracy": value} for epoch, value in killed.told.items()}
    outcome = run(replace(job, earlier=earlier, attempt=2), hooks, function=resume, goals=(ACCURACY,))
    assert (outcome.values, outcome.epoch, outcome.epochs) == ((0.9,), 2, 4)
    assert [epoch for epoch, _ in hooks.reports] == [2, 3, 4]
    assert hooks.told[2] == 0.9


def test_pruner_is_not_asked_about_a_report_after_which_the_function_returns(job: FunctionJob) -> None:
    """There is nothing left to stop: a function that reports once has trained to its end."""

    class Deferring(Recorder):
        asked, held = 0, False

        def hold(self, epoch: int, metrics: Mapping[str, float]) -> None:
            self.held = True
            self.report(epoch, metrics)

        def judge(self) -> bool:
            self.asked += self.held
            return not self.held

    hooks = Deferring()
    assert run(job, hooks, function=function_reporting({"loss": 1.0})).status == "complete"
    assert (len(hooks.reports), hooks.asked) == (1, 0)
    assert run(job, hooks, function=function_reporting({"loss": 1.0}, {"loss": 0.5})).status == "pruned"
    assert hooks.asked == 1


def test_noted_report_that_the_pruner_stops_at_ends_the_next_attempt(job: FunctionJob) -> None:
    """The one that was never judged decides, and what follows it does not count."""

    class Pruning(TellingHooks):
        def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
            return super().report(epoch, metrics) and epoch != 2

    def die(trial: Trial) -> None:
        for accuracy in (0.1, 0.2, 0.3):
            trial.report(accuracy=accuracy)
        raise ZeroDivisionError

    def ask(trial: Trial) -> None:
        assert trial.over()

    with pytest.raises(ZeroDivisionError):
        run(job, TellingHooks(), function=die, goals=(ACCURACY,))
    earlier = {1: {"val/accuracy": 0.1}}
    outcome = run(replace(job, earlier=earlier, attempt=2), Pruning(), function=ask, goals=(ACCURACY,))
    assert (outcome.status, outcome.epochs) == ("pruned", 2)


async def wait_to_train(trial: Trial) -> None:
    trial.report(loss=1.0)


def yield_epochs(trial: Trial) -> Iterator[int]:
    for epoch in trial.epochs():
        trial.report(loss=1.0)
        yield epoch


class TrainsWhenCalled:
    def __call__(self, trial: Trial) -> None:
        trial.report(loss=1.0)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (wait_to_train, r"an async function; write def train\(trial\): return asyncio\.run\(wait_to_train"),
        (partial(wait_to_train), "an async function"),
        (yield_epochs, r"a generator; take out `yield`, or loop over it: for _ in yield_epochs"),
        (lambda: None, "must take one argument, the trial"),
        (lambda config, reporter: None, r"must take one argument, the trial; but got <lambda>\(config, rep"),
        (
            TrainsWhenCalled,
            r"the class TrainsWhenCalled; write def train\(trial\): return TrainsWhenCalled\(…\)",
        ),
    ],
)
def test_function_that_does_not_train_when_called_with_a_trial_is_refused(
    job: FunctionJob, function: Any, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run(job, Recorder(), function=function)
    with pytest.raises(InputError, match=said):
        dry_run_function(replace(job, function=function))


@pytest.mark.parametrize(
    "function", [TrainsWhenCalled(), TrainsWhenCalled().__call__, partial(lambda k, t: t.report(loss=k), 1.0)]
)
def test_whatever_is_called_with_a_trial_is_a_training_function(job: FunctionJob, function: Any) -> None:
    assert run(job, Recorder(), function=function).values == (1.0,)


def test_attempt_without_a_new_report_ends_with_the_earlier_value(job: FunctionJob) -> None:
    outcome = run(job, Recorder(), function=lambda trial: None, earlier={1: {"val/loss": 2.0}})
    assert (outcome.status, outcome.values, outcome.epochs) == ("complete", (2.0,), 1)


def test_last_report_of_a_function_without_epochs_is_never_pruned(job: FunctionJob) -> None:
    def judged(asked: int) -> str:
        def function(trial: Trial) -> None:
            for _ in range(asked):
                trial.report(loss=1.0)

        return run(job, Recorder(prune_at=asked), function=function, length=Length(epochs=6)).status

    assert [judged(1), judged(6)] == ["complete", "complete"]

    def loop(trial: Trial) -> None:
        for _ in trial.epochs():
            trial.report(loss=1.0)

    assert run(job, Recorder(prune_at=6), function=loop).status == "complete"


def test_report_is_judged_when_the_function_goes_on(job: FunctionJob) -> None:
    hooks = Recorder(prune_at=1)
    outcome = run(job, hooks, function=function_reporting({"loss": 3.0}, {"loss": 1.0}))
    assert (outcome.status, outcome.values, len(hooks.reports)) == ("pruned", (3.0,), 1)


@pytest.mark.parametrize("returned", [0.5, np.float32(0.5), torch.tensor(0.5), [0.5]])
def test_number_that_a_function_returns_is_its_report(job: FunctionJob, returned: Any) -> None:
    hooks = Recorder()
    assert run(job, hooks, function=lambda trial: returned).values == (0.5,)
    assert hooks.reports == [(1, {"val/loss": 0.5})]


@pytest.mark.parametrize(
    ("returned", "reported"),
    [
        ({"loss": 0.5, "history": [1.0, 0.5]}, [0.9, 0.5]),
        ({"val/loss": np.float32(0.5)}, [0.9, 0.5]),
        ({"loss": 0.9}, [0.9]),
        ({"accuracy": 0.5}, [0.9]),
        ({"loss": "0.5"}, [0.9]),
    ],
)
def test_objective_in_a_dict_that_a_function_returns_is_its_report(
    job: FunctionJob, returned: Any, reported: list[float]
) -> None:
    """As Ray's functions do; what it has reported itself counts once."""
    hooks = Recorder()

    def function(trial: Trial) -> Any:
        trial.report(loss=0.9)
        return returned

    assert run(job, hooks, function=function).values == (min(reported),)
    assert [metrics["val/loss"] for _, metrics in hooks.reports] == reported


def test_returned_number_that_was_reported_already_adds_no_report(job: FunctionJob) -> None:
    def function(trial: Trial) -> float:
        for loss in (0.5, 0.7):
            trial.report(loss=loss)
        return 0.5

    hooks = Recorder()
    assert run(job, hooks, function=function).epochs == len(hooks.reports) == 2


def test_exit_with_zero_after_a_report_is_an_end(job: FunctionJob) -> None:
    def leave(code: Any) -> Any:
        def function(trial: Trial) -> None:
            trial.report(loss=1.0)
            raise SystemExit(code)

        return function

    assert run(job, Recorder(), function=leave(0)).status == "complete"
    with pytest.raises(TrialError, match=r"got sys\.exit\(3\)"):
        run(job, Recorder(), function=leave(3))


def test_interrupt_raised_in_a_lane_is_the_functions_error(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as lane, pytest.raises(TrialError, match="it raised KeyboardInterrupt"):
        lane.submit(run, job, Recorder(), function=function).result()


@pytest.mark.parametrize("uses_epochs", [True, False])
def test_plain_state_travels_in_the_checkpoint(job: FunctionJob, uses_epochs: bool) -> None:
    seen: list[Any] = []

    def function(trial: Trial) -> None:
        trial.state.setdefault("rates", [1.0])
        for _ in trial.epochs() if uses_epochs else range(9):
            trial.state["rates"].append(trial.state["rates"][-1] / 2)
            trial.report(loss=1.0)
            if not uses_epochs and trial.over():
                break
        seen.append(list(trial.state["rates"]))

    first, second = Recorder(stop_after=2), Recorder()
    run(job, first, function=function)
    second.saved = first.saved
    run(job, second, function=function, length=Length(epochs=3), earlier=dict(first.reports))
    assert seen == [[1.0, 0.5, 0.25], [1.0, 0.5, 0.25, 0.125]]


def test_state_that_is_not_plain_is_refused(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        trial.state["weight"] = torch.zeros(1)
        for _ in trial.epochs():
            trial.report(loss=1.0)

    with pytest.raises(TrialError, match=r"trial\.state must hold plain values"):
        run(job, Recorder(), function=function, checkpoint_epochs=1)


def test_report_after_the_loop_belongs_to_the_last_epoch(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        for _ in trial.epochs():
            pass
        trial.report(loss=0.25)

    hooks = Recorder()
    outcome = run(job, hooks, function=function, length=Length(epochs=3))
    assert hooks.reports == [(3, {"val/loss": 0.25})]
    assert (outcome.values, outcome.epochs) == ((0.25,), 3)


def test_epoch_left_by_break_still_counts(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        for epoch in trial.epochs():
            trial.report(loss=1.0 - epoch)
            if epoch == 1:
                break

    outcome = run(job, Recorder(), function=function)
    assert (outcome.status, outcome.values, outcome.epochs) == ("complete", (0.0,), 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.tensor(0.5), 0.5),
        (torch.tensor(2), 2.0),
        (np.float32(0.25), 0.25),
        (np.array(0.25), 0.25),
        (3, 3.0),
        (torch.tensor(0.5, requires_grad=True), 0.5),
    ],
)
def test_report_takes_numbers_of_any_type(job: FunctionJob, value: Any, expected: float) -> None:
    assert run(job, Recorder(), function=function_reporting({"loss": value})).values == (expected,)


def test_report_leaves_out_non_finite_side_metric_with_warning(
    job: FunctionJob, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Recorder()
    with caplog.at_level(logging.WARNING):
        run(job, hooks, function=function_reporting({"loss": 1.0, "ratio": float("nan")}))
    assert hooks.reports == [(1, {"val/loss": 1.0})]
    assert "val/ratio was nan" in caplog.text


@pytest.mark.parametrize(
    "name",
    ["", "../x", "a//b", "best/loss", "system/cpu", "a\nb", "a" * 300, "a=b", "a|b", "a<b", "`a`", "-x"],
)
def test_report_of_metric_name_that_cannot_be_stored_is_refused(job: FunctionJob, name: str) -> None:
    with pytest.raises(TrialError, match="name must"):
        run(job, Recorder(), function=function_reporting({name: 1.0}))


@pytest.mark.parametrize(
    "name", ["mAP@0.5", "recall(k: 5)", "recall(k=5)", "Genauigkeit für Bär", "acc %", "top-5 [val]", "精度"]
)
def test_metric_is_reported_by_the_name_that_its_code_gives_it(job: FunctionJob, name: str) -> None:
    hooks = Recorder()
    goal = Goal(metric=f"val/{name}", maximize=True)
    ended = run(job, hooks, function=function_reporting({name: 0.5}), goals=(goal,))
    assert ended.values == (0.5,)
    assert hooks.reports[0][1] == {f"val/{name}": 0.5}


@pytest.mark.parametrize(("one", "other"), [("mAP@0.5", "mAP%0.5"), ("acc(1)", "acc[1]"), ("a&b", "a_b")])
def test_metrics_that_mlflow_could_not_tell_apart_are_refused(job: FunctionJob, one: str, other: str) -> None:
    with pytest.raises(TrialError, match="must differ in more than signs"):
        run(job, Recorder(), function=function_reporting({one: 0.5, other: 0.5, "loss": 1.0}))


def test_an_objective_never_reported_is_an_error_with_the_nearest_name(job: FunctionJob) -> None:
    with pytest.raises(TrialError, match=r"val/accuracy must be reported.*did you mean val/acuracy"):
        run(job, Recorder(), function=function_reporting({"acuracy": 0.5}), goals=(ACCURACY,))
    with pytest.raises(TrialError, match="no report at all"):
        run(job, Recorder(), function=function_reporting())


def test_report_without_one_of_several_objectives_is_refused(job: FunctionJob) -> None:
    both = (ACCURACY, LOSS)
    outcome = run(job, Recorder(), function=function_reporting({"accuracy": 0.5, "loss": 2.0}), goals=both)
    assert outcome.values == (0.5, 2.0)
    with pytest.raises(TrialError, match="val/loss must be reported"):
        run(job, Recorder(), function=function_reporting({"accuracy": 0.5}), goals=both)


def test_unstorable_state_is_refused_by_name_before_an_epoch(job: FunctionJob) -> None:
    class Odd:
        def state_dict(self) -> dict[str, Any]:
            return {"where": {"file": Path("x")}}

        def load_state_dict(self, state: Any) -> None:
            pass

    def function(trial: Trial) -> None:
        for _ in trial.epochs(sampler=Odd()):
            pytest.fail("an epoch was spent")

    with pytest.raises(
        TrialError, match=r"sampler, given to trial.epochs.*Path at state\['where'\]\['file'\]"
    ):
        run(job, Recorder(), function=function)
    with pytest.raises(TrialError, match=r"thing, given to trial.epochs: it must have state_dict"):
        run(job, Recorder(), function=lambda trial: next(trial.epochs(thing=3)))


def test_checkpoint_of_other_states_or_workers_is_refused(job: FunctionJob) -> None:
    hooks = Recorder(stop_after=1)
    run(job, hooks)
    with pytest.raises(TrialError, match="names that the checkpoint holds"):
        run(job, hooks, function=lambda trial: next(trial.epochs(net=torch.nn.Linear(1, 1))))
    assert hooks.saved is not None
    hooks.saved[1]["world_size"] = 2
    with pytest.raises(TrialError, match="as many workers"):
        run(job, hooks)
    hooks.saved = ({}, {"family": "image_cnn"})
    with pytest.raises(TrialError, match="training function"):
        run(job, hooks)


def test_function_that_loops_epochs_twice_is_refused(job: FunctionJob) -> None:
    def function(trial: Trial) -> Iterator[int]:
        for _ in (1, 2):
            for _ in trial.epochs():
                trial.report(loss=1.0)
        return iter(())

    with pytest.raises(TrialError, match="called once"):
        run(job, Recorder(), function=function)


@pytest.mark.parametrize("name", ["nowhere.at_all:build", "os:never", "os", "__main__:build", "os:sep"])
def test_model_whose_build_cannot_be_imported_is_refused(job: FunctionJob, name: str) -> None:
    with pytest.raises(InputError):
        run(job, Recorder(), function=lambda trial: trial.model(torch.nn.Linear(1, 1), build=name))


def test_function_out_of_gpu_memory_is_out_of_memory(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(OutOfMemory, match="Tried to allocate"):
        run(job, Recorder(), function=function)


def test_error_of_the_function_is_raised_unchanged(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(job, Recorder(), function=function)


def test_function_heartbeat_steps_only_grow(job: FunctionJob) -> None:
    hooks = Recorder()
    run(job, hooks)
    assert hooks.steps == sorted(set(hooks.steps))
    assert len(hooks.steps) >= 6


def test_function_check_runs_two_epochs_and_demands_the_objective(job: FunctionJob) -> None:
    seen: list[int] = []

    def function(trial: Trial) -> None:
        for epoch in trial.epochs():
            seen.append(epoch)
            trial.report(accuracy=0.5)

    found = dry_run_function(replace(job, function=function, goals=(ACCURACY,)))
    assert (found.reported, found.parameters, seen) == ({"val/accuracy": 0.5}, None, [0, 1])
    with pytest.raises(InputError, match="val/loss must be reported"):
        dry_run_function(replace(job, function=function))


def test_function_check_tells_the_size_of_the_module(job: FunctionJob) -> None:
    found = dry_run_function(job)
    assert (found.parameters, found.size_bytes) == (49, 196)


def build_another(width: int = 1) -> torch.nn.Module:
    return torch.nn.Linear(1, 1)


def build_nothing(width: int = 1) -> None:
    """Forgets to return it."""


def build_without_params() -> torch.nn.Module:
    return torch.nn.Linear(2, 3)


def build_in_vain(width: int = 1) -> torch.nn.Module:
    raise SystemExit("no weights")


def build_alike(width: int = 1) -> torch.nn.Module:
    return torch.nn.Linear(2, 3)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        ("build_another", "its weights do not fit: size mismatch"),
        ("build_nothing", "it returned NoneType"),
        ("build_without_params", "TypeError: .* unexpected keyword argument 'width'"),
        ("build_in_vain", r"sys\.exit\('no weights'\)"),
        ("replace", "must be a function or class that .* defines"),
    ],
)
def test_function_check_builds_the_model_again(job: FunctionJob, build: str, said: str) -> None:
    """Each trial would train to its end, and its model be one that nobody can load."""

    def function(trial: Trial) -> None:
        model = torch.nn.Linear(2, 3)
        for _ in trial.epochs(model=model):
            trial.report(loss=1.0)
        trial.model(model, build=f"{__name__}:{build}")

    with pytest.raises(InputError, match=said):
        dry_run_function(replace(job, function=function, params={"width": 2}))


def test_function_check_tells_of_a_model_without_predict(job: FunctionJob) -> None:
    named = {"predict": f"{__name__}:build_alike"}
    assert dry_run_function(replace(job, function=function_naming({}), params={})).answers_raw
    assert not dry_run_function(replace(job, function=function_naming(named), params={})).answers_raw


def function_naming(named: Mapping[str, str]) -> Any:
    def function(trial: Trial) -> None:
        trial.model(torch.nn.Linear(2, 3), build=f"{__name__}:build_alike", **named)
        trial.report(loss=1.0)

    return function


def test_function_check_ends_a_function_without_epochs(job: FunctionJob) -> None:
    count = 0

    def function(trial: Trial) -> None:
        nonlocal count
        while True:
            try:
                trial.report(loss=1.0)
                count += 1
            except Exception:
                pytest.fail("the end of a look must not be an Exception")

    dry_run_function(replace(job, function=function))
    assert count == 2


def test_function_check_runs_what_comes_after_the_loop(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        for _ in range(9):
            trial.report(loss=1.0)
            if trial.over():
                break
        trial.report(loss=2.0)
        raise ValueError("in the tail")

    with pytest.raises(ValueError, match="in the tail"):
        dry_run_function(replace(job, function=function))


def test_function_check_finds_a_model_that_comes_too_late(job: FunctionJob) -> None:
    def function(trial: Trial) -> None:
        model = torch.nn.Linear(1, 1)
        for _ in trial.epochs():
            trial.report(loss=1.0)
        trial.model(model, build=f"{__name__}:build")

    with pytest.raises(TrialError, match=r"objective\.at: last"):
        dry_run_function(replace(job, function=function))


def test_a_file_from_elsewhere_is_kept_as_a_copy(job: FunctionJob, tmp_path: Path) -> None:
    outside = tmp_path / "model.bin"
    outside.write_text("weights")
    inside = replace(
        job, directory=tmp_path / "own", function=lambda trial: (trial.report(loss=1), trial.keep(outside))
    )
    inside.directory.mkdir()
    assert run(inside, Recorder()).keep == "model.bin"
    assert (inside.directory / "model.bin").read_text() == "weights"


def test_kept_file_must_be_there(job: FunctionJob) -> None:
    with pytest.raises(TrialError, match=r"that is there; but got missing\.bin"):
        run(replace(job, function=lambda trial: trial.keep("missing.bin")), Recorder())
