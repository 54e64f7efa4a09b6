"""Metrics in several processes: never mixed by themselves, put together when told to."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from trainers.functions.job import FunctionJob
from trainers.functions.run import run_function
from trainers.functions.trial import Trial
from trainers.tasks import rules_for
from trainers.tasks.example_scores import ExampleScores
from trainers.tasks.merging import merge_ranks
from trainers.types import Goal, Length, Ranks

CLASSIFICATION = rules_for({"task": "classification", "classes": ["a", "b", "c"]})
PAIRS = rules_for({"task": "seq2seq", "vocabulary": ["", "", "a", "b"]})


def batch_of(rank: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """30 rows for rank 0 and 11 for rank 1."""
    chance = torch.Generator().manual_seed(rank)
    rows = 30 if rank == 0 else 11
    target = torch.randint(0, 3, (rows,), generator=chance)
    return torch.randn(rows, 3, generator=chance), {"target": target}


def texts() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    tokens, target = torch.tensor([[2, 3, 2, 3, 3]]), torch.tensor([[2, 3, 2, 3, 2]])
    return {"logits": torch.zeros(1, 5, 4), "tokens": tokens}, {"target": target}


def lane(rank: int) -> dict[str, Any]:
    """One lane always right, one always wrong; and rank 0 computes once more, alone."""
    target = torch.tensor([0, 1, 2, 1])
    guess = target if rank == 0 else (target + 1) % 3
    metrics = CLASSIFICATION.metric_set("cpu")
    metrics.update(torch.eye(3)[guess], {"target": target})
    result = {"accuracy": metrics.compute()["accuracy"]}
    if rank == 0:
        pairs = PAIRS.metric_set("cpu")
        pairs.update(*texts())
        result["alone"] = pairs.compute()["chrf"]
    return result


def merge_metrics(rank: int) -> dict[str, Any]:
    """All metrics over both ranks; rank 1 has no text at all."""
    metrics, singly = CLASSIFICATION.metric_set("cpu"), ExampleScores(CLASSIFICATION, "cpu")
    metrics.update(*batch_of(rank))
    singly.update(*batch_of(rank))
    merge_ranks(metrics)
    merge_ranks(singly)
    each = {name: values.tolist() for name, values in singly.compute(metrics.compute()).items()}
    pairs = PAIRS.metric_set("cpu")
    if rank == 0:
        pairs.update(*texts())
    merge_ranks(pairs)
    return {"classification": metrics.compute(), "seq2seq": pairs.compute(), "each": each}


class Hooks:
    """Prunes or stops at the third report; only rank 0 may be asked."""

    def __init__(self, rank: int, ending: str, saved: Any = None) -> None:
        self.rank, self.ending, self.saved = rank, ending, saved
        self.reports: list[float] = []

    def report(self, epoch: int, metrics: Any) -> bool:
        assert self.rank == 0
        self.reports.append(metrics["val/draw"])
        return not (self.ending == "prune" and epoch == 3)

    def alive(self, step: int) -> None:
        pass

    def stopping(self) -> bool:
        assert self.rank == 0
        return self.ending == "stop" and len(self.reports) >= 3

    def save(self, tensors: Any, document: Any) -> None:
        assert self.rank == 0
        self.saved = (tensors, document)

    def load(self) -> Any:
        return self.saved


def function(rank: int) -> dict[str, Any]:
    """A function over two ranks: its decisions are rank 0's, its generators each rank's own."""
    draws: list[float] = []

    def train(trial: Trial) -> None:
        torch.manual_seed(trial.rank)
        for _ in trial.epochs():
            draw = torch.rand(1)
            draws.append(float(draw))
            dist.all_reduce(draw)
            trial.report(draw=draw[0] if trial.rank == 0 else float("nan"))

    def run(hooks: Hooks) -> tuple[str, int]:
        job = FunctionJob(
            function=train,
            params={},
            seed=0,
            length=Length(epochs=6),
            goals=(Goal(metric="val/draw", maximize=True),),
            directory=Path(),
            ranks=Ranks(rank=rank, world_size=2),
        )
        outcome = run_function(job, hooks)
        return outcome.status, outcome.epochs

    results = {"pruned": run(Hooks(rank, "prune"))}
    draws.clear()
    results["whole"] = run(Hooks(rank, ""))
    whole = list(draws)
    draws.clear()
    first = Hooks(rank, "stop")
    results["stopped"] = run(first)
    everyone: list[Any] = [first.saved]
    dist.broadcast_object_list(everyone, src=0)
    results["resumed"] = run(Hooks(rank, "", everyone[0]))
    return {**results, "same": draws == whole, "draws": whole}


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=600))
    try:
        result = {"lane": lane(rank), "merged": merge_metrics(rank), "function": function(rank)}
        Path(folder, f"{rank}.json").write_text(json.dumps(result))
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found that share a process group: this one, and another that imports
    everything anew, which takes seconds."""
    folder = tmp_path_factory.mktemp("ranks")
    threads = torch.get_num_threads()
    other = mp.get_context("spawn").Process(target=process, args=(1, str(folder)), daemon=True)
    other.start()
    try:
        process(0, str(folder))
        other.join(600)
        assert other.exitcode == 0
    finally:
        other.kill()
        torch.set_num_threads(threads)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_metrics_of_two_lanes_do_not_mix_or_wait(results: Any) -> None:
    right, wrong = (result["lane"] for result in results)
    assert (right["accuracy"], wrong["accuracy"]) == (1.0, 0.0)
    assert 0 < right["alone"] < 1


def test_metrics_of_one_attempts_ranks_merge(results: Any) -> None:
    whole, singly = CLASSIFICATION.metric_set("cpu"), ExampleScores(CLASSIFICATION, "cpu")
    for rank in (0, 1):
        whole.update(*batch_of(rank))
        singly.update(*batch_of(rank))
    each = singly.compute(whole.compute())
    pairs = PAIRS.metric_set("cpu")
    pairs.update(*texts())
    for result in results:
        assert result["merged"]["classification"] == pytest.approx(whole.compute())
        assert result["merged"]["seq2seq"] == pytest.approx(pairs.compute())
        assert result["merged"]["each"] == {name: values.tolist() for name, values in each.items()}
        assert len(result["merged"]["each"]["accuracy"]) == 41


def test_a_function_over_two_ranks_ends_and_resumes_as_one(results: Any) -> None:
    first, second = (result["function"] for result in results)
    for result in (first, second):
        assert result["pruned"] == ["pruned", 3]
        assert result["whole"] == ["complete", 6]
        assert result["stopped"] == ["stopped", 3]
        assert result["resumed"] == ["complete", 6]
        assert result["same"]
    assert first["draws"] != second["draws"]
