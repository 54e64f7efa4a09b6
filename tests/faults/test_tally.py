"""What is counted as lost, twice, and wasted: each count must be able to be other than zero."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.ledger.rows import TrialRow
from tests.faults import tally
from tests.faults.harness import Stage, Step, table
from tests.infra.conftest import Bench, drive, hello, sweep


def row(number: int, state: str, reason: str | None = None) -> TrialRow:
    return TrialRow(
        role="search",
        family="f",
        number=number,
        params={},
        seed=1,
        state=state,
        reason=reason,
        objective=[0.5],
    )


def test_tally_counts_trials_without_end_or_reason_as_lost() -> None:
    good = [row(0, "complete"), row(1, "pruned"), row(2, "failed", "error: x")]
    assert tally.count_lost(good, 3) == 0
    assert tally.count_lost(good, 4) == 1
    assert tally.count_lost([row(0, "running"), row(1, "waiting"), row(2, "failed")], 3) == 3


@pytest.mark.parametrize(
    ("pids", "twice"),
    [([7, 7, 8, 8], False), ([7, 8, 9], False), ([], False), ([7, 8, 7], True), ([7, 8, 9, 8], True)],
)
def test_tally_of_alternating_processes_counts_as_overlap(pids: list[int], twice: bool) -> None:
    steps = [Step(epoch, pid, float(epoch)) for epoch, pid in enumerate(pids)]
    assert tally.attempts_overlap(steps) is twice


def test_tally_row_unlike_the_quiet_run_is_silent_damage() -> None:
    quiet = table([row(0, "complete"), row(1, "complete")])
    assert tally.count_differing([row(0, "complete"), row(1, "complete")], quiet) == 0
    assert tally.count_differing([row(0, "complete"), row(1, "pruned")], quiet) == 1


def test_tally_counts_repeated_epochs_as_waste_and_second_ends(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    bench = Bench(stage.home.path)
    coordinator = bench.begin(sweep())
    drive(coordinator, hello())
    coordinator.tick()
    assert set(stage.ends("try").values()) == {1}
    trial = stage.trials("try")[0]
    coordinator._attempts.batch.add_event("ended", 1.0, {}, trial)
    coordinator._commit()
    assert stage.ends("try")["noop", 0] == 2
    notes = stage.home.storage / "try" / "noop" / "search-0000" / "files" / "epochs.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("1 7 1.0\n2 7 2.0\n2 8 3.0\n3 8 4.0\n")
    assert tally.wasted_share(stage, "try") == pytest.approx(1 / 3)
    bench.ledger.close()
