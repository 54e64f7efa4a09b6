"""Two processes that train one attempt over gloo, against one process with the doubled batch."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.trainers import tiny
from tests.trainers.tiny import MLP, Bad, Noisy, Recorder, TwoPlayers
from trainers.errors import NotFinite
from trainers.job import Length, Ranks
from trainers.loop import train

TIMEOUT_S = 100.0
Case = Callable[[int], Any]


def _process(case: Case, rank: int, rendezvous: str, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    try:
        results.put((rank, case(rank)))
    except Exception:  # told to the test, which would else wait for its whole time
        results.put((rank, traceback.format_exc()))
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def spawn() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.trainers.test_ranks"])  # torch is imported once, not per rank
    return context


def _both(spawn: Any, case: Case) -> dict[int, Any]:
    """The case's result on each of two ranks; no process is left behind."""
    with tempfile.TemporaryDirectory() as folder:
        results = spawn.Queue()
        processes = [
            spawn.Process(target=_process, args=(case, rank, str(Path(folder) / "meet"), results))
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        try:
            found = dict(results.get(timeout=TIMEOUT_S) for _ in processes)
            assert not [error for error in found.values() if isinstance(error, str)], found
            return found
        finally:
            for process in processes:
                process.join(10)
                process.kill()


def _plain(outcome: Any, hooks: Recorder) -> dict[str, Any]:
    weights = {name: tensor.numpy() for name, tensor in outcome.weights.items()}
    return {"status": outcome.status, "weights": weights, "reports": hooks.reports, "values": outcome.values}


def _train(family: Any, rank: int | None, batch_size: Any, **settings: Any) -> dict[str, Any]:
    hooks = Recorder()
    ranks = Ranks() if rank is None else Ranks(rank=rank, world_size=2)
    settings.setdefault("length", Length(steps=20, report_every=10))
    job = tiny.job(family, ranks=ranks, batch_size=batch_size, at="last", learning_rate=0.05, **settings)
    return _plain(train(job, tiny.data(101, validation=31), hooks), hooks)


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


def test_two_ranks_equal_one_with_the_doubled_batch(spawn: Any) -> None:
    one, two = _many(None), _both(spawn, _many)
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


def _bad_on_rank_1(rank: int) -> dict[str, Any]:
    found = {}
    for where in ("loss", "gradient", "constant"):
        Bad.rank = rank
        family = Bad({"at": 3, "rank": 1, "where": where})
        hooks = Recorder()
        job = tiny.job(family, ranks=Ranks(rank=rank, world_size=2), batch_size=8)
        try:
            train(job, tiny.data(), hooks)
        except NotFinite as error:
            found[where] = (error.found, len(hooks.ticks))
    return found


def test_a_bad_number_on_one_rank_stops_both_at_the_same_step(spawn: Any) -> None:
    both = _both(spawn, _bad_on_rank_1)
    for rank in (0, 1):
        assert both[rank].keys() == {"loss", "gradient", "constant"}
        for found, ticks in both[rank].values():
            assert found == "nan at epoch 1, step 3"
            assert ticks == 2


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
        "whole": _plain(whole, whole_hooks)["weights"],
        "resumed": _plain(resumed, resumed_hooks)["weights"],
        "losses": whole_hooks.losses() == stopped_hooks.losses() + resumed_hooks.losses(),
    }


def test_rank_0_decides_for_all_and_a_resumed_pair_goes_on_exactly(spawn: Any) -> None:
    both = _both(spawn, _decisions)
    for rank in (0, 1):
        assert both[rank]["pruned"] == "pruned"
        assert both[rank]["stopped"][0] == "stopped"
        assert both[rank]["losses"]
    assert both[0]["stopped"][2] == 1
    assert both[1]["stopped"][2] == 0
    for name, weight in both[0]["whole"].items():
        assert (both[0]["resumed"][name] == weight).all()
