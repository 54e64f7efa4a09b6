"""Two processes that train one attempt over gloo, against one process with the doubled batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.trainers import tiny
from tests.trainers.tiny import MLP, Noisy, Recorder, TwoPlayers
from tests.trainers.two_ranks import run_on_both_ranks
from trainers.loop.collectives import RankGroup
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
    at_once = Recorder(stop_at_tick=1 if rank == 0 else None)
    train(tiny.job(ranks=ranks), tiny.data(), at_once)
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
        "at_once": [document["progress"]["step"] for _, document in at_once.saved],
        "losses": whole_hooks.losses() == stopped_hooks.losses() + resumed_hooks.losses(),
    }


def test_rank_0_decides_for_all_and_a_resumed_pair_goes_on_exactly() -> None:
    found = run_on_both_ranks(_decisions)
    for rank in (0, 1):
        assert found[rank]["pruned"] == "pruned"
        assert found[rank]["stopped"][0] == "stopped"
        assert found[rank]["losses"]
    assert (found[0]["at_once"], found[1]["at_once"]) == ([1], [])
    assert found[0]["stopped"][2] == 1
    assert found[1]["stopped"][2] == 0
    for name, weight in found[0]["whole"].items():
        assert (found[0]["resumed"][name] == weight).all()


@pytest.mark.parametrize(
    ("backend", "where"), [("nccl", "meta"), ("gloo", "cpu"), ("cpu:gloo,cuda:nccl", "cpu")]
)
def test_tensor_for_other_ranks_lies_where_their_group_can_send_it(
    backend: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of NCCL alone sends what is on the device, which nothing is computed on here."""
    sent: list[str] = []
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(dist, "get_backend", lambda: backend)
    monkeypatch.setattr(dist, "all_gather", lambda rows, here: sent.append(here.device.type))
    group = RankGroup(Ranks(world_size=2), torch.device("meta"))
    try:
        group.gather_rows(torch.zeros(2))
    except NotImplementedError:  # what lies there has no values to bring back
        assert where == "meta"
    assert sent == [where]


def test_rank_alone_asks_no_group_and_gives_back_what_it_was_given() -> None:
    group = RankGroup(Ranks(), torch.device("cpu"))
    assert (group.alone, group.first, group.sharded) == (True, True, False)
    assert group.broadcast(3, 4) == (3, 4)
    assert group.sum_over_ranks(0.5) == (0.5,)
    assert group.gather_rows(torch.arange(3)).tolist() == [[0, 1, 2]]
    group.require_same(7, "step")
    layer = torch.nn.Linear(1, 1)
    layer.weight.grad = torch.ones(1, 1)
    group.average_gradients(layer.parameters())
    group.broadcast_buffers(torch.nn.BatchNorm1d(2))
    assert layer.weight.grad.item() == 1.0
    assert not RankGroup(Ranks(sharded=True), torch.device("cpu")).sharded
