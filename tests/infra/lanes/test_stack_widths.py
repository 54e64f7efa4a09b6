"""How wide a stack is to be, by what its steps take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.lanes import stack_widths
from infra.lanes.stack_widths import choose_width, count_steps, measure_widths
from tests.trainers.tiny import MLP, data, job
from trainers.errors import OutOfMemory
from trainers.types import Length


class Stackable(MLP):
    """As its class says."""

    stackable = True


JOB, DATA = job(Stackable()), data()
MANY = 1_000_000  # steps of all trials


def test_width_is_the_one_at_which_a_step_takes_least() -> None:
    assert choose_width({1: 8.0, 4: 4.0, 16: 1.0, 64: 2.0}) == (16, 8.0, "")


def test_width_is_one_where_stacks_gain_nothing() -> None:
    assert choose_width({1: 1.0, 4: 0.95, 16: 2.0})[0] == 1
    assert choose_width({1: 1.0, 4: 2.0}) == (1, 1.0, "stacks take 2.0 times as long")
    assert choose_width({1: 1.0}) == (1, 1.0, "its steps are too long, or memory too small, to try more")


@pytest.mark.parametrize(
    ("seconds", "tried"),
    [
        ({1: 0.016, 4: 0.008, 16: 0.004, 64: 0.002}, [1, 4, 16, 64]),
        ({1: 0.01, 4: 0.02, 16: 0.005, 64: 0.002}, [1, 4, 16, 64]),  # narrow ones are slower, wide ones not
        ({1: 0.001, 4: 0.0011, 16: 0.001}, [1, 4, 16]),  # width does not help: 64 are not tried
        ({1: 0.04, 4: 0.02, 16: None}, [1, 4, 16]),  # memory ended it
        ({1: 1.0}, [1]),  # 4 of them would take a minute and more
    ],
)
def test_widths_are_measured_once_a_node_and_no_further_than_they_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: Mapping[int, float | None], tried: list[int]
) -> None:
    asked: list[int] = []

    def take(_job: object, _encoded: object, width: int, _allowed: int) -> float:
        if width not in asked:
            asked.append(width)
        took = seconds[width]
        if took is None:
            raise OutOfMemory("a stack must fit", "told to")
        return took

    monkeypatch.setattr(stack_widths, "_time_steps", take)
    found = measure_widths(JOB, DATA, tmp_path, steps=MANY)
    assert asked == tried
    assert found == {width: took for width, took in seconds.items() if took is not None}
    asked.clear()
    assert measure_widths(JOB, DATA, tmp_path, steps=0, most=4) == {w: s for w, s in found.items() if w <= 4}
    assert asked == []


@pytest.mark.parametrize(
    ("steps", "tried"), [(799, []), (800, [1, 4]), (3_200, [1, 4, 16]), (12_800, [1, 4, 16, 64])]
)
def test_measuring_takes_no_more_than_a_tenth_of_all_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, tried: list[int]
) -> None:
    trained: dict[int, int] = {}

    def take(_job: object, _encoded: object, width: int, steps: int) -> float:
        trained[width] = trained.get(width, 0) + steps * width
        return 1.0  # however many: more are asked for as long as they are allowed

    monkeypatch.setattr(stack_widths, "_train_for", take)
    monkeypatch.setattr(stack_widths, "WIDTH_HELPS", 0.1)
    monkeypatch.setattr(stack_widths, "LONGEST_S", 1e9)
    found = measure_widths(JOB, DATA, tmp_path, steps=steps)
    assert list(found) == tried
    longest = stack_widths.LEAST_STEPS + 64 + stack_widths.MOST_STEPS
    assert all(made <= min(1.4 * steps / 10, longest * width) for width, made in trained.items())
    assert choose_width({}) == (1, 1.0, "all are trained sooner than stacks are measured")


def test_steps_of_a_trial_are_those_of_its_epochs_or_its_budget() -> None:
    rows = len(DATA.splits["train"])
    assert count_steps(job(Stackable(), epochs=2, batch_size=7), DATA) == 2 * math.ceil(rows / 7)
    assert count_steps(job(Stackable(), epochs=2, batch_size="all"), DATA) == 2
    assert count_steps(job(Stackable(), length=Length(steps=5)), DATA) == 5


def test_time_of_steps_is_measured_by_training(tmp_path: Path) -> None:
    """Whatever the machine does beside, it is a number of seconds; nothing of the trial is left anywhere."""
    found = measure_widths(JOB, DATA, tmp_path / "cache", steps=MANY, most=4)
    assert set(found) == {1, 4}
    assert all(0 < took < 10 for took in found.values())
