"""An attempt's bookkeeping: what is kept, when patience and time run out, and what a goal is worth."""

from __future__ import annotations

import json
import math

import pytest

from trainers.errors import InputError, NotFinite
from trainers.loop.progress import ReportWindow, TrainingProgress, drop_not_finite, goal_value, plan_steps
from trainers.types import Goal, Length

MOST, LEAST = (Goal(metric="val/x", maximize=maximize) for maximize in (True, False))


def record(values: list[float], goal: Goal = MOST, at: str = "best", **length: float) -> TrainingProgress:
    progress = TrainingProgress()
    for number, value in enumerate(values):
        metrics = {"val/x": value, "number": float(number), "odd": math.nan}
        progress.record_report(metrics, goal, Length(epochs=99, **length), at)  # type: ignore[arg-type]
    return progress


@pytest.mark.parametrize(
    ("values", "goal", "epoch", "best"),
    [
        ([0.1, 0.3, 0.3, 0.2], MOST, 2, 0.3),  # of equals the first
        ([0.1, 0.3, 0.3, 0.2], LEAST, 1, 0.1),
        ([0.3, 0.1, 0.1, 0.2], LEAST, 2, 0.1),
        ([-1.0, 0.0], MOST, 2, 0.0),
        ([0.0, 0.0], LEAST, 1, 0.0),
    ],
)
def test_best_report_is_kept_with_its_metrics(
    values: list[float], goal: Goal, epoch: int, best: float
) -> None:
    progress = record(values, goal)
    assert (progress.kept_epoch, progress.best, progress.reports) == (epoch, best, len(values))
    assert progress.kept == {"val/x": values[epoch - 1], "number": epoch - 1.0}
    last = record(values, goal, at="last")
    assert (last.kept_epoch, last.best) == (len(values), best)
    assert last.kept["number"] == len(values) - 1


def test_report_says_whether_its_weights_are_to_be_kept() -> None:
    progress, length = TrainingProgress(), Length(epochs=9)
    said = [progress.record_report({"val/x": value}, MOST, length, "best") for value in (0.1, 0.1, 0.2, 0.0)]
    assert said == [True, False, True, False]
    assert progress.record_report({"val/x": 0.0}, MOST, length, "last")


@pytest.mark.parametrize(
    ("values", "goal", "by", "waited"),
    [
        ([0.1, 0.2, 0.3], MOST, 0.05, 0),
        ([0.1, 0.14, 0.18], MOST, 0.05, 0),  # small steps add up, from the value that was last waited from
        ([0.1, 0.14, 0.14], MOST, 0.05, 2),
        ([0.5, 0.75, 0.5], MOST, 0.25, 2),  # by just so much is no improvement
        ([0.5, 0.25, 0.375], LEAST, 0.25, 2),
        ([0.5, 0.2, 0.3, 0.3], LEAST, 0.25, 2),
        ([0.5, 0.4], MOST, 0.0, 1),
        ([0.5], MOST, 9.0, 0),
    ],
)
def test_patience_waits_for_an_improvement_by_more_than_its_least(
    values: list[float], goal: Goal, by: float, waited: int
) -> None:
    assert record(values, goal, min_delta=by).waited == waited


@pytest.mark.parametrize(
    ("length", "finished"),
    [
        (Length(epochs=9), False),
        (Length(epochs=9, patience=3), False),
        (Length(epochs=9, patience=2), True),
        (Length(epochs=9, seconds=7.5), False),
        (Length(epochs=9, seconds=7.0), True),
        (Length(epochs=9, patience=3, seconds=7.0), True),
        (Length(epochs=9, patience=2, seconds=7.5), True),
    ],
)
def test_attempt_ends_by_its_steps_its_patience_or_its_time(length: Length, finished: bool) -> None:
    progress = TrainingProgress(step=9, waited=2, seconds=7.0)
    assert progress.is_finished(length, 10) is finished
    assert progress.is_finished(length, 9)
    assert progress.is_finished(length, 8)


@pytest.mark.parametrize(
    ("length", "plan"),
    [
        (Length(epochs=3), (12, 4)),
        (Length(steps=11), (11, 11)),
        (Length(steps=11, report_every=4), (11, 4)),
        (Length(steps=3, report_every=4), (3, 3)),
    ],
)
def test_steps_and_reports_are_planned_by_epochs_or_steps(length: Length, plan: tuple[int, int]) -> None:
    assert plan_steps(length, 4) == plan


def test_length_without_epochs_and_steps_is_refused() -> None:
    with pytest.raises(InputError, match="epochs or steps") as caught:
        plan_steps(Length(), 4)
    assert caught.value.key == ("budget",)


def test_progress_and_its_window_go_through_json_and_come_back() -> None:
    progress = record([0.1, 0.3, 0.2], patience=5)
    progress.window.add_numbers({"miss": 2.0})
    progress.window.add_numbers({"miss": 3.0, "late": 4.0})
    progress.window.losses = 1.5
    again = TrainingProgress.from_json(json.loads(json.dumps(progress.to_json())))
    assert again == progress
    assert again.window.means() == {"miss": 2.5, "late": 2.0}
    assert ReportWindow().means() == {}
    fresh = TrainingProgress()
    assert (fresh.step, fresh.reports, fresh.waited, fresh.kept_epoch, fresh.window.examples) == (0,) * 5


@pytest.mark.parametrize(
    ("goal", "metrics", "value"),
    [
        ("val/x", {"val/x": 1.0, "x": 2.0}, 1.0),
        ("x", {"val/x": 1.0, "x": 2.0}, 2.0),
        ("x", {"val/x": 1.0}, 1.0),
        ("val/size", {"size": 3.0}, 3.0),
    ],
)
def test_goal_is_found_with_and_without_its_prefix(
    goal: str, metrics: dict[str, float], value: float
) -> None:
    assert goal_value(metrics, Goal(metric=goal, maximize=True)) == value


def test_goal_that_is_unknown_or_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="reported are a, b") as caught:
        goal_value({"b": 1.0, "a": 1.0}, MOST)
    assert caught.value.key == ("objective", "metric")
    with pytest.raises(NotFinite, match="val/x must be a finite number"):
        goal_value({"val/x": math.inf}, MOST)
    assert drop_not_finite({"a": 1.0, "b": math.nan, "c": -math.inf}) == {"a": 1.0}
