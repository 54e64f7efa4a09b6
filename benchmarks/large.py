"""One trial of a hundred million weights on the CPU: its memory, its checkpoints, and a kill in between.

    python -m benchmarks.large [--weights 100000000] [--steps 4] [--limit-gib 4] [--json FILE]

An `mlp` of three hidden layers on generated numbers, trained with Adam by a lane's own attempt in a process
with a limit on its address space beyond what the libraries take. A checkpoint is written after each report;
one process trains all steps, another is killed after its second checkpoint and a third goes on from there.

Reported: what training takes beside the libraries, against weights, gradients, the two moments of Adam and
the kept weights (5 times the weights' bytes; 4 before there is a best); the peak; the time of a checkpoint
with its SHA-256; and whether the losses are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Measurements, parser, print_progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from trainers.data.dataset import EncodedDataset
    from trainers.types import Json, Tensors

GIB = 2**30
FEATURES, CLASSES, ROWS = 64, 10, 64
CHILD_LIMIT_S = 500


def widths(weights: int) -> list[int]:
    """Three hidden layers that have about so many weights together."""
    side = round((weights / 2) ** 0.5)
    return [side, side, side]


class TimedHooks:
    """A lane's hooks that keep losses and the time of each checkpoint, and end the process after so many."""

    def __init__(self, folder: Path, kill_after: int) -> None:
        from infra.storage.checkpoints import CheckpointStore

        self._store, self._kill_after = CheckpointStore(folder), kill_after
        self.saves_s: list[float] = []
        self.losses: list[list[float]] = []

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Goes on."""
        self.losses.append([metrics["train/loss"], metrics["val/loss"]])
        return True

    def alive(self, step: int) -> None:
        """Nobody asks."""

    def stopping(self) -> bool:
        """Never."""
        return False

    def save(self, tensors: Tensors, document: Mapping[str, Json]) -> None:
        """A checkpoint, timed."""
        began = time.perf_counter()
        self._store.save(tensors, document)
        self.saves_s.append(time.perf_counter() - began)
        if len(self.saves_s) == self._kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def load(self) -> tuple[dict[str, torch.Tensor], Any] | None:
        """The newest checkpoint."""
        loaded = self._store.load()
        return None if loaded is None else (loaded.tensors, loaded.document)


def generated_dataset() -> EncodedDataset:
    """Numbers and classes by chance."""
    import numpy as np

    from trainers.data.dataset import EncodedDataset

    draw, rows = np.random.default_rng(0), np.arange(ROWS)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "numbers": draw.normal(size=(ROWS, FEATURES)).astype(np.float32),
        "categories": np.zeros((ROWS, 0), np.int64),
        "target": draw.integers(0, CLASSES, ROWS),
    }
    state = {
        "task": "classification",
        "classes": [str(i) for i in range(CLASSES)],
        "table": {"inputs": FEATURES, "cardinalities": []},
    }
    splits: Any = {"train": rows[:32], "validation": rows[32:48], "test": rows[48:]}
    return EncodedDataset(arrays=arrays, state=state, splits=splits, fingerprint="f" * 32)


def train_child(folder: Path, weights: int, steps: int, limit_bytes: int, kill_after: int) -> None:
    """Trains, and prints one line of JSON; ends itself by SIGKILL after so many checkpoints (0: never)."""
    import torch

    from trainers.job import Job
    from trainers.loop.memory import peak_bytes, restart_peak
    from trainers.loop.training import train
    from trainers.registry import load_reference
    from trainers.types import Goal, Length

    dataset, hooks = generated_dataset(), TimedHooks(folder, kill_after)
    family = load_reference("mlp")({})
    params = family.complete({"hidden": widths(weights), "batch_size": 32, "optimizer": "adam",
                              "learning_rate": 1e-4, "dropout": 0.0})  # fmt: skip
    device = torch.device("cpu")
    torch.nn.Linear(2, 2)(torch.zeros(1, 2)).sum().backward()  # what the libraries load when first used
    restart_peak(device)
    before = peak_bytes(device) or 0.0
    if limit_bytes:
        own = _address_space()
        resource.setrlimit(resource.RLIMIT_AS, (own + limit_bytes, own + limit_bytes))
    job = Job(
        family=family, params=params, seed=0, length=Length(steps=steps, report_every=1), threads=2,
        goals=(Goal(metric="val/loss", maximize=False),), checkpoint_epochs=1,
    )  # fmt: skip
    began = time.perf_counter()
    outcome = train(job, dataset, hooks)
    peak = (peak_bytes(device) or 0.0) - before
    print(json.dumps({
        "saves_s": hooks.saves_s, "losses": hooks.losses, "peak_bytes": peak,
        "seconds": time.perf_counter() - began, "status": outcome.status,
        "weights": sum(tensor.numel() for tensor in outcome.weights.values()),
    }))  # fmt: skip


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def run_child(folder: Path, arguments: argparse.Namespace, kill_after: int = 0) -> dict[str, Any] | None:
    """What the child found; None where it was killed."""
    command = [
        sys.executable, __file__, "--child", str(folder), "--weights", str(arguments.weights),
        "--steps", str(arguments.steps), "--limit-gib", str(arguments.limit_gib),
        "--kill-after", str(kill_after),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_LIMIT_S, check=False)
    if kill_after and done.returncode == -signal.SIGKILL:
        return None
    if done.returncode != 0:
        raise SystemExit(f"the child failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measures and prints the table."""
    made = parser(__doc__ or "")
    made.add_argument("--weights", type=int, default=100_000_000)
    made.add_argument("--steps", type=int, default=4)
    made.add_argument("--limit-gib", type=float, default=4.0)
    made.add_argument("--child", type=Path)
    made.add_argument("--kill-after", type=int, default=0)
    arguments = made.parse_args()
    if arguments.child is not None:
        limit = int(arguments.limit_gib * GIB)
        train_child(arguments.child, arguments.weights, arguments.steps, limit, arguments.kill_after)
        return
    figures = Measurements("One large trial", arguments.json)
    with tempfile.TemporaryDirectory() as folder:
        print_progress("all steps in one process")
        whole = run_child(Path(folder) / "whole", arguments)
        assert whole is not None
        print_progress("killed after its second checkpoint, and carried on")
        cut = Path(folder) / "cut"
        killed = run_child(cut, arguments, kill_after=2)
        resumed = run_child(cut, arguments)
        assert killed is None
        assert resumed is not None
    size = 4.0 * whole["weights"]
    saves = sorted(whole["saves_s"])
    figures.add("weights", whole["weights"])
    figures.add("peak beside the libraries", whole["peak_bytes"] / GIB, "GiB")
    figures.add("the same in times the weights' bytes", whole["peak_bytes"] / size, at_most=5.5)
    figures.add("peak where it is carried on", resumed["peak_bytes"] / size, "times", at_most=6.5)
    figures.add("a checkpoint", saves[len(saves) // 2], "s", note="median, SHA-256 and fsync counted")
    same = whole["losses"][2:] == resumed["losses"]
    figures.add("losses after the kill that are the same to the bit", float(same), at_least=1)
    figures.conclude()


if __name__ == "__main__":
    main()
