"""What the training loop costs beside one written by hand: the same small CNN on the digits, in turns.

    python benchmarks/loop_overhead.py [--rounds 15] [--json]

Both train on the CPU with one thread, the same batches, Adam and the loss; both shuffle and gather by index.
The hand-written loop is once the usual one (`torch.optim.Adam` as it comes) and once with `fused=True`,
which the loop uses too. Timed are epochs of steps, without evaluation and reports; the figure is the ratio
of medians over interleaved rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from trainers.data.batches import Batches
from trainers.dataset import Dataset, Encoded
from trainers.family import ArrayWriter, Family, Params, State
from trainers.job import Goal, Job, Length
from trainers.loop import train

BATCH = 32
EPOCHS = 3


class SmallCNN(Family):
    """Two blocks of convolution and pooling, two dense layers; 13,706 weights."""

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        return {}

    def build(self, state: State, params: Params) -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
        )

    def from_user(self, rows: Any, state: State) -> dict[str, Any]:
        return {}


class Quiet:
    """Hooks that do nothing but keep the seconds of each epoch's training."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def report(self, epoch: int, metrics: Any) -> bool:
        self.seconds.append(metrics["train/epoch_seconds"])
        return True

    def alive(self, step: int) -> None: ...

    def stopping(self) -> bool:
        return False

    def save(self, tensors: Any, document: Any) -> None: ...

    def load(self) -> None:
        return None


def digits() -> Encoded:
    """scikit-learn's digits as images, 1,400 to train on."""
    source = load_digits()
    images = (source.images / 16.0).astype(np.float32)[:, None]
    rows = np.arange(len(images))
    return Encoded(
        arrays={"inputs": images, "target": source.target.astype(np.int64)},
        state={"task": "classification", "classes": [str(n) for n in range(10)]},
        splits={"train": rows[:1400], "validation": rows[1400:1600], "test": rows[1600:]},
    )


def with_the_loop(encoded: Encoded) -> list[float]:
    """Seconds of each epoch's steps in `trainers.loop.train`."""
    family, hooks = SmallCNN(), Quiet()
    params = family.complete({"batch_size": BATCH})
    goals = (Goal(metric="val/accuracy", maximize=True),)
    train(
        Job(family=family, params=params, seed=0, length=Length(epochs=EPOCHS), goals=goals, threads=1),
        encoded,
        hooks,
    )
    return hooks.seconds


def by_hand(encoded: Encoded, *, fused: bool | None) -> list[float]:
    """Seconds of each epoch's steps in a loop as people write it."""
    torch.manual_seed(0)
    module = SmallCNN().build({}, {})
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=fused)
    batches = Batches(encoded, "train", "cpu")
    seconds = []
    for epoch in range(EPOCHS):
        started = time.perf_counter()
        losses = 0.0
        for positions in batches.order(epoch, 0, BATCH):
            batch = batches.gather(positions)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(batch["inputs"]), batch["target"])
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            losses += loss.item() * len(positions)
        seconds.append(time.perf_counter() - started)
    return seconds


def measure(rounds: int) -> dict[str, Any]:
    """Medians in milliseconds an epoch, and the loop's against each."""
    torch.set_num_threads(1)
    encoded = digits()
    sides: dict[str, Callable[[], list[float]]] = {
        "loop": lambda: with_the_loop(encoded),
        "by hand": lambda: by_hand(encoded, fused=None),
        "by hand, fused": lambda: by_hand(encoded, fused=True),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            found = side()
            times[name] += found if turn else []  # the first round warms up
    medians = {name: 1000.0 * statistics.median(found) for name, found in times.items()}
    ratios = {name: medians["loop"] / value for name, value in medians.items() if name != "loop"}
    return {"epoch_ms": medians, "ratio": ratios, "rounds": rounds}


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(found))
        return
    for name, value in found["epoch_ms"].items():
        print(f"{name:16} {value:7.2f} ms an epoch")
    for name, value in found["ratio"].items():
        print(f"loop / {name}: {value:.3f}")


if __name__ == "__main__":
    main()
