"""Columns of a comparison: what rows can be sorted by, filtered on and weighed up with.

A filter is `COLUMN OP VALUE`, with `=`, `!=`, `<`, `<=`, `>` or `>=`. After `=` and `!=` stand one or more
texts with `|` between them, in which `*` stands for anything; after the others a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

from flows.comparison.records import COSTS, Row, Spread
from infra.errors import WrongInput
from infra.names import quote_input
from infra.spec import Direction, Objective
from search_spaces.nearest import advice
from search_spaces.values import canonical_text, is_number, plain_text
from trainers.metric_names import direction_of

Value = float | str | None

_CONDITION = re.compile(
    r"\s*(?P<column>(?:\([^()]*\)|[^\s<>=!])+)\s*(?P<op><=|>=|!=|=|<|>)\s*(?P<value>.*?)\s*"
)


@dataclass(frozen=True, slots=True)
class RowColumn:
    """One column. `direction`: which end is better; None where neither is."""

    name: str
    direction: Direction | None
    of: Callable[[Row], Value]

    def cost(self, row: Row) -> float:
        """A number that is less where the row is better; infinite where it has none."""
        value = self.of(row)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return math.inf
        return -value if self.direction == "maximize" else float(value)


def row_columns(rows: Sequence[Row], goals: Sequence[Objective]) -> dict[str, RowColumn]:
    """Every column that these rows have, by its name; an objective also by its name without `val/`."""
    goal = goals[0].direction
    known = [
        RowColumn("sweep", None, lambda row: row.sweep),
        RowColumn("family", None, lambda row: row.family),
        RowColumn("trial", None, lambda row: row.number),
        *_objective_columns(goals),
        RowColumn("error", "minimize", lambda row: row.error.std if row.error else None),
        RowColumn("median", goal, lambda row: row.trials.median if row.trials else None),
        RowColumn("confirmed", goal, lambda row: _mean(row.confirmed)),
        RowColumn("test", goal, lambda row: _mean(row.tested)),
        RowColumn("trivial", goal, lambda row: row.trivial),
        *(RowColumn(name, "minimize", _cost_getter(name)) for name in COSTS),
    ]
    columns = {column.name: column for column in known}
    for name in sorted({name for row in rows for name in row.metrics}):
        column = RowColumn(name, direction_of(name), _metric_getter(name))
        columns.setdefault(name, column)
        if name.startswith("val/"):
            columns.setdefault(name.removeprefix("val/"), column)
    for name in sorted({name for row in rows for name in row.params}):
        columns[f"param.{name}"] = RowColumn(f"param.{name}", None, _param_getter(name, rows))
    return columns


def _objective_columns(goals: Sequence[Objective]) -> list[RowColumn]:
    return [
        RowColumn(name, goal.direction, _value_getter(place))
        for place, goal in enumerate(goals)
        for name in dict.fromkeys((goal.metric, goal.metric.removeprefix("val/")))
    ]


def _mean(spread: Spread | None) -> float | None:
    return None if spread is None else spread.mean


def _value_getter(place: int) -> Callable[[Row], Value]:
    return lambda row: row.values[place]


def _cost_getter(name: str) -> Callable[[Row], Value]:
    return lambda row: row.values[row.goals.index(name)] if name in row.goals else row.costs.get(name)


def _metric_getter(name: str) -> Callable[[Row], Value]:
    return lambda row: row.metrics.get(name)


def _param_getter(name: str, rows: Sequence[Row]) -> Callable[[Row], Value]:
    """Numbers as such, unless two of them are equal and yet not the same, as 1 and 1.0; all else as it is in
    a sweep file."""
    numbers = [row.params[name] for row in rows if is_number(row.params.get(name))]
    same = {canonical_text(one): one for one in numbers}
    ambiguous = any(_is_close(one, other) for one, other in pairwise(sorted(same.values())))

    def value(row: Row) -> Value:
        if name not in row.params:
            return None
        found = row.params[name]
        return found if is_number(found) and not ambiguous else plain_text(found)

    return value


def _is_close(one: float, other: float) -> bool:
    """Whether a number that somebody types means both."""
    return math.isclose(one, other, rel_tol=1e-9)


def pick_column(columns: dict[str, RowColumn], name: str, what: str, *, numeric: bool = False) -> RowColumn:
    """The column of that name.

    Args:
        what: which option named it, for the error.
        numeric: also refuse a column of which no end is better.
    """
    found = columns.get(name)
    if found is None:
        raise WrongInput(f"{what} must name a column", quote_input(name), advice(name, columns))
    if numeric and found.direction is None:
        usable = [column.name for column in columns.values() if column.direction is not None]
        raise WrongInput(
            f"{what} must name columns of which one end is better", quote_input(name), ", ".join(usable)
        )
    return found


def sort_rows(rows: Sequence[Row], column: RowColumn) -> list[Row]:
    """Best first where one end is better, else ascending; rows without a value last, equal ones as given."""

    def key(row: Row) -> tuple[int, float, str]:
        value = column.of(row)
        if isinstance(value, str):
            return (1, 0.0, value)
        cost = column.cost(row)
        return (2, 0.0, "") if math.isinf(cost) else (0, cost, "")

    return sorted(rows, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """One filter, read."""

    column: str
    op: str
    value: str

    def matches(self, row: Row, columns: dict[str, RowColumn]) -> bool:
        """Whether the row passes; a row without a value passes `!=` alone."""
        found = pick_column(columns, self.column, "--where").of(row)
        if self.op in ("=", "!="):
            return _matches(found, self.value) == (self.op == "=")
        if not isinstance(found, (int, float)):
            return False
        limit = float(self.value)
        holds: dict[str, bool] = {
            "<": found < limit, "<=": found <= limit, ">": found > limit, ">=": found >= limit,
        }  # fmt: skip
        return holds[self.op]


def parse_filter(text: str) -> RowFilter:
    """The filter that was typed."""
    found = _CONDITION.fullmatch(text)
    if found is None or not found["value"]:
        do = "for instance family=image_cnn, 'accuracy>=0.9', 'param.optimizer=adam|sgd', 'family=*cnn'"
        raise WrongInput("--where must be COLUMN OP VALUE", quote_input(text), do)
    value = found["value"]
    if found["column"] == "family":  # own code as in the file, too; labels have no colon
        value = value.replace(":", ".")
    condition = RowFilter(column=found["column"], op=found["op"], value=value)
    if condition.op not in ("=", "!=") and _number(condition.value) is None:
        raise WrongInput(f"after {condition.op} must stand a number", quote_input(condition.value))
    return condition


def _matches(found: Value, written: str) -> bool:
    if found is None:
        return False
    for entry in (part.strip() for part in written.split("|")):
        value = _number(entry)
        if isinstance(found, str):
            if fnmatchcase(found, entry.replace("[", "[[]")):  # else a list is a set of letters
                return True
        elif value is not None and _is_close(found, value):
            return True
    return False


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
