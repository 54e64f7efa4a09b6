"""Two processes that train one attempt over gloo, against one process with the doubled batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch.distributed as dist

from tests.trainers import tiny
from tests.trainers.tiny import MLP, Noisy, Recorder, TwoPlayers
from tests.trainers.two_ranks import run_on_both_ranks
from trainers.loop.training import train
from trainers.types import Length, Ranks


def _comparable(outcome: Any, hooks: Recorder) -> dict[str, Any]:
    weights = {name: tensor.numpy() for name, tensor in outcome.weights.items()}
    return {"status": outcome.status, "weights": weights, "reports": hooks.reports, "values": outcome.values}


def _train(family: Any, rank: int | None, batch_size: Any, **settings: Any) -> dict[str, Any]:
    hooks = Recorder()
    ranks = Ranks() if rank is None else Ranks(rank=rank, world_size=2)
    settings.setdefault("length", Length(steps=20, report_every=10))
    job = tiny.job(family, ranks=ranks, batch_size=batch_size, at="last", learning_rate=0.05, **settings)
    return _comparable(train(job, tiny.data(101, validation=31), hooks), hooks)


def _many(rank: int | None) -> dict[str, Any]:
    def batch(size: int) -> int:
        return 2 * size if rank is None else size

    return {
        "sgd": _train(MLP(), rank, batch(8), optimizer="sgd", momentum=0.9),
        "adam": _train(MLP(), rank, batch(9), optimizer="adam", l1=0.01, gradient_clip=0.5),
        "accumulate": _train(MLP(), rank, batch(8), optimizer="sgd", accumulate=2),
        "one_left": _train(MLP(), rank, batch(25), optimizer="sgd"),  # a last batch of one example
        "all": _train(MLP(), rank, "all", optimizer="sgd"),
        "own": _train(TwoPlayers(), rank, batch(8), optimizer="sgd", length=Length(steps=6, report_every=3)),
    }


def test_loop_on_two_ranks_equals_one_with_doubled_batch() -> None:
    one, two = _many(None), run_on_both_ranks(_many)
    for name, alone in one.items():
        first, second = two[0][name], two[1][name]
        assert second["weights"] == {}, name
        assert second["reports"] == [], name
        assert first["values"] == second["values"], name
        for key, weight in alone["weights"].items():
            assert abs(first["weights"][key] - weight).max() < 1e-5, (name, key)
        for ours, theirs in zip(first["reports"], alone["reports"], strict=True):
            for key in ("train/loss", "val/loss", "val/accuracy", "val/auc", "val/f1"):
                if not (name == "own" and key == "train/loss"):  # shown by rank 0 for its own half
                    assert ours[key] == pytest.approx(theirs[key], abs=1e-5), (name, key)


def _decisions(rank: int) -> dict[str, Any]:
    """Only rank 0 is told to prune, or to stop; then both resume."""
    ranks = Ranks(rank=rank, world_size=2)
    pruned = train(tiny.job(ranks=ranks), tiny.data(), Recorder(prune_at=2 if rank == 0 else None))
    settings: dict[str, Any] = {"family": Noisy(), "dropout": 0.4, "epochs": 4, "ranks": ranks}
    whole_hooks, stopped_hooks = Recorder(), Recorder(stop_at_tick=4 if rank == 0 else None)
    whole = train(tiny.job(**settings), tiny.data(), whole_hooks)
    stopped = train(tiny.job(**settings), tiny.data(), stopped_hooks)
    saved: list[Any] = [stopped_hooks.saved[-1] if rank == 0 else None]
    dist.broadcast_object_list(saved)
    resumed_hooks = Recorder(start=saved[0])
    resumed = train(tiny.job(**settings), tiny.data(), resumed_hooks)
    return {
        "pruned": pruned.status,
        "stopped": (stopped.status, stopped.epochs, len(stopped_hooks.saved)),
        "whole": _comparable(whole, whole_hooks)["weights"],
        "resumed": _comparable(resumed, resumed_hooks)["weights"],
        "losses": whole_hooks.losses() == stopped_hooks.losses() + resumed_hooks.losses(),
    }


def test_rank_0_decides_for_all_and_a_resumed_pair_goes_on_exactly() -> None:
    found = run_on_both_ranks(_decisions)
    for rank in (0, 1):
        assert found[rank]["pruned"] == "pruned"
        assert found[rank]["stopped"][0] == "stopped"
        assert found[rank]["losses"]
    assert found[0]["stopped"][2] == 1
    assert found[1]["stopped"][2] == 0
    for name, weight in found[0]["whole"].items():
        assert (found[0]["resumed"][name] == weight).all()
