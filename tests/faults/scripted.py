"""Training that does what it is told: reports made-up numbers, takes its time, and breaks on cue.

What to do comes by environment variable or parameter, so that one function serves all fault cases. Values
depend on the parameters and the epoch alone; a resumed trial must therefore end as one never stopped.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

STEP_BYTES = 64 * 2**20


class Counter:
    """State that only survives in checkpoints: the sum of what was trained so far."""

    def __init__(self) -> None:
        self.total = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The sum."""
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Back to it."""
        self.total = float(state["total"])


def score(params: dict[str, Any], epoch: int) -> float:
    """A made-up accuracy."""
    return 1.0 / (1.0 + abs(math.log10(params["learning_rate"]) + 2.5)) * (1 - 0.5**epoch)


def train(trial: Any) -> None:
    """A trial without learning: `SCRIPTED_SLEEP` seconds an epoch."""
    counter = Counter()
    pause = float(os.environ.get("SCRIPTED_SLEEP", "0"))
    for epoch in trial.epochs(counter=counter):
        time.sleep(pause)
        _misbehave(trial, epoch)
        note(trial, epoch)
        counter.total += score(trial.params, epoch + 1)
        trial.report(accuracy=score(trial.params, epoch + 1), total=counter.total)


def note(trial: Any, epoch: int) -> None:
    """Writes down that this process trained an epoch, and when."""
    with (Path(trial.directory) / "epochs.txt").open("a") as notes:
        notes.write(f"{epoch + 1} {os.getpid()} {time.time():.3f}\n")


def _misbehave(trial: Any, epoch: int) -> None:
    what = trial.params.get("fault", "none")
    if epoch != 1 or what == "none":
        return
    if what == "raise":
        raise RuntimeError("told to fail")
    if what == "nan":
        trial.report(accuracy=float("nan"))
    if what == "sys-exit":
        sys.exit("told to leave")
    if what == "exit":
        os._exit(13)
    if what == "exit-once" and _first_time(trial):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        time.sleep(3_600)
    if what == "memory":
        raise MemoryError("told to run out")
    if what == "allocate":
        allocate(int(os.environ["SCRIPTED_BYTES"]))


def allocate(size_bytes: int) -> None:
    """Takes memory and touches it, in steps that a watcher can see."""
    held = []
    for _ in range(size_bytes // STEP_BYTES):
        held.append(bytearray(os.urandom(4096)) * (STEP_BYTES // 4096))
        time.sleep(0.02)
    raise RuntimeError(f"{len(held)} pieces were all to be had")


def _first_time(trial: Any) -> bool:
    mark = Path(trial.directory) / "was-here"
    if mark.exists():
        return False
    mark.touch()
    return True
