"""What a trial of a command costs beside the same command called bare, in turns.

    python -m benchmarks.commands [--rounds 20] [--json FILE]

The command is a shell that prints four reports at once, or one each tenth of a second, and ends. Timed are a
bare `subprocess.run` that reads its output, and a trial without Ray: the process started and guarded, its
lines read and reported, its group ended. The figure is the difference of medians. Bar: at most 50 ms.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Measurements, parser
from trainers.functions.command import bind_command
from trainers.functions.job import FunctionJob
from trainers.functions.run import run_function
from trainers.job import SilentHooks
from trainers.types import Goal, Length

REPORTS = 4
AT_MOST_MS = 50.0
GOAL = Goal(metric="val/acc", maximize=True)


def call_bare(words: list[str], folder: Path) -> None:
    """The command by itself."""
    subprocess.run(words, cwd=folder, check=True, capture_output=True)


def call_as_trial(words: list[str], folder: Path) -> None:
    """The command as a trial."""
    command = f"sh -c '{words[-1]}'"
    function = bind_command({"command": command, "metrics": {"acc": "acc=([0-9.]+)"}}, folder, [GOAL])
    job = FunctionJob(
        function=function, params={}, seed=0, length=Length(epochs=REPORTS), goals=(GOAL,), directory=folder
    )
    outcome = run_function(job, SilentHooks())
    assert (outcome.status, outcome.epochs) == ("complete", REPORTS)


def time_call(call: Callable[[list[str], Path], None], words: list[str], folder: Path) -> float:
    """Its milliseconds."""
    began = time.perf_counter()
    call(words, folder)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """The command."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=20)
    given = made.parse_args()
    figures = Measurements("A command as a trial", given.json)
    with tempfile.TemporaryDirectory() as name:
        for kind, pause in (("prints at once", ""), ("prints each 0.1 s", "sleep 0.1; ")):
            words = ["sh", "-c", f"for i in 1 2 3 4; do {pause}echo acc=0.$i; done"]
            rounds = [
                [time_call(call, words, Path(name)) for call in (call_bare, call_as_trial)]
                for _ in range(given.rounds + 1)
            ][1:]  # the first imports what it needs
            bare, trial = (statistics.median(column) for column in zip(*rounds, strict=True))
            note = f"{bare:.0f} ms bare, {trial:.0f} ms as a trial"
            figures.add(f"a trial that {kind}", trial - bare, "ms", at_most=AT_MOST_MS, note=note)
    figures.conclude()


if __name__ == "__main__":
    main()
