"""The catalogue's cases of each change, and the command that runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.catalogue import Result, catalogue, run_case
from tests.faults.outcome import Case, Outcome, Pace
from tests.faults.rendering import BEGIN, END, as_text, into_page


def _marks(case: Case) -> list[pytest.MarkDecorator]:
    """Those that start Ray take minutes: `make test-all` runs them, as it does the rest of the catalogue."""
    ray = [pytest.mark.ray, pytest.mark.long] if case.ray else []
    return [*ray, *([pytest.mark.slow] if case.slow else [])]


FAST = [pytest.param(case, id=case.id, marks=_marks(case)) for case in catalogue().values() if case.fast]


@pytest.mark.parametrize("case", FAST)
def test_fault_case_loses_and_corrupts_nothing(case: Case, tmp_path: Path) -> None:
    """Nothing is lost, duplicated, orphaned or silently wrong, and what else the case promises holds."""
    outcome = case.run(tmp_path, Pace(fast=True))
    print(outcome)
    assert outcome.passed, outcome


def _case(body: str) -> Case:
    def run(folder: Path, pace: Pace) -> Outcome:
        raise AssertionError(body)

    return Case(id="F00", title="none", run=run, fast=True, ray=False, limit_s=20)


def test_case_without_result_has_failed() -> None:
    """An id that the command does not know ends its process: that is no pass."""
    result = run_case(_case("never run"), Pace(fast=True))
    assert not result.passed
    assert "no case F00" in result.broken


def test_results_table_keeps_rows_of_other_runs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\n{END}\nbelow\n")
    broken = Result(id="F01", title="c", seconds=2.0, outcome=Outcome(), broken="it broke")
    first = Result(id="F02", title="a | b", seconds=1.0, outcome=Outcome(detect_s=0.25, note="x"))
    into_page(page, [first])
    into_page(page, [broken])
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith(f"{END}\nbelow\n")
    assert text.index("| F01 | c | ? |") < text.index(r"| F02 | a \| b | 0 |")
    assert "**failed**: it broke" in text
    assert "it broke" in as_text([broken])


@pytest.mark.parametrize("column", ["lost", "duplicated", "orphaned", "silent"])
def test_outcome_with_nonzero_count_does_not_pass(column: str) -> None:
    assert not Result(id="F01", title="", seconds=1.0, outcome=Outcome(**{column: 1})).passed
