"""A command on two ranks: torchrun's variables, and one end for both."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.trainers.functions.test_functions import Recorder
from tests.trainers.two_ranks import run_on_both_ranks
from trainers.functions.command import bind_command
from trainers.functions.job import FunctionJob
from trainers.functions.run import run_function
from trainers.types import Goal, Length, Ranks

GOAL = Goal(metric="val/accuracy", maximize=True)
SCRIPT = (
    'echo $WORLD_SIZE $MASTER_ADDR $MASTER_PORT > "$0/seen-$RANK"; '
    'for i in 1 2 3; do echo acc=0.$i; sleep 0.$1; done; [ $RANK = 0 ] && sleep "$2" || sleep 60'
)


def attempt(folder: str, prune_at: int, pause: int, tail: int, rank: int) -> tuple[str, int]:
    """The status and the reports of one rank, whose command goes on for a minute on the second."""
    command = f"sh -c '{SCRIPT}' ${{directory}} {pause} {tail}"
    options = {"command": command, "metrics": {"accuracy": "acc=([0-9.]+)"}}
    function = bind_command(options, Path(folder), [GOAL], after_last_s=0.5)
    job = FunctionJob(
        function=function, params={}, seed=1, length=Length(epochs=3), goals=(GOAL,), directory=Path(folder),
        ranks=Ranks(rank=rank, world_size=2),
    )  # fmt: skip
    hooks = Recorder(prune_at=prune_at)
    return run_function(job, hooks).status, len(hooks.reports)


@pytest.mark.parametrize(
    ("prune_at", "pause", "tail", "status", "reports"), [(0, 1, 0, "complete", 3), (1, 9, 60, "pruned", 1)]
)
def test_both_ranks_end_as_the_first_does(
    tmp_path: Path, prune_at: int, pause: int, tail: int, status: str, reports: int
) -> None:
    body = functools.partial(attempt, str(tmp_path), prune_at, pause, tail)
    found = run_on_both_ranks(body)
    assert found == {0: (status, reports), 1: (status, 0)}
    seen = [(tmp_path / f"seen-{rank}").read_text() for rank in range(2)]
    assert seen[0] == seen[1]
    assert seen[0].startswith("2 127.0.0.1 ")
