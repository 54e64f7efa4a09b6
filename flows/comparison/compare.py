"""`velodrome compare`: a leaderboard over the families of one or more sweeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from flows.comparison.columns import RowColumn, parse_filter, pick_column, row_columns, sort_rows
from flows.comparison.records import Group, Row
from flows.comparison.result import Comparison
from flows.comparison.rows import best_rows
from flows.comparison.ties import find_ties
from flows.config.lookup import sweep_in_ledger
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger.ranking import mark_undominated
from infra.ledger.rows import SweepRow
from infra.spec import Objective
from trainers.errors import InputError

OWN_DATA = "none"  # the fingerprint of a sweep whose code reads its own data
MOST_ROWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonKey:
    """What rows must share to be put in one order."""

    objectives: tuple[Objective, ...]
    fingerprint: str
    split: str


def compare(
    *names: str,
    top: int = 1,
    sort: str | None = None,
    where: Sequence[str] = (),
    pareto: Sequence[str] | str | None = None,
    latency: bool = True,
    overrides: Sequence[str] = (),
    home: Home | None = None,
    say: Callable[[str], None] | None = None,
) -> Comparison:
    """The best of each family of the sweeps, side by side.

    Args:
        names: sweeps' names or files, at least one.
        top: so many trials of each family; of a sweep with several objectives its front comes first.
        sort: a column; best first where one end is better, else ascending.
        where: filters, all of which must hold (`flows.comparison.columns`).
        pareto: two or more columns, or their names with commas between, whose front is marked.
        latency: measure kept models that were not measured on this machine yet; otherwise the figures of the
            lanes that trained them stand in.
        overrides: of files' keys, as `sweep` was given them.
        say: gets a line when something takes time.

    Raises:
        WrongInput: no name, no such sweep, or an option that names no column.
    """
    if not names:
        raise WrongInput("compare needs at least one sweep", "none", "velodrome compare digits digits@2")
    if not 1 <= top <= MOST_ROWS:
        raise WrongInput(f"--top must be from 1 to {MOST_ROWS}", str(top))
    place = home or Home.from_environment()
    groups, sweeps, without = _read_sweeps(names, place, top, overrides)
    _check_options(groups, sort, where, _front_names(pareto))
    if latency:
        groups = _add_latency(groups, sweeps, place, say)
    made = [_group(judged, rows, sort, where, _front_names(pareto)) for judged, rows in groups.items()]
    return Comparison(
        groups=tuple(made),
        without=tuple(without),
        warnings=_warnings(list(groups), sweeps),
        ledgers={row.label: row.spec.ledger for row in sweeps},
    )


Groups = dict[ComparisonKey, list[Row]]


def _read_sweeps(
    names: Sequence[str], home: Home, top: int, overrides: Sequence[str]
) -> tuple[Groups, list[SweepRow], list[str]]:
    groups: Groups = {}
    sweeps: list[SweepRow] = []
    without: list[str] = []
    for name in dict.fromkeys(names):
        with sweep_in_ledger(name, home, overrides) as (ledger, row):
            found, missing = best_rows(ledger, row, home, top)
        sweeps.append(row)
        groups.setdefault(_comparison_key(row), []).extend(found)
        without += [f"{row.label}/{family}" for family in missing]
    return groups, sweeps, without


def _comparison_key(row: SweepRow) -> ComparisonKey:
    """The objectives without `at`: a best and a last epoch's accuracy stand in one table."""
    return ComparisonKey(
        objectives=tuple(replace(goal, at="best") for goal in row.spec.objectives),
        fingerprint=row.fingerprint,
        split=_split_rule(row),
    )


def _split_rule(row: SweepRow) -> str:
    """What decides which rows are for validation, in one spelling."""
    from trainers.data.split import SplitRule

    given = row.spec.data.get("split") or {}
    try:
        read = SplitRule.read(given if isinstance(given, Mapping) else {})
        shares = [f"{share:.6g}" for share in (read.train, read.validation, read.test)]
        rule = f"{' '.join(shares)} by {read.by}, salt {read.salt!r}"
    except InputError:  # written by another version: what cannot be read is equal only to itself
        rule = json.dumps(given, sort_keys=True, default=str)
    columns = row.spec.data.get("columns")
    named = columns if isinstance(columns, dict) else {}
    return f"{rule} group={named.get('group')} time={named.get('time')}"


def _front_names(pareto: Sequence[str] | str | None) -> tuple[str, ...]:
    written = pareto.split(",") if isinstance(pareto, str) else pareto or ()
    return tuple(name.strip() for name in written)


def _check_options(groups: Groups, sort: str | None, where: Sequence[str], pareto: Sequence[str]) -> None:
    """Refuses options that name nothing, before anything is measured."""
    conditions = [parse_filter(text) for text in where]
    if pareto and len(set(pareto)) < 2:
        raise WrongInput("--pareto needs two columns", ", ".join(pareto), "--pareto accuracy,latency_ms")
    for judged, rows in groups.items():
        if not rows:
            continue
        columns = row_columns(rows, judged.objectives)
        if sort is not None:
            pick_column(columns, sort, "--sort")
        for condition in conditions:
            pick_column(columns, condition.column, "--where")
        for name in pareto:
            pick_column(columns, name, "--pareto", numeric=True)


def _add_latency(
    groups: Groups, sweeps: Sequence[SweepRow], home: Home, say: Callable[[str], None] | None
) -> Groups:
    from flows.comparison.latency import add_latency

    by_label = {sweep.label: sweep for sweep in sweeps}
    measured = add_latency([row for rows in groups.values() for row in rows], by_label, home, say)
    turn = iter(measured)
    return {judged: [next(turn) for _ in rows] for judged, rows in groups.items()}


def _group(
    judged: ComparisonKey, rows: list[Row], sort: str | None, where: Sequence[str], pareto: Sequence[str]
) -> Group:
    goals = judged.objectives
    columns = row_columns(rows, goals)
    conditions = [parse_filter(text) for text in where]
    left = [row for row in rows if all(condition.matches(row, columns) for condition in conditions)]
    by = columns[sort] if sort is not None else _default_order(left, columns, goals)
    ordered = sort_rows(left if sort is not None else _order_equals(left, by), by)
    over = [columns[name] for name in pareto] or _default_front(ordered, columns, goals)
    on_front = mark_undominated([[column.cost(row) for column in over] for row in ordered])
    if len(over) == 1:  # the best alone is undominated, which its place says already
        over, on_front = [], [False] * len(ordered)
    own = judged.fingerprint == OWN_DATA and len({row.sweep for row in rows}) > 1
    return Group(
        objectives=goals,
        rows=tuple(replace(row, on_front=keep) for row, keep in zip(ordered, on_front, strict=True)),
        ordered_by=by.name,
        front_over=tuple(column.name for column in over),
        ties=find_ties(ordered, goals) if by.name in {goals[0].metric, "confirmed"} else (),
        note="their own code reads the data: nobody can say whether it was the same" if own else "",
    )


def _order_equals(rows: Sequence[Row], by: RowColumn) -> list[Row]:
    """Equal ones as everywhere that names a winner: see `infra.ledger.ranking.rank_trials`."""
    sizes: dict[tuple[Hashable, ...], float] = {}

    def group(row: Row) -> tuple[Hashable, ...]:
        own = (row.number,) if by.name == "confirmed" else ()  # every confirmation keeps its model
        return (by.cost(row), row.sweep, row.family, *own)

    for row in sorted(rows, key=lambda row: row.number):
        sizes.setdefault(group(row), row.size)
    return sorted(rows, key=lambda row: (sizes[group(row)], row.family, row.number))


def _default_order(
    rows: Sequence[Row], columns: dict[str, RowColumn], goals: Sequence[Objective]
) -> RowColumn:
    """By the mean over fresh seeds where every row has one: the search's own best value flatters."""
    everywhere = bool(rows) and len(goals) == 1 and all(row.confirmed is not None for row in rows)
    return columns["confirmed" if everywhere else goals[0].metric]


def _default_front(
    rows: Sequence[Row], columns: dict[str, RowColumn], goals: Sequence[Objective]
) -> list[RowColumn]:
    """All objectives; of a single one also the size and the latency, where every row has them."""
    over = [columns[goal.metric] for goal in goals]
    if len(goals) > 1:
        return over
    names = ("size_bytes", "latency_ms")
    return over + [
        columns[name]
        for name in names
        if name != goals[0].metric and all(columns[name].of(row) is not None for row in rows)
    ]


def _warnings(kinds: Sequence[ComparisonKey], sweeps: Sequence[SweepRow]) -> tuple[str, ...]:
    """Why groups cannot be put in one order, one line for each kind of difference."""
    if len(kinds) < 2:
        return ()
    differ: dict[str, Collection[Hashable]] = {
        "were judged by different objectives": {judged.objectives for judged in kinds},
        "saw different data": {judged.fingerprint for judged in kinds},
        "split the data differently": {judged.split for judged in kinds},
    }
    names = ", ".join(row.label for row in sweeps)
    return tuple(
        f"not comparable: {names} {what}; each table has its own order"
        for what, found in differ.items()
        if len(found) > 1
    )
