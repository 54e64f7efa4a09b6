"""One attempt by made clocks: when it looks around, saves and ends, and what it says of its time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers import tiny
from tests.trainers.tiny import Bad, Noisy, Recorder
from trainers.errors import NotFinite
from trainers.job import Job
from trainers.loop import attempt as attempts
from trainers.loop.attempt import Attempt
from trainers.loop.randomness import capture_state, derive_seed, fix_torch_flags, restore_state, seed_all
from trainers.loop.training import complete_job, train
from trainers.types import Goal, Length


@dataclass
class Clock:
    """Time that goes on by what is done."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class TimedStepper:
    """Makes steps that take so long, one after another, and change nothing."""

    clock: Clock
    takes_s: Iterator[float]
    taken: list[list[int]] = field(default_factory=list)
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    rate: float = 0.5

    def set_rate(self, factor: float) -> None:
        self.rate = factor

    def step(self, group: Sequence[Any], source: Any) -> tuple[float, dict[str, float]]:
        self.clock.now += next(self.takes_s)
        self.taken.append([position for micro in group for position in micro.positions.tolist()])
        return 2.0 * sum(micro.examples for micro in group), {}


@dataclass
class LookedAt(Recorder):
    """Notes at which ticks it is asked whether to stop."""

    looks: list[int] = field(default_factory=list)

    def stopping(self) -> bool:
        self.looks.append(len(self.ticks))
        return super().stopping()


class PairOfRanks:
    """The first of two ranks whose other one does as it does."""

    alone, first, sharded, rank, size = False, True, False, 0, 2

    def broadcast(self, *values: int) -> tuple[int, ...]:
        return values

    def gather_rows(self, vector: torch.Tensor) -> torch.Tensor:
        return torch.stack([vector, vector])


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    with fix_torch_flags(1):
        yield


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(attempts, "time", SimpleNamespace(monotonic=made))
    return made


def make_attempt(
    job: Job, hooks: Recorder, clock: Clock, takes_s: Sequence[float] = (), energy: Any = lambda: None
) -> Attempt:
    made = Attempt(complete_job(job), tiny.data(), hooks, clock=clock, energy=energy)
    if takes_s:
        made.__dict__["stepper"] = TimedStepper(clock, iter(takes_s))
    made.start()
    return made


def steps_job(steps: int, every: int | None = None, **settings: Any) -> Job:
    return tiny.job(length=Length(steps=steps, report_every=every), **settings)


def saved_steps(hooks: Recorder) -> list[int]:
    return [document["progress"]["step"] for _, document in hooks.saved]


# -- looks, checkpoints, ends -------------------------------------------------------------------------------


def test_attempt_alone_looks_around_four_times_a_second(clock: Clock) -> None:
    hooks = LookedAt()
    attempt = make_attempt(steps_job(50), hooks, clock, [1 / 64] * 50)
    attempt.train_to_report()
    assert hooks.looks == [16, 32, 48]
    assert (attempt.status, saved_steps(hooks)) == (None, [])


def test_attempt_does_not_look_around_at_a_report_which_looks_itself(clock: Clock) -> None:
    hooks = LookedAt()
    attempt = make_attempt(steps_job(32, 16), hooks, clock, [1 / 64] * 32)
    attempt.train_to_report()
    assert hooks.looks == []


@pytest.mark.parametrize(
    ("takes_s", "looks"),
    [
        ([1 / 64] * 60, [1, 17, 33, 49]),  # as many steps ahead as fit into a quarter of a second
        ([1 / 64] * 20 + [1 / 16] * 40, [1, 17, 33, 37, 41, 45, 49, 53, 57]),
        ([1.0] * 5, [1, 2, 3, 4]),
        ([1e-9] * 1_500, [1, 1_001]),
    ],
)
def test_ranks_agree_on_the_step_of_their_next_look(
    clock: Clock, takes_s: list[float], looks: list[int]
) -> None:
    hooks = LookedAt()
    attempt = make_attempt(steps_job(len(takes_s)), hooks, clock, takes_s)
    attempt.crew = PairOfRanks()  # type: ignore[assignment]
    attempt.train_to_report()
    assert hooks.looks[: len(looks)] == looks


def test_rank_that_is_asked_to_leave_does_so_at_its_first_look(clock: Clock) -> None:
    hooks = LookedAt(stop_at_tick=1)
    attempt = make_attempt(steps_job(50), hooks, clock, [1 / 64] * 50)
    attempt.crew = PairOfRanks()  # type: ignore[assignment]
    attempt.train_to_report()
    assert (attempt.status, attempt.progress.step, saved_steps(hooks)) == ("stopped", 1, [1])


def test_checkpoint_between_reports_is_written_when_its_seconds_are_over(clock: Clock) -> None:
    hooks = Recorder()
    attempt = make_attempt(steps_job(80, checkpoint_seconds=0.5), hooks, clock, [1 / 64] * 80)
    attempt.train_to_report()
    assert saved_steps(hooks) == [32, 64]
    assert attempt.status is None
    tensors, document = hooks.saved[-1]
    assert document["progress"]["window"]["seconds"] == 1.0
    assert tensors["window"].tolist() == [[2.0 * 1_600, 1_600.0]]  # batches of 32 of 100: 25 on the mean


def test_checkpoint_at_a_report_is_written_by_reports_or_by_seconds(clock: Clock) -> None:
    for settings, wanted in (
        ({"checkpoint_epochs": 2}, [8, 16]),
        ({"checkpoint_seconds": 1 / 8}, [8, 16]),
        ({"checkpoint_epochs": 3, "checkpoint_seconds": 1 / 8}, [8, 12]),
        ({}, []),
    ):
        hooks = Recorder()
        attempt = make_attempt(steps_job(20, 4, **settings), hooks, clock, [1 / 64] * 20)
        while attempt.status is None:
            attempt.train_to_report()
            attempt.report(attempt.compose_report({"accuracy": 0.5}))
        assert saved_steps(hooks)[: len(wanted)] == wanted, settings
        assert 20 not in saved_steps(hooks)
        assert attempt.status == "complete"
        assert hooks.epochs == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("steps", "every", "targets"), [(10, 4, [4, 8, 10]), (8, 4, [4, 8]), (3, None, [3])])
def test_reports_come_every_so_many_steps_and_at_the_end(
    clock: Clock, steps: int, every: int | None, targets: list[int]
) -> None:
    attempt = make_attempt(steps_job(steps, every), Recorder(), clock, [0.0] * steps)
    found = []
    while attempt.progress.step < steps:
        found.append(attempt.target)
        attempt.train_to_report()
        assert attempt.progress.step == found[-1]
    assert found == targets


def test_examples_are_those_of_the_step_whoever_made_the_steps_before(clock: Clock) -> None:
    attempt = make_attempt(steps_job(12, 3), Recorder(), clock, [0.0] * 12)
    wanted = [
        [position for micro in group for position in micro.positions.tolist()]
        for group, _ in zip(attempt.feed.groups(0), range(12), strict=False)
    ]
    attempt.train_to_report()
    attempt.train_to_report()
    attempt.note_steps(3, 1.0, 96)  # a stack made them
    attempt.train_to_report()
    assert attempt.stepper.taken == wanted[:6] + wanted[9:]  # type: ignore[attr-defined]
    assert len(attempt.hooks.ticks) == 10  # type: ignore[attr-defined]
    assert attempt.ticks == 12


def test_checkpoint_of_the_last_step_is_complete_as_it_is() -> None:
    hooks = Recorder()
    train(tiny.job(epochs=2, checkpoint_epochs=1), tiny.data(), hooks)
    ((tensors, document),) = hooks.saved
    for step, epochs in ((8, []), (7, [2])):
        changed = {**document, "progress": {**document["progress"], "step": step}}
        again = Recorder(start=(tensors, changed))
        outcome = train(tiny.job(epochs=2), tiny.data(), again)
        assert (outcome.status, again.epochs) == ("complete", epochs)


def test_attempt_that_is_stopped_before_its_first_report_has_no_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "_LOOK_S", 0.0)
    hooks = Recorder(stop_at_tick=2)
    outcome = train(tiny.job(epochs=2, read_test=True), tiny.data(), hooks)
    assert (outcome.status, outcome.values, outcome.epoch, outcome.epochs) == ("stopped", (), 0, 0)
    assert (dict(outcome.metrics), dict(outcome.weights), dict(outcome.test_scores)) == ({}, {}, {})
    assert "latency_ms" not in outcome.facts
    assert saved_steps(hooks) == [2]


# -- time and joules ----------------------------------------------------------------------------------------


def test_time_and_joules_are_those_of_training_and_of_what_comes_between_reports(clock: Clock) -> None:
    """Two joules a second; evaluations take 3 s."""
    job = steps_job(8, 4, goals=(Goal(metric="val/accuracy", maximize=True),), per_second={"price": 0.5})
    attempt = make_attempt(job, Recorder(), clock, [0.125] * 8, energy=lambda: 2 * clock.now)
    clock.now += 7.0  # between its start and its first step
    reports = []
    for _ in range(2):
        attempt.train_to_report()
        clock.now += 3.0
        reports.append(attempt.compose_report({"accuracy": 0.5}))
        attempt.report(reports[-1])
    assert [report["train/epoch_seconds"] for report in reports] == [0.5, 0.5]
    assert [report["train/examples_per_second"] for report in reports] == [200.0, 200.0]
    assert [report["train/loss"] for report in reports] == [2.0, 2.0]
    assert (attempt.progress.seconds, attempt.progress.joules) == (7.0 + 2 * 3.5, 2 * 14.0)
    facts = attempt.outcome().facts
    assert (facts["train_seconds"], facts["price"], facts["energy_joules"]) == (14.0, 7.0, 28.0)


def test_window_of_a_resumed_attempt_goes_on_with_the_seconds_it_has(clock: Clock) -> None:
    hooks = LookedAt(stop_at_tick=16)
    first = make_attempt(steps_job(32), hooks, clock, [1 / 64] * 32)
    first.train_to_report()
    assert first.status == "stopped"
    clock.now += 50.0
    second = make_attempt(steps_job(32), Recorder(start=hooks.saved[0]), clock, [1 / 64] * 32)
    clock.now += 5.0
    second.train_to_report()
    report = second.compose_report({"accuracy": 0.5})
    assert report["train/epoch_seconds"] == 0.5
    assert second.progress.seconds == 0.25 + 5.0 + 0.25
    assert report["train/loss"] == 2.0


@pytest.mark.parametrize(
    ("told", "joules"), [([None, 4.0, 6.0], 2.0), ([4.0, None, 6.0], 0.0), ([4.0, 6.0, 9.0], 5.0)]
)
def test_joules_are_added_where_both_looks_tell_them(
    clock: Clock, told: list[float | None], joules: float
) -> None:
    looks = iter([*told, *told[-1:] * 9])
    attempt = make_attempt(steps_job(8, 4), Recorder(), clock, [0.25] * 8, energy=lambda: next(looks))
    for _ in range(2):
        attempt.train_to_report()
        attempt.compose_report({"accuracy": 0.5})
    assert attempt.progress.joules == joules


# -- seeds, batches, errors ---------------------------------------------------------------------------------


def test_generators_have_seeds_of_their_own_by_the_job_s_and_the_rank(clock: Clock) -> None:
    attempt = make_attempt(tiny.job(seed=5), Recorder(), clock)
    assert torch.initial_seed() == derive_seed(5, 1, 0)
    assert attempt.generator.initial_seed() == derive_seed(5, 2, 0)


@pytest.mark.parametrize(("size", "judged"), [(4, 32), (8, 32), (9, 36), (50, 200), ("all", 400)])
def test_evaluations_take_batches_of_four_times_the_size_and_32_at_least(
    clock: Clock, size: Any, judged: int
) -> None:
    assert make_attempt(tiny.job(batch_size=size), Recorder(), clock).judged_at_once == judged


@pytest.mark.parametrize(
    ("at", "where"), [(1, "epoch 1, step 1"), (4, "epoch 1, step 4"), (6, "epoch 2, step 6")]
)
def test_number_that_is_not_finite_is_said_with_its_epoch_and_step(at: int, where: str) -> None:
    with pytest.raises(NotFinite, match=f"nan at {where}$|nan at {where}[^0-9]"):
        train(tiny.job(Bad({"at": at}), epochs=3), tiny.data(), Recorder())


def test_stepper_is_made_with_the_first_own_step_and_let_go_of_at_the_end(clock: Clock) -> None:
    attempt = make_attempt(steps_job(2, 1), Recorder(), clock)
    assert not attempt.has_stepper
    attempt.train_to_report()
    assert attempt.has_stepper
    assert attempt.stepper.optimizers
    attempt.close()
    assert attempt.stepper.optimizers == {}
    assert attempt.cost() == {}


def next_draws() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(1))]


@pytest.mark.parametrize("resumed", [False, True])
def test_process_that_others_drew_from_is_taken_back_as_it_was_left(resumed: bool, clock: Clock) -> None:
    """Torch's draws go on from what the attempt drew meanwhile by itself; so does its own generator."""
    hooks, job = Recorder(), tiny.job(Noisy(), seed=5, epochs=2, checkpoint_epochs=1)
    train(job, tiny.data(), hooks)
    attempt = make_attempt(job, Recorder(start=hooks.saved[0] if resumed else None), clock)
    attempt.take_process()  # it is its own already
    kept = capture_state(attempt.generator)
    wanted = next_draws()
    restore_state(kept, attempt.generator)
    attempt.share_process()
    assert attempt.chance is not None
    own = float(torch.rand(1, generator=attempt.chance))
    torch.rand(1, generator=attempt.generator)
    moved = attempt.generator.get_state()
    seed_all(99)
    next_draws()
    attempt.take_process()
    found = next_draws()
    assert found[:2] == wanted[:2]
    assert own == wanted[2]
    restore_state(kept, torch.Generator())
    torch.rand(1)
    assert found[2] == float(torch.rand(1))
    assert torch.equal(attempt.generator.get_state(), moved)
