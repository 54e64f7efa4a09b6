"""Several ranks of one function go on from one checkpoint, whatever of it the function asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.trainers.functions.test_functions import ACCURACY, Recorder
from tests.trainers.two_ranks import run_on_both_ranks
from trainers.errors import InputError
from trainers.functions.job import FunctionJob
from trainers.functions.run import run_function
from trainers.functions.trial import Trial
from trainers.types import Length, Ranks


def count_on(trial: Trial) -> None:
    """Goes on from a plain value, without `epochs`; the second rank asks for it too."""
    for epoch in range(trial.state.get("done", 0), 4):
        trial.state["done"] = epoch + 1
        trial.report(accuracy=0.1 * epoch)
        if trial.over():
            return


def only_first_looks(trial: Trial) -> None:
    """Only rank 0 asks for its state."""
    if trial.rank == 0:
        assert trial.state["done"] == 2
    trial.report(accuracy=0.5)


def attempt(rank: int, function: Any, saved: Any) -> tuple[str, list[int]]:
    """How one rank ends, or what it was refused with; and its reports, from 1."""
    hooks = Recorder()
    hooks.saved = saved
    job = FunctionJob(
        function=function, params={}, seed=1, length=Length(epochs=4), goals=(ACCURACY,), directory=Path(),
        ranks=Ranks(rank=rank, world_size=2), checkpoint_epochs=1,
    )  # fmt: skip
    try:
        ended = run_function(job, hooks).status
    except InputError as error:
        return str(error), []
    return ended, [epoch for epoch, _ in hooks.reports]


def checkpoint_after(epochs: int) -> Any:
    """What one rank saved by itself after so many epochs."""
    hooks = Recorder(stop_after=epochs)
    job = FunctionJob(
        function=count_on, params={}, seed=1, length=Length(epochs=4), goals=(ACCURACY,), directory=Path(),
        checkpoint_epochs=1,
    )  # fmt: skip
    run_function(job, hooks)
    assert hooks.saved is not None
    return hooks.saved[0], {**hooks.saved[1], "world_size": 2}


def all_cases(rank: int) -> dict[str, Any]:
    """Each case on this rank."""
    first, second = checkpoint_after(2), checkpoint_after(3)
    return {
        "same": attempt(rank, count_on, first),
        "other": attempt(rank, count_on, second if rank else first),
        "none at rank 1": attempt(rank, count_on, None if rank else first),
        "none at rank 0": attempt(rank, count_on, first if rank else None),
        "one looks": attempt(rank, only_first_looks, first),
    }


def test_ranks_of_a_function_without_epochs_hold_one_checkpoint_or_are_refused() -> None:
    found = run_on_both_ranks(all_cases)
    assert [found[rank]["same"] for rank in (0, 1)] == [("complete", [1, 2]), ("complete", [])]
    for case in ("other", "none at rank 1", "none at rank 0"):
        assert all("every rank must load the same checkpoint" in found[rank][case][0] for rank in (0, 1)), (
            case
        )
    assert [found[rank]["one looks"][0] for rank in (0, 1)] == ["complete", "complete"]
