"""Evaluations and latencies: what the module meets, and in which state it is left."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.trainers import tiny
from trainers.data.batches import Batches
from trainers.loop import evaluation
from trainers.loop.evaluation import evaluate, latency_ms
from trainers.tasks.example_scores import ExampleScores
from trainers.types import Batch, Ranks


class Watched(tiny.MLP):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.states: set[tuple[bool, bool]] = set()

    def outputs(self, module: torch.nn.Module, batch: Batch) -> Any:
        self.sizes.append(len(next(iter(batch.values()))))
        self.states.add((module.training, torch.is_grad_enabled()))
        return super().outputs(module, batch)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def build(family: Watched) -> torch.nn.Module:
    torch.manual_seed(2)
    return family.build({}, family.complete({})).train()


def test_evaluation_meets_each_example_once_and_leaves_the_module_in_training(watched: Watched) -> None:
    encoded, module, ticks = tiny.data(validation=30), build(watched), list[int]()
    source = Batches(encoded, "validation")
    singly = ExampleScores(watched.rules(encoded.state), torch.device("cpu"))
    found = evaluate(
        watched, module, source, encoded.state, batch_size=8, ranks=Ranks(), alive=lambda: ticks.append(1),
        singly=singly,
    )  # fmt: skip
    assert watched.sizes == [8, 8, 8, 6]
    assert (len(ticks), watched.states, module.training) == (4, {(False, False)}, True)
    rows = encoded.splits["validation"]
    guess = module(torch.from_numpy(encoded.arrays["inputs"][rows])).argmax(1).numpy()
    right = guess == encoded.arrays["target"][rows]
    assert found["accuracy"] == pytest.approx(right.mean())
    assert singly.compute(found)["accuracy"].tolist() == right.astype(float).tolist()
    plain = evaluate(watched, module, source, encoded.state, batch_size=30, ranks=Ranks(), alive=lambda: None)
    assert plain == pytest.approx(found)


def test_ranks_that_share_weights_judge_every_example(watched: Watched) -> None:
    encoded = tiny.data(validation=30)
    ranks = Ranks(rank=1, world_size=2, sharded=True)
    source = Batches(encoded, "validation")
    evaluate(watched, build(watched), source, encoded.state, batch_size=30, ranks=ranks, alive=lambda: None)
    assert watched.sizes == [30]


def test_latency_is_the_median_of_nine_answers_to_one_example(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell() -> Iterator[float]:
        """Answers take 1, 2, … 9 ms, with a pause of a second after each."""
        now = 0.0
        for took_ms in (9, 2, 7, 4, 5, 6, 3, 8, 1):
            yield now
            yield now + took_ms / 1000
            now += 1.0

    told, module = tell(), build(watched)
    monkeypatch.setattr(evaluation, "time", SimpleNamespace(perf_counter=lambda: next(told)))
    found = latency_ms(watched, module, Batches(tiny.data(), "validation"))
    assert found == pytest.approx(5.0)
    assert watched.sizes == [1] * 9
    assert (watched.states, module.training) == ({(False, False)}, True)
