"""Every stackable family, with every kind of optimizer and option, trains in a stack as by itself."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers.families.cases import CASES, Case, Memory
from tests.trainers.stacking.test_training import OPTIONS, Pair, run_stack
from tests.trainers.tiny import Recorder
from trainers.data.dataset import EncodedDataset
from trainers.job import Job, Outcome
from trainers.loop.training import train
from trainers.registry import BUILT_IN, load_reference
from trainers.stacking.structure import NUMBERS, structure_key, why_not
from trainers.types import Goal, Length

STACKED = [
    case for case in CASES
    if load_reference(case.name).stackable and case.dataset.__name__ not in ("questions", "corpus")
]  # fmt: skip
# What no output depends on: softmax takes it away, and the optimizer follows its rounding.
KEYS = ("key_value.bias", "key.bias")


def encode(case: Case) -> tuple[Any, EncodedDataset]:
    family, dataset, memory = load_reference(case.name)(case.options), case.dataset(), Memory()
    state = json.loads(json.dumps(family.encode(dataset, family.complete(case.params), memory)))
    arrays = {name: np.asarray(values) for name, values in memory.arrays.items()}
    return family, EncodedDataset(arrays=arrays, state=state, splits=dataset.splits, fingerprint="f")


@pytest.mark.parametrize("case", STACKED, ids=lambda case: f"{case.name}-{case.dataset.__name__}")
def test_twenty_steps_in_a_stack_equal_those_of_the_trial_by_itself(case: Case) -> None:
    family, encoded = encode(case)
    known = family.list_hyperparameters()
    pairs = []
    for i, options in enumerate(OPTIONS):
        own = {name: value for name, value in options.items() if name in known}
        rate = 1e-3 * (i + 1)
        if options["optimizer"] == "rmsprop":
            rate /= 5  # its first steps are ten times the rate: at 6e-3 training is chaotic, rounding decides
        given = {**case.params, "batch_size": 16, **own, "learning_rate": rate}
        job = Job(
            family=family, params=family.complete(given), seed=i, length=Length(steps=20, report_every=10),
            goals=(Goal(metric="val/loss", maximize=False),), threads=1, at="last",
        )  # fmt: skip
        pairs.append(Pair(job))
    for pair, stacked in zip(pairs, run_stack(pairs, encoded), strict=True):
        hooks = Recorder()
        alone = train(pair.job, encoded, hooks)
        assert isinstance(stacked, Outcome), stacked
        assert pair.hooks.losses() == pytest.approx(hooks.losses(), rel=1e-5)
        for name, weight in alone.weights.items():
            if not name.endswith(KEYS):
                # Adam's steps go by a gradient's sign, were it of rounding alone: a share of one is let pass
                within = 1e-5 * float(weight.double().abs().max()) + 0.02 * pair.job.params["learning_rate"]
                torch.testing.assert_close(stacked.weights[name], weight, rtol=0, atol=within)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_family_can_be_stacked_or_says_why_not(name: str) -> None:
    try:
        family = load_reference(name)()
    except ImportError:
        pytest.skip(f"{name} needs what is not installed")
    params = family.complete({})
    key, reason = structure_key(family, params), why_not(family, params)
    assert (key is None) == (reason is not None)
    assert reason is None or len(reason) > 10


def test_structure_is_the_same_where_numbers_alone_differ() -> None:
    family = load_reference("mlp")()
    plain = structure_key(family, family.complete({}))
    others: dict[str, Any] = {
        "learning_rate": 0.5, "optimizer": "sgd", "momentum": 0.5, "nesterov": True, "beta1": 0.1,
        "beta2": 0.2, "weight_decay": 0.1, "l1": 0.1, "gradient_clip": 1.0, "weight_clip": 1.0,
        "label_smoothing": 0.1, "dropout": 0.3, "schedule": "cosine", "warmup": 0.1,
    }  # fmt: skip
    assert others.keys() == NUMBERS
    for name, value in others.items():
        assert structure_key(family, family.complete({name: value})) == plain
    for name, value in {"hidden": [3], "batch_size": 7, "precision": "bf16", "activation": "tanh"}.items():
        assert structure_key(family, family.complete({name: value})) != plain
    assert structure_key(load_reference("mlp")({"class_weights": "balanced"}), family.complete({})) != plain


def test_family_of_ones_own_is_stacked_where_it_says_so() -> None:
    from tests.trainers.stacking.test_training import Net
    from tests.trainers.tiny import MLP, TwoPlayers

    assert structure_key(Net(), Net().complete({})) is not None
    assert "stackable = True" in str(why_not(MLP(), MLP().complete({})))
    assert "own training steps" in str(why_not(TwoPlayers(), TwoPlayers().complete({})))
