"""Every kind of family trained by two ranks, whole or sharded, against one process with the doubled batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.distributed as dist

from tests.trainers.families.cases import CASES, GAN, Case, Memory
from tests.trainers.tiny import Recorder
from tests.trainers.two_ranks import run_on_both_ranks
from trainers.data.dataset import EncodedDataset
from trainers.errors import InputError, NotFinite
from trainers.job import Job, Outcome
from trainers.loop import stepper
from trainers.loop.training import train
from trainers.registry import load_reference
from trainers.types import Goal, Length, Ranks

STEPS = 20
SEEDS = (1, 2, 3)
OFF: Mapping[str, Any] = {"dropout": 0.0, "noise": 0.0, "batch_norm": False}
_BY_NAME = {case.name: case for case in reversed(CASES)}  # the first of each name
_IMAGES, _TABLE, _PAIRS = _BY_NAME["image_cnn"], _BY_NAME["mlp"], _BY_NAME["t5"]
PLAIN = {
    **{name: _BY_NAME[name] for name in ("text_cnn", "rnn", "autoencoder", "transformer", "t5", "bert")},
    "mlp": _TABLE,  # with class weights
    "image_cnn": _IMAGES,
}
ADAM = {"optimizer": "adam", "learning_rate": 3e-3}
VARIANTS: Mapping[str, tuple[Case, dict[str, Any]]] = {
    # tokens that are not padding are weighed, not texts
    "accumulate": (_PAIRS, {"accumulate": 2, "optimizer": "sgd"}),
    "clipped": (_IMAGES, {"gradient_clip": 0.05, "l1": 1e-3, "weight_clip": 0.3, **ADAM}),
    "frozen": (replace(_IMAGES, options={"freeze": ("blocks.*",)}), ADAM),
}
SHARDED = ("rnn", "transformer", "t5", "clipped", "frozen")
BF16 = {"precision": "bf16", "optimizer": "sgd", "learning_rate": 0.05}
CHANCE: Mapping[str, tuple[Case, dict[str, Any]]] = {
    "dropout": (_IMAGES, {"dropout": 0.3, **ADAM}),
    "batch_norm": (_TABLE, {"batch_norm": True, "dropout": 0.1, **ADAM}),
    "rnn_dropout": (_BY_NAME["rnn"], {"dropout": 0.3, **ADAM}),
    "transformer_dropout": (_BY_NAME["transformer"], {"dropout": 0.3, **ADAM}),
    "gan": (GAN, ADAM),
}
JUDGED = {"autoencoder": "val/mse", "gan": "val/distance"}  # the others by their loss


@cache
def _encode_family(name: str) -> tuple[Any, dict[str, Any], EncodedDataset]:
    case = {**PLAIN, **{key: entry[0] for key, entry in (VARIANTS | CHANCE).items()}}[name]
    family: Any = load_reference(case.name)
    family = family(case.options)
    params = {
        **case.params,
        **{key: value for key, value in OFF.items() if key in family.list_hyperparameters()},
    }
    dataset, memory = case.dataset(), Memory()
    state = json.loads(json.dumps(family.encode(dataset, family.complete(params), memory)))
    arrays = {key: np.asarray(values) for key, values in memory.arrays.items()}
    if dataset.task == "seq2seq":
        arrays["target"][::3, 1:] = -100  # texts of several lengths
    return (
        family,
        params,
        EncodedDataset(arrays=arrays, state=state, splits=dataset.splits, fingerprint="f" * 32),
    )


def _train(
    name: str, ranks: Ranks, params: Mapping[str, Any], *, seed: int = 1, hooks: Recorder | None = None
) -> tuple[Outcome, Recorder]:
    """20 steps over joint batches of 14: the fourth of an epoch, and the last rank's, are shorter."""
    family, usual, encoded = _encode_family(name)
    hooks = hooks or Recorder()
    size = 14 // ranks.world_size
    job = Job(
        family=family, params=family.complete({**usual, "batch_size": size, **params}), seed=seed,
        length=Length(steps=STEPS, report_every=STEPS // 2), ranks=ranks, threads=1, at="last",
        goals=(Goal(metric=JUDGED.get(name, "val/loss"), maximize=False),),
    )  # fmt: skip
    return train(job, encoded, hooks), hooks


def _comparable(outcome: Outcome, hooks: Recorder) -> dict[str, Any]:
    timed = ("seconds", "per_second")
    reports = [
        {key: value for key, value in report.items() if not key.endswith(timed)} for report in hooks.reports
    ]
    return {"reports": reports, "weights": {name: t.numpy() for name, t in outcome.weights.items()}}


def _curves(ranks: Ranks) -> dict[str, Any]:
    plain: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.05}
    settings = dict.fromkeys(PLAIN, plain) | {name: entry[1] for name, entry in VARIANTS.items()}
    found = {name: _comparable(*_train(name, ranks, params)) for name, params in settings.items()}
    return {**found, "bf16": _comparable(*_train("image_cnn", ranks, BF16))}


def _losses_by_seed(ranks: Ranks) -> dict[str, list[float]]:
    """What validation said last; nothing but on rank 0."""
    return {
        name: [
            report[JUDGED.get(name, "val/loss")]
            for seed in SEEDS
            for report in _train(name, ranks, params, seed=seed)[1].reports[-1:]
        ]
        for name, (_, params) in CHANCE.items()
    }


def _train_resumed(ranks: Ranks) -> dict[str, Any]:
    """Stopped after 7 steps and carried on, and how much of weights and optimizer a rank had meanwhile."""
    stopped = Recorder(stop_at_tick=7 if ranks.rank == 0 else None)
    made = []
    with patch.object(stepper, "make_optimizer", lambda *a: made.append(_MAKE(*a)) or made[-1]):
        whole, hooks = _train("transformer", ranks, ADAM)
    states = [state for optimizer in made for state in optimizer.state.values()]
    held = [p for o in made for g in o.param_groups for p in g["params"]]
    held += [state[key] for state in states for key in ("exp_avg", "exp_avg_sq")]
    _train("transformer", ranks, ADAM, hooks=stopped)
    saved: list[Any] = [stopped.saved[-1] if stopped.saved else None]
    dist.broadcast_object_list(saved)
    goes_on, after = _train("transformer", ranks, ADAM, hooks=Recorder(start=saved[0]))
    return {
        "whole": _comparable(whole, hooks)["weights"],
        "resumed": _comparable(goes_on, after)["weights"],
        "losses": hooks.losses() == stopped.losses() + after.losses(),
        "saved": len(stopped.saved),
        "shapes": {name: tuple(t.shape) for name, t in saved[0][0].items()},
        "bytes": sum(_local(tensor).nbytes for tensor in held),
    }


_MAKE = stepper.make_optimizer


def _local(tensor: Any) -> torch.Tensor:
    found: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return found


def _train_broken(ranks: Ranks) -> str:
    """One rank's gradient is not finite: how each of them ends."""
    family = _encode_family("mlp")[0]
    given = type(family).loss

    def bad(self: Any, outputs: Any, batch: Any, params: Any, state: Any) -> torch.Tensor:
        loss = given(self, outputs, batch, params, state)
        if outputs.requires_grad and ranks.rank == 1:
            outputs.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    with patch.object(type(family), "loss", bad):
        try:
            _train("mlp", ranks, ADAM)
        except NotFinite as error:
            return str(error)
    return "nothing"


def _run_all_cases(rank: int) -> dict[str, Any]:
    whole, sharded = (Ranks(rank=rank, world_size=2, sharded=some) for some in (False, True))
    return {
        "whole": _curves(whole),
        "sharded": _curves(sharded),
        "seeds": _losses_by_seed(whole),
        "resumed": _train_resumed(sharded),
        "broken": _train_broken(sharded),
    }


@pytest.fixture(scope="module")
def pair() -> dict[int, Any]:
    """What each of two ranks found, all in one pair of processes."""
    return run_on_both_ranks(_run_all_cases)


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return _curves(Ranks())


@pytest.mark.parametrize("how", ["whole", "sharded"])
def test_families_on_two_ranks_equal_one_with_doubled_batch(pair: Any, alone: Any, how: str) -> None:
    for name, found in pair[0][how].items():
        within = 1e-5 if name != "bf16" else 5e-3  # whose sums over a batch have eight bits
        expected = alone[name]
        assert len(found["reports"]) == len(expected["reports"]) == 2
        for ours, theirs in zip(found["reports"], expected["reports"], strict=True):
            assert ours == pytest.approx(theirs, abs=within), name
        assert found["weights"].keys() == expected["weights"].keys()
        for key, weight in expected["weights"].items():
            np.testing.assert_allclose(found["weights"][key], weight, atol=10 * within, err_msg=name)
        assert pair[1][how][name] == {"reports": [], "weights": {}}


def test_random_families_on_two_ranks_lie_within_seed_spread(pair: Any) -> None:
    for name, expected in _losses_by_seed(Ranks()).items():
        found = np.mean(pair[0]["seeds"][name])
        assert min(expected) <= found <= max(expected), (name, expected)


def test_a_sharded_pair_that_was_stopped_goes_on_to_the_bit(pair: Any) -> None:
    first, second = (pair[rank]["resumed"] for rank in (0, 1))
    assert (first["saved"], second["saved"]) == (1, 0)
    assert first["losses"]
    assert second["whole"] == second["resumed"] == {}
    for name, weight in first["whole"].items():
        np.testing.assert_array_equal(first["resumed"][name], weight, err_msg=name)


def test_sharded_ranks_hold_half_and_their_checkpoint_is_whole(pair: Any, alone: Any) -> None:
    weights = alone["transformer"]["weights"]
    whole = 3 * sum(weight.nbytes for weight in weights.values())  # and Adam's two moments
    halves = [pair[rank]["resumed"]["bytes"] for rank in (0, 1)]
    assert sum(halves) == whole
    assert max(halves) < 0.55 * whole
    saved = pair[0]["resumed"]["shapes"]
    assert {name: saved[f"model/{name}"] for name in weights} == {n: w.shape for n, w in weights.items()}
    moments = sorted(shape for name, shape in saved.items() if name.endswith("exp_avg"))
    assert moments == sorted(weight.shape for weight in weights.values())


def test_non_finite_value_on_one_shard_ends_every_rank(pair: Any) -> None:
    assert all("must be a finite number" in pair[rank]["broken"] for rank in (0, 1))


def test_a_family_with_steps_of_its_own_is_not_sharded() -> None:
    from tests.trainers import tiny

    ranks = Ranks(rank=0, world_size=2, sharded=True)
    with pytest.raises(InputError, match="the loop makes the steps"):
        train(tiny.job(tiny.TwoPlayers(), ranks=ranks), tiny.data(), Recorder())
