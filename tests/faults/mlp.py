"""Real training of two ranks: a small MLP on the digits under DistributedDataParallel."""

from __future__ import annotations

import time
from typing import Any

from tests.faults.scripted import note

PAUSE_S = 0.15
BATCHES = 8


def train(trial: Any) -> None:
    """Each rank trains on its half; a kill falls into the midst of an epoch, which takes about a second."""
    import torch
    from sklearn.datasets import load_digits
    from torch.nn.functional import cross_entropy
    from torch.nn.parallel import DistributedDataParallel

    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32)[trial.rank :: trial.world_size] / 16
    y = torch.tensor(digits.target)[trial.rank :: trial.world_size]
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    shared = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.params["learning_rate"])
    for epoch in trial.epochs(model=model, optimizer=optimizer):
        for batch in torch.randperm(len(x)).chunk(BATCHES):
            optimizer.zero_grad()
            cross_entropy(shared(x[batch]), y[batch]).backward()
            optimizer.step()
            time.sleep(PAUSE_S)
        if trial.rank == 0:
            note(trial, epoch)
        with torch.no_grad():
            right = (model(x).argmax(1) == y).float().mean()
        trial.report(accuracy=float(right))
