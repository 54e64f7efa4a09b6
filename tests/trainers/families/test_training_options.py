"""What training understands works in families of layers, and the same seed gives the same bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.trainers.families.cases import CASES, Case, Memory
from trainers.dataset import Encoded
from trainers.family import Family
from trainers.job import Goal, Job, Length, Outcome
from trainers.loop import train
from trainers.metric_names import USUAL, direction_of, full_name
from trainers.registry import load

IDS = [f"{case.name}-{case.dataset.__name__}" for case in CASES]


class Quiet:
    """Hooks that want nothing."""

    def report(self, epoch: int, metrics: Any) -> bool:
        return True

    def alive(self, step: int) -> None:
        pass

    def stopping(self) -> bool:
        return False

    def save(self, tensors: Any, document: Any) -> None:
        pass

    def load(self) -> None:
        return None


def trained(case: Case, length: Length, **more: Any) -> tuple[Family, Outcome]:
    """The case, trained by the loop of all families."""
    found: Any = load(case.name)
    family: Family = found(case.options)
    dataset, memory = case.dataset(), Memory()
    params = family.complete({**case.params, **more})
    state = family.encode(dataset, params, memory)
    encoded = Encoded(arrays=memory.arrays, state=state, splits=dataset.splits)
    assert dataset.task is not None
    usual = USUAL[dataset.task]
    goal = Goal(metric=full_name(usual), maximize=direction_of(usual) == "maximize")
    job = Job(family=family, params=params, seed=7, length=length, goals=(goal,))
    return family, train(job, encoded, Quiet())


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_same_seed_gives_the_same_bits(case: Case) -> None:
    runs = [trained(case, Length(epochs=2), init="xavier")[1] for _ in range(2)]
    figures = [{n: v for n, v in run.metrics.items() if not n.startswith("train/e")} for run in runs]
    assert figures[0] == figures[1]
    assert all(torch.equal(tensor, runs[1].weights[name]) for name, tensor in runs[0].weights.items())


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_clipped_weights_stay_within_their_bounds(case: Case) -> None:
    _, outcome = trained(case, Length(epochs=1), weight_clip=0.02, weight_decay=1e-4, gradient_clip=1.0)
    known: Any = {n: t for n, t in outcome.weights.items() if t.is_floating_point() and "running" not in n}
    assert max(float(tensor.abs().max()) for tensor in known.values()) <= 0.02 + 1e-6


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_trial_that_gets_no_better_stops_early(case: Case) -> None:
    _, outcome = trained(case, Length(epochs=9, patience=2, min_delta=1e9), l1=1e-5, accumulate=2)
    assert (outcome.status, outcome.epochs) == ("complete", 3)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("init", ["default", "kaiming", "orthogonal"])
def test_an_image_cnn_trains_with_each_of_its_choices(activation: str, pooling: str, init: str) -> None:
    case = next(case for case in CASES if case.name == "image_cnn")
    choices = {"activation": activation, "pooling": pooling, "init": init}
    _, outcome = trained(case, Length(epochs=1), **choices, dropout=0.3, batch_norm=True)
    assert outcome.values[0] >= 0
    _, other = trained(case, Length(epochs=1), **choices, dropout=0.0, batch_norm=True)
    assert outcome.metrics["train/loss"] != other.metrics["train/loss"]
