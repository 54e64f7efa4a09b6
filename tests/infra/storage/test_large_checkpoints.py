"""What a large trial takes: weights, gradients, moments of the optimizer, kept weights; no copy more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from infra.storage.checkpoints import CheckpointStore
from tests.trainers import tiny
from trainers.loop.memory import peak_bytes, restart_peak
from trainers.loop.training import train
from trainers.types import Length

SIDE = 3_000  # a layer of 36 MB: memory that goes back to the system when it is freed


class Large(tiny.MLP):
    """Two large layers between small ones; 18 million weights."""

    def build(self, state: Any, params: Any) -> nn.Module:
        between = [nn.Linear(SIDE, SIDE), nn.Linear(SIDE, SIDE)]
        return nn.Sequential(nn.Linear(tiny.FEATURES, SIDE), *between, nn.Linear(SIDE, tiny.CLASSES))


class StoringHooks(tiny.Recorder):
    """Hooks that keep checkpoints on disk, as a lane does."""

    def __init__(self, folder: Path, stop_at_tick: int | None = None) -> None:
        super().__init__(stop_at_tick=stop_at_tick)
        self.store = CheckpointStore(folder)

    def save(self, tensors: Any, document: Any) -> None:
        self.store.save(tensors, document)

    def load(self) -> Any:
        found = self.store.load()
        return None if found is None else (found.tensors, found.document)


def _peak(hooks: StoringHooks) -> tuple[float, Any]:
    """The most that the process had beside what it had before, in times the weights' bytes."""
    job = tiny.job(Large(), length=Length(steps=2, report_every=1), checkpoint_epochs=1, batch_size=8)
    restart_peak(torch.device("cpu"))
    before = peak_bytes(torch.device("cpu"))
    outcome = train(job, tiny.data(32, validation=8), hooks)
    after = peak_bytes(torch.device("cpu"))
    assert before is not None
    assert after is not None
    return (after - before) / outcome.facts["size_bytes"], outcome


def test_large_checkpoint_takes_no_extra_copy_of_the_weights(tmp_path: Path) -> None:
    train(tiny.job(epochs=1), tiny.data(), tiny.Recorder())  # the libraries load much when first used
    whole, expected = _peak(StoringHooks(tmp_path / "whole"))
    _, stopped = _peak(StoringHooks(tmp_path / "cut", stop_at_tick=2))
    resumed, outcome = _peak(StoringHooks(tmp_path / "cut"))
    assert (stopped.status, outcome.status) == ("stopped", "complete")
    assert all(torch.equal(outcome.weights[name], tensor) for name, tensor in expected.weights.items())
    # weights, gradients, two moments of Adam, kept weights; and what activations take
    assert max(whole, resumed) < 5.5, (whole, resumed)
