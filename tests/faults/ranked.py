"""A training function of two ranks that breaks on one of them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.faults.scripted import Counter


def train(trial: Any) -> None:
    """All ranks add up in each epoch; rank 1 does what `fault` says in the third."""
    import torch
    import torch.distributed as dist

    counter = Counter()
    for epoch in trial.epochs(counter=counter):
        if epoch == 2 and trial.rank == 1:
            _misbehave(trial, trial.params["fault"])
        here = torch.ones(1)
        dist.all_reduce(here)
        counter.total += float(here)
        time.sleep(0.05)
        trial.report(accuracy=float(here) / trial.world_size * (epoch + 1) / 4, total=counter.total)


def _misbehave(trial: Any, fault: str) -> None:
    if fault == "raise":
        raise RuntimeError("rank 1 was told to fail")
    if fault == "die-once":
        mark = Path(trial.directory) / "was-here"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hang":
        time.sleep(3_600)
