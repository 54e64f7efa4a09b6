"""All sweeps, and one with its trials, as people see them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flows.sweeps.views.trial_screens import STYLES, state_text
from flows.terminal.console import print_line
from flows.terminal.formatting import (
    MISSING,
    age,
    format_times,
    number,
    param_text,
    printable_text,
    seconds,
    trials,
)
from flows.terminal.next_command import next_command
from flows.terminal.tables import TableColumn, fit_columns, fit_table
from search_spaces.values import canonical_text

if TYPE_CHECKING:
    from flows.sweeps.views.sweep_status import Overview, SweepLine, SweepStatus, TrialStatus
    from trainers.types import Params

ENDED = ("complete", "pruned", "failed")
MANY_TRIALS = 200  # of a family; of more than that the best and the newest are listed
LISTED_OF_MANY = 50


def print_overview(console: Console, overview: Overview) -> None:
    """All sweeps, one a line."""
    if not overview.sweeps:
        console.print(f"no sweeps in {overview.home}", soft_wrap=True)
        console.print("a first one: velodrome new builtin:digits, then velodrome sweep digits.yaml")
        return
    now, lines = time.time(), overview.sweeps
    ended = [sum(line.counts[state] for state in ENDED) for line in lines]
    failed = TableColumn(
        "failed",
        [Text(str(line.counts["failed"] or ""), style="red") for line in lines],
        right=True,
        gives_way=2,
    )
    columns = [
        TableColumn("sweep", [line.sweep for line in lines], shrinks=True),
        TableColumn("state", [state_text(line.state) for line in lines]),
        TableColumn(
            "done", [f"{n}/{line.planned}" for n, line in zip(ended, lines, strict=True)], right=True
        ),
        *([failed] if any(line.counts["failed"] for line in lines) else []),
        TableColumn("best", [_best_cell(line) for line in lines], shrinks=True),
        TableColumn("changed", [age(line.updated_at, now) for line in lines], gives_way=1),
    ]
    console.print(fit_table(columns, console.width))
    for line in lines:
        if line.note:
            print_line(console, f"  {line.sweep}: {line.note}", "yellow")


def print_status(console: Console, status: SweepStatus) -> None:
    """One sweep: a line on the whole, a table of its trials, the best."""
    counts = status.counts()
    done = sum(counts[state] for state in ENDED)
    listed = [f"{counts[state]} {state}" for state in STYLES if counts[state]]
    console.print(
        Text.assemble(
            (status.sweep, "bold"),
            " is ",
            state_text(status.state),
            f": {done} of {trials(sum(status.planned.values()))} done",
            f" ({', '.join(listed)})" if listed else "",
        )
    )
    if status.note:
        console.print(Text(status.note, style="yellow"))
    for broken in status.stopped_families:
        print_line(console, printable_text(str(broken)), "yellow")
    goals = ", ".join(f"{goal.direction} {goal.metric}, {goal.at} epoch" for goal in status.objectives)
    reads = "never" if status.test_reads == 0 else format_times(status.test_reads)
    print_line(console, f"{goals}; test split read {reads}", "dim")
    if status.lanes is not None:
        waits = f"; {status.lanes.waits_for}" if status.lanes.waits_for else ""
        told = f"{status.lanes.up} of {status.lanes.planned} lanes are up{waits}"
        print_line(console, told, "dim")
        for host, why in status.lanes.sick.items():
            print_line(console, f"sick lanes on {host}, {why}", "yellow")
    elif status.state == "running":
        ahead = any(trial.place.get("lane", "").startswith("head-start") for trial in status.trials)
        meanwhile = "; a process of the command trains until they are up" if ahead else ""
        print_line(console, f"lanes are starting{meanwhile}", "dim")
    for family, why in status.gpu_lanes.items():
        print_line(console, f"{family}, gpus: auto: {why}", "dim")
    for family in status.planned:
        mine = [trial for trial in status.trials if trial.family == family]
        if mine:
            how = f"; {status.stacks[family]}" if family in status.stacks else ""
            of = f"{len(mine)} of {trials(status.planned[family])}"
            console.print(Text.assemble((f"\n{family}, {of}", "bold"), (how, "dim")), soft_wrap=True)
            _print_trials(console, status, mine)
    _print_best(console, status)


def _print_trials(console: Console, status: SweepStatus, mine: Sequence[TrialStatus]) -> None:
    """One family's trials, with as many of the parameters that differ as fit, and why trials failed."""
    listed, left_out = select_trials(mine, maximize=status.objectives[0].direction == "maximize")
    if left_out:
        told = f"  the best and the newest of them; {left_out} others: velodrome status {status.sweep} --json"
        print_line(console, told, "dim")
    mine = listed
    goals = [goal.metric.removeprefix("val/") for goal in status.objectives]
    names = varying_params([trial.params for trial in mine])
    columns = _trial_columns(mine, goals, names)
    outstanding = {(entry.family, entry.number) for entry in (status.best, *status.front) if entry}
    bold = frozenset(place for place, trial in enumerate(mine) if (trial.family, trial.number) in outstanding)
    console.print(fit_table(columns, console.width, bold_rows=bold))
    shown = {column.heading for column in fit_columns(columns, console.width)}
    if hidden := [name for name in names if name not in shown]:
        print_line(console, f"  not shown for want of room: {', '.join(hidden)}", "dim")
    for trial in mine:
        if trial.reason:
            print_line(console, f"  trial {trial.number}: {printable_text(trial.reason)}", "red")


def _trial_columns(
    mine: Sequence[TrialStatus], goals: Sequence[str], names: Sequence[str]
) -> list[TableColumn]:
    return [
        TableColumn("trial", [str(trial.number) for trial in mine], right=True),
        TableColumn("state", [state_text(trial.state) for trial in mine]),
        *(
            TableColumn(goal, [_value(trial, place) for trial in mine], right=True)
            for place, goal in enumerate(goals)
        ),
        TableColumn("epochs", [str(trial.epochs) for trial in mine], right=True, gives_way=1),
        *(
            [TableColumn("tries", [str(trial.attempts) for trial in mine], right=True, gives_way=1)]
            if any(trial.attempts > 1 for trial in mine)
            else []
        ),
        TableColumn("time", [seconds(trial.seconds) for trial in mine], right=True, gives_way=2),
        *_place_columns(mine),
        *(
            TableColumn(
                name,
                [param_text(trial.params[name], 3) if name in trial.params else MISSING for trial in mine],
                right=all(isinstance(trial.params.get(name, 0), (int, float)) for trial in mine),
                gives_way=3,
            )
            for name in names
        ),
    ]


def _place_columns(mine: Sequence[TrialStatus]) -> list[TableColumn]:
    """Host and GPU, where trials were on several."""
    return [
        TableColumn(heading, [trial.place.get(heading) or MISSING for trial in mine], gives_way=4)
        for heading in ("host", "gpu")
        if len({trial.place[heading] for trial in mine if trial.place.get(heading)}) > 1
    ]


def select_trials(mine: Sequence[TrialStatus], *, maximize: bool) -> tuple[Sequence[TrialStatus], int]:
    """The trials that a person looks for among thousands, by number, and how many others there are."""
    if len(mine) <= MANY_TRIALS:
        return mine, 0
    sign = -1.0 if maximize else 1.0
    complete = [trial for trial in mine if trial.state == "complete" and trial.values]
    best = sorted(complete, key=lambda trial: sign * (trial.values or (0.0,))[0])[:LISTED_OF_MANY]
    unended = [trial for trial in mine if trial.state in ("running", "waiting")]
    kept = {trial.number: trial for trial in (*best, *unended[:LISTED_OF_MANY], *mine[-LISTED_OF_MANY:])}
    return [kept[number] for number in sorted(kept)], len(mine) - len(kept)


def describe_failures(status: SweepStatus) -> str:
    """How many trials failed and the commonest reason; empty where none did."""
    reasons = Counter(trial.reason or "" for trial in status.trials if trial.state == "failed")
    if not reasons:
        return ""
    (reason, count), total = reasons.most_common(1)[0], reasons.total()
    whose = "" if count == total else f", {count} of them"
    again = next_command(f"retry {status.sweep}", status.ledger)
    return f"{trials(total)} failed{whose} by {reason}; `{again}` makes them again"


def varying_params(params: Sequence[Params]) -> list[str]:
    """Names whose value is not the same everywhere; all names where there is only one configuration."""
    names = dict.fromkeys(name for entry in params for name in entry)
    if len(params) < 2:
        return list(names)
    return [name for name in names if len({_identify_value(entry, name) for entry in params}) > 1]


def _identify_value(params: Params, name: str) -> str:
    """A text that two configurations share where their values are the same: not by `==`, to which `1` and
    `true` are one."""
    return canonical_text(params[name]) if name in params else ""


def _print_best(console: Console, status: SweepStatus) -> None:
    best = [status.best] if status.best else list(status.front)
    if not best:
        return
    console.print(Text(""))
    title = "best" if status.best else "front"
    for entry in best:
        values = ", ".join(number(value) for value in entry.values)
        console.print(Text(f"{title}: {entry.family} trial {entry.number}, {values}"))
    first = best[0]
    show = f"show {status.sweep} --family {first.family} --trial {first.number}"
    print_line(console, next_command(show, status.ledger), "cyan")


def _value(trial: TrialStatus, place: int) -> str:
    values = trial.values or ()
    return number(values[place]) if place < len(values) else MISSING


def _best_cell(line: SweepLine) -> str:
    if line.best is None:
        return MISSING
    goal = line.objectives[0].metric.removeprefix("val/")
    return f"{goal} {number(line.best.values[0])} ({line.best.family} #{line.best.number})"
