"""What `velodrome inspect` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from flows.terminal.console import print_line
from flows.terminal.tables import TableColumn, fit_table
from trainers.wording import count_of

if TYPE_CHECKING:
    from flows.inspection.result import Inspection

SHOWN = 20


def print_inspection(console: Console, made: Inspection) -> None:
    """The worst suspects, and where all of them are."""
    shown = made.suspects[:SHOWN]
    if shown:
        columns = [
            TableColumn("row", [suspect.row for suspect in shown]),
            TableColumn("label", [suspect.given for suspect in shown], shrinks=True),
            TableColumn("likely", [suspect.suggested for suspect in shown], shrinks=True),
            TableColumn("p of label", [f"{suspect.p_given:.3f}" for suspect in shown], right=True),
            TableColumn("p of likely", [f"{suspect.p_suggested:.3f}" for suspect in shown], right=True),
            TableColumn("part", [suspect.part for suspect in shown], gives_way=1),
        ]
        console.print(fit_table(columns, console.width))
    count, accuracy = len(made.suspects), sum(made.accuracy) / len(made.accuracy)
    print_line(
        console,
        f"{made.out}/suspects.csv: {count:,} of {made.rows:,} rows of train and validation are suspect "
        f"to {len(made.accuracy)} models of {made.family} #{made.number} (accuracy {accuracy:.4g}), "
        f"in {made.seconds:.1f} s",
    )
    if made.unjudged:
        said = f"{count_of(made.unjudged, 'row is', 'rows are')} not judged: no other fold has such a label"
        print_line(console, f"  {said}", "dim")
    if made.warning:
        print_line(console, f"  {made.warning}", "yellow")
    elif count:
        print_line(
            console, f"  look at {made.out}/index.html, then data: {{drop_rows: {made.out}/suspects.csv}}"
        )
