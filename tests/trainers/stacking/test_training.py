"""A stacked trial is the same trial: its numbers, its end, its checkpoints, whoever its neighbours are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainers import tiny
from tests.trainers.tiny import Recorder
from trainers.data.batches import GROUPS
from trainers.data.dataset import EncodedDataset
from trainers.errors import NotFinite
from trainers.job import Job, Outcome
from trainers.loop.training import train
from trainers.stacking.training import Member, train_stack
from trainers.types import Batch, Length, Params, State

OPTIONS: tuple[dict[str, Any], ...] = (
    {"optimizer": "sgd", "weight_clip": 0.2},
    {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "schedule": "cosine"},
    {"optimizer": "adam", "l1": 1e-3, "gradient_clip": 0.1, "schedule": "warmup-cosine"},
    {"optimizer": "adam", "dropout": 0.4, "beta1": 0.5, "beta2": 0.9, "warmup": 0.3},
    {"optimizer": "adamw", "weight_decay": 0.1, "label_smoothing": 0.2, "dropout": 0.2},
    {"optimizer": "rmsprop", "momentum": 0.5, "schedule": "step", "gradient_clip": 0.5},
)


DIVERGING = {"learning_rate": 1e38, "weight_decay": 1e10}


class Net(tiny.MLP):
    stackable: ClassVar[bool] = True


class Noisy(tiny.Noisy):
    stackable: ClassVar[bool] = True


class Curious(Net):
    """Looks at its values."""

    def outputs(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        found: torch.Tensor = module(batch["inputs"])
        return found if float(found.detach().sum()) < 1e30 else found * 2


class Normed(Net):
    """With batch norm, and no bias before it."""

    def build(self, state: State, params: Params) -> nn.Module:
        first = nn.Linear(tiny.FEATURES, 8, bias=False)
        return nn.Sequential(first, nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, tiny.CLASSES))


class Pair:
    """A job with its hooks."""

    def __init__(self, job: Job, hooks: Recorder | None = None) -> None:
        self.job, self.hooks = job, hooks or Recorder()
        self.member = Member(job=job, hooks=self.hooks)


def run_stack(
    pairs: Sequence[Pair],
    encoded: EncodedDataset | None = None,
    *,
    later: Sequence[Pair] = (),
    width: int = 8,
) -> list[Any]:
    """What became of each, those that came later at the end; each must have ended once."""
    found: dict[int, Any] = {}
    waiting: Iterator[Pair] = iter(later)

    def ended(member: Member, outcome: Outcome | Exception) -> None:
        assert id(member) not in found
        found[id(member)] = outcome

    def refill() -> Member | None:
        pair = next(waiting, None)
        return None if pair is None else pair.member

    members = [pair.member for pair in pairs]
    train_stack(members, encoded or tiny.data(), refill=refill, ended=ended, width=width)
    return [found[id(pair.member)] for pair in (*pairs, *later)]


def jobs(family: Any = Net, **settings: Any) -> list[Job]:
    given = {"epochs": 5, "at": "last", **settings}
    return [
        tiny.job(family(), seed=i, learning_rate=0.01 * (i + 1), **{**given, **one})
        for i, one in enumerate(OPTIONS)
    ]


def assert_same(stacked: Any, alone: Outcome, *, within: float = 1e-5) -> None:
    assert isinstance(stacked, Outcome), stacked
    assert stacked.status == alone.status
    assert (stacked.epoch, stacked.epochs) == (alone.epoch, alone.epochs)
    assert stacked.metrics.keys() == alone.metrics.keys()
    assert stacked.weights.keys() == alone.weights.keys()
    assert stacked.metrics["val/loss"] == pytest.approx(alone.metrics["val/loss"], rel=within)
    for name, weight in alone.weights.items():
        torch.testing.assert_close(
            stacked.weights[name], weight, rtol=0, atol=within * float(weight.abs().max() + 1e-6)
        )


SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"batch_size": "all"},
    {"accumulate": 3},
    {"length": Length(steps=20, report_every=3)},
    {"family": Noisy},
    {"family": Normed},
)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_stacked_trial_is_the_trial_by_itself(settings: dict[str, Any]) -> None:
    pairs = [Pair(job) for job in jobs(**settings)]
    for pair, stacked in zip(pairs, run_stack(pairs), strict=True):
        hooks = Recorder()
        assert_same(stacked, train(pair.job, tiny.data(), hooks))
        assert pair.hooks.losses() == pytest.approx(hooks.losses(), rel=1e-5)
        assert pair.hooks.epochs == hooks.epochs
        assert [r["train/learning_rate"] for r in pair.hooks.reports] == pytest.approx(
            [r["train/learning_rate"] for r in hooks.reports]
        )


def test_half_precision_in_a_stack_is_that_of_the_trial_by_itself() -> None:
    pairs = [Pair(job) for job in jobs(precision="bf16")[:-1]]  # the last makes the most of every rounding
    for pair, stacked in zip(pairs, run_stack(pairs), strict=True):
        hooks = Recorder()
        train(pair.job, tiny.data(), hooks)
        assert isinstance(stacked, Outcome)
        assert pair.hooks.losses() == pytest.approx(hooks.losses(), rel=2e-3)


def test_learning_rate_of_1e_9_learns_nothing_beside_one_that_learns() -> None:
    still, moving = run_stack([Pair(tiny.job(Net(), learning_rate=rate)) for rate in (1e-9, 0.03)])
    fresh = train(tiny.job(Net(), learning_rate=1e-12, epochs=1), tiny.data(), Recorder())
    for name, weight in fresh.weights.items():
        torch.testing.assert_close(still.weights[name], weight, rtol=0, atol=1e-6)
    assert moving.metrics["val/loss"] < 0.9 * still.metrics["val/loss"]


def test_diverging_member_fails_and_its_neighbours_keep_every_bit() -> None:
    def run(diverges: bool) -> list[Any]:
        other = DIVERGING if diverges else {"learning_rate": 0.05}
        given: list[dict[str, Any]] = [{"learning_rate": 0.01}, other, {"learning_rate": 0.02, "l1": 0.01}]
        return run_stack(
            [Pair(tiny.job(Net(), seed=i, optimizer="sgd", **one)) for i, one in enumerate(given)]
        )

    calm, torn = run(False), run(True)
    assert isinstance(torn[1], NotFinite)
    for at in (0, 2):
        for name, weight in calm[at].weights.items():
            assert torch.equal(weight, torn[at].weights[name])


def test_member_that_diverges_says_where_as_by_itself() -> None:
    job = tiny.job(Net(), optimizer="sgd", **DIVERGING)
    failed, _ = run_stack([Pair(job), Pair(tiny.job(Net()))])
    with pytest.raises(NotFinite) as alone:
        train(job, tiny.data(), Recorder())
    assert "epoch 1, step" in str(failed)
    assert str(failed).split(" at ")[1] == str(alone.value).split(" at ")[1]


def test_pruned_member_leaves_its_place_to_another() -> None:
    every = [Pair(job) for job in jobs()]
    every[1].hooks.prune_at, every[4].hooks.prune_at = 2, 3
    first, later = every[:3], every[3:]
    found = run_stack(first, later=later, width=3)
    for pair, stacked in zip(every, found, strict=True):
        hooks = Recorder(prune_at=pair.hooks.prune_at)
        alone = train(pair.job, tiny.data(), hooks)
        if alone.status == "pruned":
            assert (stacked.status, stacked.epochs, stacked.weights) == ("pruned", alone.epochs, {})
        else:
            assert_same(stacked, alone)
        assert pair.hooks.losses() == pytest.approx(hooks.losses(), rel=1e-5)


def test_neighbours_of_a_pruned_member_keep_every_bit_while_the_width_is_kept() -> None:
    def run(prune_at: int | None) -> list[Any]:
        pairs = [Pair(tiny.job(Net(), seed=i, learning_rate=0.01)) for i in range(6)]
        pairs[5].hooks.prune_at = prune_at
        more = [Pair(tiny.job(Net(), seed=9, learning_rate=0.02))]
        return run_stack(pairs, later=more, width=6)

    for kept, beside in zip(run(None)[:5], run(1)[:5], strict=True):
        assert all(torch.equal(kept.weights[name], beside.weights[name]) for name in kept.weights)


@pytest.mark.parametrize("beside", [True, False], ids=["in a stack", "by itself"])
def test_member_goes_on_from_the_checkpoint_of_a_stack(beside: bool) -> None:
    pairs = [Pair(job, Recorder()) for job in jobs(checkpoint_epochs=2)]
    whole = run_stack(pairs)
    again = [Pair(pair.job, Recorder(start=pair.hooks.saved[0])) for pair in pairs]
    assert again[0].hooks.start is not None
    assert again[0].hooks.start[1]["progress"]["reports"] == 2
    if beside:
        found = run_stack(again)
    else:
        found = [train(pair.job, tiny.data(), pair.hooks) for pair in again]
    for stacked, former in zip(found, whole, strict=True):
        assert_same(stacked, former)


def test_checkpoint_of_a_trial_by_itself_goes_on_in_a_stack() -> None:
    found, given = [], []
    for job in jobs(checkpoint_epochs=2):
        hooks = Recorder()
        found.append(train(job, tiny.data(), hooks))
        given.append(Pair(job, Recorder(start=hooks.saved[0])))
    for stacked, alone in zip(run_stack(given), found, strict=True):
        assert_same(stacked, alone)


def test_member_that_is_asked_to_leave_is_stopped_with_a_checkpoint() -> None:
    pairs = [Pair(tiny.job(Net(), seed=i)) for i in range(3)]
    pairs[1].hooks.stop_at_tick = 1
    found = run_stack(pairs)
    assert [one.status for one in found] == ["complete", "stopped", "complete"]
    assert len(pairs[1].hooks.saved) == 1
    assert pairs[1].hooks.saved[0][1]["progress"]["reports"] == 1


def test_family_that_looks_at_values_is_trained_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    pairs = [Pair(tiny.job(Curious(), seed=i)) for i in range(3)]
    found = run_stack(pairs)
    assert "one by one" in caplog.text
    for pair, stacked in zip(pairs, found, strict=True):
        alone = train(pair.job, tiny.data(), Recorder())
        assert all(torch.equal(stacked.weights[name], alone.weights[name]) for name in alone.weights)


def test_members_of_different_lengths_end_each_at_its_own() -> None:
    pairs = [Pair(tiny.job(Net(), seed=i, epochs=i + 1, at="last")) for i in range(4)]
    for pair, stacked in zip(pairs, run_stack(pairs), strict=True):
        assert_same(stacked, train(pair.job, tiny.data(), Recorder()))


def test_best_epoch_is_kept_of_each_member() -> None:
    pairs = [Pair(job) for job in jobs(at="best", read_test=True)]
    for pair, stacked in zip(pairs, run_stack(pairs), strict=True):
        alone = train(pair.job, tiny.data(), Recorder())
        assert_same(stacked, alone)
        assert stacked.metrics["test/loss"] == pytest.approx(alone.metrics["test/loss"], rel=1e-5)


def test_metrics_by_group_in_a_stack_are_those_of_the_trial_by_itself() -> None:
    plain = tiny.data()
    codes = np.random.default_rng(0).integers(0, 3, (len(plain.arrays["target"]), 1))
    encoded = replace(
        plain, arrays={**plain.arrays, GROUPS: codes},
        state={**plain.state, "groups": [["gender", ["a", "b", "c"]]]},
    )  # fmt: skip
    pairs = [Pair(job) for job in jobs(epochs=2)]
    for pair, stacked in zip(pairs, run_stack(pairs, encoded), strict=True):
        hooks = Recorder()
        assert_same(stacked, train(pair.job, encoded, hooks))
        kept = [{n: v for n, v in r.items() if "=" in n or n.endswith("gap")} for r in hooks.reports]
        assert len(kept[-1]) == 4
        assert [{n: r[n] for n in kept[0]} for r in pair.hooks.reports] == [pytest.approx(k) for k in kept]
