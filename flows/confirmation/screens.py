"""Confirmations as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flows.terminal.console import print_line
from flows.terminal.formatting import MISSING, format_times, number, params_line
from flows.terminal.tables import TableColumn, fit_table

if TYPE_CHECKING:
    from flows.confirmation.result import Confirmation, ConfirmedFolds, ConfirmedRow, Scores


def print_confirmation(console: Console, result: Confirmation) -> None:
    """Candidates by the mean of their validation values, the test score beside it; or what folds gave."""
    if result.folds is not None:
        _print_folds(console, result, result.folds)
        return
    rows = result.rows
    better = "higher" if result.direction == "maximize" else "lower"
    name = result.metric.rpartition("/")[2]
    console.print(Text.assemble("  ", (f"{name} over fresh seeds ({better} is better)", "bold")))
    was_tested = any(row.test.values for row in rows)  # own code that reads its own data has no test part
    columns = _candidate_columns(rows, was_tested=was_tested)
    console.print(fit_table(columns, console.width, bold_rows=frozenset({0})))
    for row in rows:
        console.print(
            Text.assemble((f"  {row.family} #{row.number}: ", "dim"), params_line(row.params)),
            soft_wrap=True,
        )
    if rows[0].test.interval is not None:
        console.print(Text(f"  the test score's interval is over {rows[0].test.over}", style="dim"))
    if result.waiting:
        again = f"{result.waiting} confirmations wait; the same command carries on"
        console.print(Text(f"  {again}", style="yellow"))
    if result.ahead is not None:
        ahead = "{} #{}".format(*result.ahead)
        said = f"{ahead}, confirmed before, has the better mean: `promote` takes it without --trial"
        console.print(Text(f"  {said}", style="yellow"), soft_wrap=True)
    read = f"; the test split of {result.sweep} was read {format_times(result.test_reads)}"
    console.print(Text(f"  ranked by validation{read if was_tested else ''}"))


def _candidate_columns(rows: Sequence[ConfirmedRow], *, was_tested: bool) -> list[TableColumn]:
    tested = [
        TableColumn("test", [_format_scores(row.test) for row in rows], right=True),
        TableColumn("95 % interval", [_format_interval(row.test) for row in rows], right=True, gives_way=3),
    ]
    return [
        TableColumn("family", [row.family for row in rows], shrinks=True),
        TableColumn("trial", [str(row.number) for row in rows], right=True),
        TableColumn("validation", [_format_scores(row.validation) for row in rows], right=True),
        *(tested if was_tested else []),
        TableColumn("seeds", [str(len(row.validation.values)) for row in rows], right=True, gives_way=2),
        TableColumn("against the first", [_compare_with_first(row, rows[0]) for row in rows], gives_way=1),
    ]


def _print_folds(console: Console, result: Confirmation, folds: ConfirmedFolds) -> None:
    (row,) = result.rows
    kept = folds.count - folds.trained
    before = f"; {kept} of them are from before" if kept else ""
    print_line(
        console,
        f"{row.family} #{row.number}: accuracy {_format_scores(row.validation)} on {folds.rows:,} rows "
        f"of train and validation, each by that of {folds.count} models that did not see it{before}",
    )
    print_line(console, f"  probabilities: {folds.out}", "dim")
    print_line(console, f"  `{folds.next}` lists the rows whose labels they contradict")


def _format_scores(scores: Scores) -> str:
    if scores.mean is None:
        return MISSING
    return number(scores.mean) if scores.std is None else f"{number(scores.mean)} ±{number(scores.std, 2)}"


def _format_interval(scores: Scores) -> str:
    found = scores.interval
    return MISSING if found is None else f"{number(found.low)} … {number(found.high)}"


def _compare_with_first(row: ConfirmedRow, first: ConfirmedRow) -> str:
    if row is first:
        return ""
    told = {True: "cannot be told apart", False: "worse", None: "too few seeds to tell"}[row.tied]
    return f"{told}, {row.failed} failed" if row.failed else told
