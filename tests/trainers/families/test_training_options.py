"""What training understands works in families of layers, and the same seed gives the same bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from search_spaces.files import built_in
from tests.trainers.families.cases import CASES, Case, Memory, images, made
from trainers.dataset import Dataset, Encoded
from trainers.family import Family
from trainers.job import Goal, Job, Length, Outcome
from trainers.loop import train
from trainers.metric_names import USUAL, direction_of, full_name
from trainers.registry import BUILT_IN, load


def pictures() -> Dataset:
    return made("image", "generation", images(8).columns, None)


GAN = Case(
    name="gan",
    dataset=pictures,
    params={"channels": [8, 4], "latent": 8, "batch_size": 20, "learning_rate": 2e-3},
    presets={},
)
EVERY = (*CASES, GAN)
IDS = [f"{case.name}-{case.dataset.__name__}" for case in EVERY]
OTHERS: dict[str, tuple[Any, ...]] = {  # what is tried instead of what a case has
    "activation": ("relu", "tanh"),
    "pooling": ("max", "average"),
    "dropout": (0.0, 0.5),
    "init": ("default", "orthogonal"),
    "precision": ("fp32", "bf16"),
}


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


def encoded_of(case: Case) -> tuple[Family, Encoded]:
    """The family and its data, for any training hyper-parameters."""
    found: Any = load(case.name)
    family: Family = found(case.options)
    dataset, memory = case.dataset(), Memory()
    state = family.encode(dataset, family.complete(case.params), memory)
    return family, Encoded(arrays=memory.arrays, state=state, splits=dataset.splits)


def trained(case: Case, length: Length, **more: Any) -> tuple[Family, Outcome]:
    """The case, trained by the loop of all families."""
    family, encoded = encoded_of(case)
    return family, trained_on(family, encoded, length, {**case.params, **more})


def trained_on(family: Family, encoded: Encoded, length: Length, given: Any) -> Outcome:
    """One attempt with these hyper-parameters."""
    params = family.complete(given)
    usual = USUAL[encoded.state["task"]]
    goal = Goal(metric=full_name(usual), maximize=direction_of(usual) == "maximize")
    job = Job(family=family, params=params, seed=7, length=length, goals=(goal,))
    return train(job, encoded, Quiet())


@pytest.mark.parametrize("case", EVERY, ids=IDS)
def test_the_same_seed_gives_the_same_bits(case: Case) -> None:
    runs = [trained(case, Length(epochs=2), init="xavier")[1] for _ in range(2)]
    figures = [{n: v for n, v in run.metrics.items() if not n.startswith("train/e")} for run in runs]
    assert figures[0] == figures[1]
    assert all(torch.equal(tensor, runs[1].weights[name]) for name, tensor in runs[0].weights.items())


@pytest.mark.parametrize("case", EVERY, ids=IDS)
def test_clipped_weights_stay_within_their_bounds(case: Case) -> None:
    _, outcome = trained(case, Length(epochs=1), weight_clip=0.02, weight_decay=1e-4, gradient_clip=1.0)
    known: Any = {n: t for n, t in outcome.weights.items() if t.is_floating_point() and "running" not in n}
    assert max(float(tensor.abs().max()) for tensor in known.values()) <= 0.02 + 1e-6


@pytest.mark.parametrize("case", EVERY, ids=IDS)
def test_a_trial_that_gets_no_better_stops_early(case: Case) -> None:
    _, outcome = trained(case, Length(epochs=9, patience=2, min_delta=1e9), l1=1e-5, accumulate=2)
    assert (outcome.status, outcome.epochs) == ("complete", 3)


def test_every_family_has_a_space_of_its_own() -> None:
    assert BUILT_IN.keys() <= set(built_in())


@pytest.mark.parametrize("case", EVERY, ids=IDS)
def test_every_option_of_training_works_and_has_its_part(case: Case) -> None:
    family, encoded = encoded_of(case)
    usual, length = family.complete(case.params), Length(steps=2)
    before = trained_on(family, encoded, length, case.params)
    for name in sorted(OTHERS.keys() & family.known().keys()):
        for value in OTHERS[name]:
            if value == usual[name]:
                continue
            outcome = trained_on(family, encoded, length, {**case.params, name: value})
            assert outcome.status == "complete"
            same = all(torch.equal(t, before.weights[n]) for n, t in outcome.weights.items())
            assert same == (name in _idle(family, usual, encoded.state)), (name, value)


def _idle(family: Family, params: Any, state: Any) -> set[str]:
    """What has no part here: a last state and a table's rows are not pooled, cells with gates have an
    activation of their own."""
    if family.name == "autoencoder" and "shape" not in state:
        return {"pooling"}
    if family.name != "rnn":
        return set()
    idle = {"pooling"} if params["state"] != "pooled" else set()
    return idle | ({"activation"} if params["cell"] != "rnn" and not params["filters"] else set())


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
