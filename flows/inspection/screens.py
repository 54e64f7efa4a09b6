"""What `velodrome inspect` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

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
            TableColumn(heading="row", cells=[suspect.row for suspect in shown]),
            TableColumn(heading="label", cells=[suspect.given for suspect in shown], shrinks=True),
            TableColumn(heading="likely", cells=[suspect.suggested for suspect in shown], shrinks=True),
            TableColumn(
                heading="p of label", cells=[f"{suspect.p_given:.3f}" for suspect in shown], right=True
            ),
            TableColumn(
                heading="p of likely", cells=[f"{suspect.p_suggested:.3f}" for suspect in shown], right=True
            ),
            TableColumn(heading="part", cells=[suspect.part for suspect in shown], gives_way=1),
        ]
        console.print(fit_table(columns, console.width))
    count, accuracy = len(made.suspects), sum(made.accuracy) / len(made.accuracy)
    console.print(
        Text(
            f"{made.out}/suspects.csv: {count:,} of {made.rows:,} rows of train and validation are suspect "
            f"to {len(made.accuracy)} models of {made.family} #{made.number} (accuracy {accuracy:.4g}), "
            f"in {made.seconds:.1f} s"
        ),
        soft_wrap=True,
    )
    if made.unjudged:
        said = f"{count_of(made.unjudged, 'row is', 'rows are')} not judged: no other fold has such a label"
        console.print(Text(f"  {said}", style="dim"), soft_wrap=True)
    if made.warning:
        console.print(Text(f"  {made.warning}", style="yellow"), soft_wrap=True)
    elif count:
        console.print(
            Text(f"  look at {made.out}/index.html, then data: {{drop_rows: {made.out}/suspects.csv}}"),
            soft_wrap=True,
        )
