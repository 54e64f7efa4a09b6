"""What training understands works in families of layers, and the same seed gives the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from search_spaces.files import built_in_spaces
from search_spaces.space import Space
from tests.trainers.families.cases import (
    CASES,
    GAN,
    Case,
    Memory,
    classes,
    images,
    pairs,
    table,
    texts,
    unlabelled_images,
)
from trainers.data.dataset import EncodedDataset, Kind
from trainers.errors import InputError
from trainers.family import Family
from trainers.hyperparameters import TRAINING
from trainers.job import Job, Outcome
from trainers.loop.attempt import Attempt
from trainers.loop.training import train
from trainers.metric_names import USUAL, direction_of, full_name
from trainers.registry import BUILT_IN, load_reference
from trainers.types import Goal, Length

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


def encoded_of(case: Case, params: Any = None) -> tuple[Family, EncodedDataset]:
    """The family and its data."""
    found: Any = load_reference(case.name)
    family: Family = found(case.options)
    dataset, memory = case.dataset(), Memory()
    state = family.encode(dataset, family.complete(params or case.params), memory)
    return family, EncodedDataset(arrays=memory.arrays, state=state, splits=dataset.splits)


def train_case(case: Case, length: Length, **more: Any) -> tuple[Family, Outcome]:
    """The case, trained by the loop of all families."""
    family, encoded = encoded_of(case, {**case.params, **more})
    params = family.complete({**case.params, **more})
    usual = USUAL[encoded.state["task"]]
    goal = Goal(metric=full_name(usual), maximize=direction_of(usual) == "maximize")
    job = Job(family=family, params=params, seed=7, length=length, goals=(goal,))
    return family, train(job, encoded, Quiet())


@pytest.mark.parametrize("case", EVERY, ids=IDS)
def test_training_with_same_seed_gives_same_bits(case: Case) -> None:
    runs = [train_case(case, Length(epochs=2), init="xavier")[1] for _ in range(2)]
    figures = [{n: v for n, v in run.metrics.items() if not n.startswith("train/e")} for run in runs]
    assert figures[0] == figures[1]
    assert all(torch.equal(tensor, runs[1].weights[name]) for name, tensor in runs[0].weights.items())


@pytest.mark.parametrize("case", EVERY, ids=IDS)
def test_clipped_weights_stay_within_their_bounds(case: Case) -> None:
    _, outcome = train_case(case, Length(epochs=1), weight_clip=0.02, weight_decay=1e-4, gradient_clip=1.0)
    known: Any = {n: t for n, t in outcome.weights.items() if t.is_floating_point() and "running" not in n}
    assert max(float(tensor.abs().max()) for tensor in known.values()) <= 0.02 + 1e-6


@pytest.mark.parametrize("case", EVERY, ids=IDS)
def test_trial_without_improvement_stops_early(case: Case) -> None:
    _, outcome = train_case(case, Length(epochs=9, patience=2, min_delta=1e9), l1=1e-5, accumulate=2)
    assert (outcome.status, outcome.epochs) == ("complete", 3)


def test_family_space_fits_every_kind_of_its_data() -> None:
    assert BUILT_IN.keys() <= set(built_in_spaces())
    for name in BUILT_IN:
        found: Any = load_reference(name)
        searched = {parameter.name for parameter in Space.from_mapping(name, Path.cwd()).parameters}
        assert not searched & found.reads_only.keys()


def test_hyperparameters_without_meaning_for_the_data_are_refused() -> None:
    found: Any = load_reference("transformer")
    found({"preset": "small"}).check(images())  # whose vocabulary is the preset's
    with pytest.raises(InputError, match="must stand beside data of kind corpus or pairs or text") as error:
        found({"vocabulary": 50}).check(images())
    assert error.value.key == ("options", "vocabulary")
    with pytest.raises(InputError, match="context must stand beside data of kind corpus") as error:
        found().check_searched(texts(), {"width": [8, 64], "context": [32]})
    assert error.value.key == ("space", "context")


@pytest.mark.parametrize(
    ("name", "dataset", "searched", "found"),
    [
        ("mlp", table, {"augment": [None, "flip"]}, "'flip'; leave augment out"),
        (
            "mlp",
            images,
            {"augment": [{"word_dropout": 0.1}]},
            "'word_dropout'; use flip or crop",
        ),
        ("text_cnn", texts, {"augment": ["rotate"]}, "'rotate'; use word_dropout"),
        ("t5", pairs, {"augment": ["word_dropout"]}, "'word_dropout'; leave augment out"),
        ("mlp", table, {"label_smoothing": [0.1]}, "task regression; leave it out"),
        ("autoencoder", unlabelled_images, {"label_smoothing": [0.1]}, "task reconstruction"),
    ],
)
def test_changes_and_smoothing_without_a_meaning_for_the_data_are_refused(
    name: str, dataset: Any, searched: Any, found: str
) -> None:
    family: Any = load_reference(name)
    with pytest.raises(InputError) as error:
        family().check_searched(dataset(), searched)
    assert found in str(error.value)
    assert error.value.key[:2] == ("space", next(iter(searched)))


def test_search_values_that_switch_off_are_allowed_for_any_data() -> None:
    family: Any = load_reference("mlp")
    family().check_searched(table(), {"augment": [None, "none", {"flip": 0.0}]})
    family().check_searched(classes(), {"label_smoothing": [0.1]})


@pytest.mark.parametrize("case", EVERY, ids=IDS)
def test_hyperparameter_changes_training_or_is_idle_or_refused(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a third of the time; the cases of all families have theirs counted by other tests
    monkeypatch.setattr(Attempt, "measure_cost", lambda attempt: {})
    family, _ = encoded_of(case)
    usual, before = family.complete(case.params), train_case(case, Length(steps=2))[1]
    idle = _idle(family, usual) | _refused_names(family, case.dataset().kind)
    for name in sorted(
        family.list_hyperparameters().keys() & (OTHERS.keys() | family.hyperparameters.keys() - TRAINING)
    ):
        for value in _other_values(family, name, usual[name]):
            outcome = train_case(case, Length(steps=2), **{name: value})[1]
            assert outcome.status == "complete"
            assert _equal_weights(outcome, before) == (name in idle), (name, value)


def _other_values(family: Family, name: str, usual: Any) -> list[Any]:
    """Values that differ from the case's, and which small data can tell from it."""
    if name in OTHERS:
        return [value for value in OTHERS[name] if value != usual]
    entry = family.list_hyperparameters()[name]
    if name == "vocabulary":
        assert entry.low is not None
        return [int(entry.low)]
    if entry.choices is not None:
        return [next(choice for choice in entry.choices if choice != usual)]
    if isinstance(usual, bool):
        return [not usual]
    if isinstance(usual, list):
        return [[*usual, 4] if name == "filter_widths" else [24]]
    return [0.25 if float in entry.types else 30 if name == "min_count" else (usual or 2) + 2]


def _equal_weights(one: Outcome, other: Outcome) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        t.shape == other.weights[n].shape and torch.equal(t, other.weights[n]) for n, t in one.weights.items()
    )


def _refused_names(family: Family, kind: Kind) -> set[str]:
    """What `Family.check_searched` refuses beside data of the kind."""
    return {name for name, kinds in family.reads_only.items() if kind not in kinds}


def _idle(family: Family, params: Any) -> set[str]:
    """What has no part beside other hyper-parameters: cells with gates have an activation of their own."""
    if family.name != "rnn":
        return set()
    idle = set() if params["state"] == "pooled" else {"pooling"}
    if not params["filters"]:
        idle |= {"kernel"} | ({"activation"} if params["cell"] != "rnn" else set())
    return idle


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("init", ["default", "kaiming", "orthogonal"])
def test_an_image_cnn_trains_with_each_of_its_choices(activation: str, pooling: str, init: str) -> None:
    case = next(case for case in CASES if case.name == "image_cnn")
    choices = {"activation": activation, "pooling": pooling, "init": init}
    _, outcome = train_case(case, Length(epochs=1), **choices, dropout=0.3, batch_norm=True)
    assert outcome.values[0] >= 0
    _, other = train_case(case, Length(epochs=1), **choices, dropout=0.0, batch_norm=True)
    assert outcome.metrics["train/loss"] != other.metrics["train/loss"]
