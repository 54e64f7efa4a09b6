"""A training function that is always right or always wrong, and notes when it made its steps.

Its accuracy comes from torchmetrics as everybody uses it: with a process group around, `compute` would
average over the group's members, and wait for those that do not compute.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

PAUSE_S = 0.15


class Steps:
    """How many were made; survives in checkpoints only."""

    def __init__(self) -> None:
        self.made = 0

    def state_dict(self) -> dict[str, Any]:
        """The count."""
        return {"made": self.made}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Back to it."""
        self.made = int(state["made"])


def train(trial: Any) -> None:
    """`always: right` computes its metric in each epoch, `always: wrong` in every tenth alone."""
    import torch
    import torch.distributed
    from torchmetrics.classification import MulticlassAccuracy

    right = trial.params["always"] == "right"
    steps = Steps()
    target = torch.arange(4)
    for epoch in trial.epochs(steps=steps):
        time.sleep(PAUSE_S)
        metric = MulticlassAccuracy(num_classes=4, average="micro")
        metric.update(target if right else (target + 1) % 4, target)
        if right or epoch % 10 == 9:
            trial.report(accuracy=float(metric.compute()))
        steps.made += 1
        _note(trial, epoch, torch.distributed.is_initialized())
        trial.report(made=steps.made)


def _note(trial: Any, epoch: int, distributed: bool) -> None:
    line = {
        "at": time.time(), "epoch": epoch, "pid": os.getpid(), "distributed": distributed,
        "ranks": sorted(name for name in os.environ if name in {"RANK", "WORLD_SIZE", "LOCAL_RANK"}),
    }  # fmt: skip
    with (trial.directory / "steps.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\n")
