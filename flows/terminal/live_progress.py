"""Progress of a running sweep: a live table on a terminal, one block in a notebook, plain lines elsewhere.

Always on stderr, so that stdout stays free for a document.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from flows.terminal.console import PatientConsole
from flows.terminal.formatting import MISSING, number, seconds
from flows.terminal.html_console import WIDE, renderable_html
from flows.terminal.tables import TableColumn, fit_table
from infra.ledger.ranking import objective_costs
from infra.ledger.snapshot import FamilySnapshot, Snapshot
from infra.spec import SweepSpec
from trainers.wording import count_of

LINE_EVERY_S = 5.0
MOST_BESTS = 3  # in a line
BAR_WIDTH = 12


class LiveProgress:
    """Shows snapshots of one sweep. A context manager; `update` never raises for a screen that is gone."""

    def __init__(
        self,
        spec: SweepSpec,
        out: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = LINE_EVERY_S,
    ) -> None:
        """Shows nothing yet.

        Args:
            out: by default stderr.
            every_s: without a terminal, at least so long between two lines.
        """
        self._spec = spec
        self._console = PatientConsole(file=out or sys.stderr, highlight=False, soft_wrap=False)
        self._clock, self._every_s = clock, every_s
        self._live: Live | None = None
        self._said: tuple[object, ...] = ()
        self._said_at: float | None = None
        self._had_value = False
        self._gone = False
        self._block = NotebookBlock() if out is None and in_notebook() else None

    def __enter__(self) -> LiveProgress:
        """Takes the terminal's last lines, where there is a terminal."""
        if self._block is None and self._console.is_terminal:
            self._live = Live(
                Text(f"{self._spec.label}: starting"),
                console=self._console,
                auto_refresh=False,  # a thread of its own could not be told that the screen is gone
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last state on screen and gives the terminal back."""
        live, self._live = self._live, None
        if live is not None:
            with suppress(BrokenPipeError, ValueError):
                live.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Shows the snapshot: at once on a terminal, elsewhere when it says something new."""
        if self._gone:
            return
        try:
            if self._block is not None:
                self._block.show(renderable_html(snapshot_table(self._spec, snapshot, WIDE)))
            elif self._live is not None:
                self._live.update(snapshot_table(self._spec, snapshot, self._console.width), refresh=True)
            elif self._is_due(snapshot):
                self._console.print(Text(snapshot_line(self._spec, snapshot)), soft_wrap=True)
        except (BrokenPipeError, ValueError):  # who read it left, or closed it: the sweep goes on
            self._gone = True

    def print_line(self, text: str) -> None:
        """One line that stays, above the table."""
        if self._gone:
            return
        try:
            self._console.print(Text(text), soft_wrap=True)
        except (BrokenPipeError, ValueError):
            self._gone = True

    def _is_due(self, snapshot: Snapshot) -> bool:
        saying = (
            snapshot.state,
            snapshot.ended_count,
            snapshot.running_count,
            snapshot.lanes_up,
            snapshot.message,
            bool(snapshot.first_value),
            tuple(family.failed for family in snapshot.families),
        )
        if saying == self._said:
            return False
        now = self._clock()
        ended, first = snapshot.state != "running", bool(snapshot.first_value) and not self._had_value
        if self._said_at is not None and now - self._said_at < self._every_s and not (ended or first):
            return False
        self._had_value = self._had_value or first
        self._said, self._said_at = saying, now
        return True


def snapshot_line(spec: SweepSpec, snapshot: Snapshot) -> str:
    """The snapshot as one line, with the bests of a few families, the best of them first."""
    parts = [f"{snapshot.ended_count}/{snapshot.trial_count} done"]
    counts = {
        "running": snapshot.running_count,
        "pruned": sum(family.pruned for family in snapshot.families),
        "failed": sum(family.failed for family in snapshot.families),
    }
    parts += [f"{n} {name}" for name, n in counts.items() if n]
    if best := _best_families(spec, snapshot):
        more = len(best) - MOST_BESTS
        told = ", ".join(f"{family.family} {_best(family)}" for family in best[:MOST_BESTS])
        others = f" and {count_of(more, 'family', 'families')} more" if more > 0 else ""
        parts.append(f"best {told}{others}")
    parts += _status_parts(snapshot)
    return f"{snapshot.sweep}: {' · '.join(parts)}"


def _best_families(spec: SweepSpec, snapshot: Snapshot) -> list[FamilySnapshot]:
    """The families that have a best trial, by it; equal ones as everywhere that names a winner."""
    found = [(family.best, family) for family in snapshot.families if family.best]
    found.sort(
        key=lambda pair: (objective_costs(pair[0].values, spec.objectives), pair[0].size, pair[1].family)
    )
    return [family for _, family in found]


def snapshot_table(spec: SweepSpec, snapshot: Snapshot, width: int) -> RenderableType:
    """The snapshot as a table that fits, one line a family, and a line on what is around it."""
    families = snapshot.families
    columns = [
        TableColumn("family", [family.family for family in families], shrinks=True),
        TableColumn("", [_bar(family) for family in families], gives_way=3),
        TableColumn("done", [f"{family.ended_count}/{family.total}" for family in families], right=True),
        TableColumn("running", [str(family.running or "") for family in families], right=True),
        TableColumn("pruned", [str(family.pruned or "") for family in families], right=True, gives_way=1),
        TableColumn(
            "failed",
            [Text(str(family.failed or ""), style="red") for family in families],
            right=True,
            gives_way=1,
        ),
        TableColumn(_goal_name(spec), [_best_value(family) for family in families], right=True),
        TableColumn("best", [_best_number(family) for family in families], right=True, gives_way=2),
    ]
    around = Text("  " + " · ".join([snapshot.sweep, *_status_parts(snapshot)]), style="dim")
    return Group(Padding(fit_table(columns, width), (1, 0, 0, 0), expand=False), around)


def _best_number(family: FamilySnapshot) -> str:
    return "" if family.best is None else f"#{family.best.number}"


def _bar(family: FamilySnapshot) -> Text:
    done = round(BAR_WIDTH * family.ended_count / family.total) if family.total else 0
    running = min(BAR_WIDTH - done, -(-BAR_WIDTH * family.running // family.total)) if family.total else 0
    return Text.assemble(
        ("━" * done, "green"), ("━" * running, "yellow"), ("─" * (BAR_WIDTH - done - running), "dim")
    )


def _status_parts(snapshot: Snapshot) -> list[str]:
    lanes = f"{snapshot.lanes_up} lane{'' if snapshot.lanes_up == 1 else 's'}"
    if snapshot.lanes_starting:
        lanes += f" (+{snapshot.lanes_starting} starting)"
    parts = [snapshot.first_value] if snapshot.first_value else []
    parts += [lanes, f"{seconds(snapshot.elapsed_s)} so far"]
    if snapshot.state == "running" and snapshot.eta_s:
        parts.append(f"about {seconds(snapshot.eta_s)} left")
    if snapshot.state != "running":
        parts.append(snapshot.state)
    if snapshot.unsent:
        parts.append(f"{snapshot.unsent} not yet sent to MLflow")
    if snapshot.message:
        parts.append(snapshot.message)
    return parts


def _goal_name(spec: SweepSpec) -> str:
    return ", ".join(goal.metric.removeprefix("val/") for goal in spec.objectives)


def _best_value(family: FamilySnapshot) -> str:
    if family.best is None:
        return MISSING
    return ", ".join(number(value) for value in family.best.values)


def _best(family: FamilySnapshot) -> str:
    return f"{_best_value(family)} (#{family.best.number})" if family.best else MISSING


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class NotebookBlock:
    """One block below the cell that runs."""

    def __init__(self) -> None:
        """Shows nothing yet."""
        self._handle: Any = None

    def show(self, html: str) -> None:
        """Shows this in the place of what was there."""
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(html), display_id=True)
        else:
            self._handle.update(HTML(html))
