"""A model's scores by the groups of a column: how many examples each has, its metric, and its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from flows.statistics.shares import wilson_interval
from flows.terminal.formatting import number
from trainers.metric_names import group_metric

if TYPE_CHECKING:
    from trainers.types import JsonObject

    Counted = Mapping[str, Mapping[str, Mapping[str, int]]]

_TAIL = 0.025  # on each side of an interval at 95 %


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """One group. `low`, `high`: the metric's interval at 95 %."""

    group: str
    examples: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTable:
    """The groups of one column, in their order. `metric`: `accuracy`, `exact_match` or `mae`."""

    column: str
    metric: str
    scores: tuple[GroupScore, ...]

    @property
    def gap(self) -> float:
        """The largest difference between two groups."""
        values = [score.value for score in self.scores]
        return max(values) - min(values)

    def describe_gap(self) -> str:
        """`gender: accuracy 0.11 apart, 0.82 of female to 0.93 of male`."""
        ordered = sorted(self.scores, key=lambda score: score.value)
        ends = [f"{number(score.value)} of {score.group}" for score in (ordered[0], ordered[-1])]
        return f"{self.column}: {self.metric} {number(self.gap, 3)} apart, {ends[0]} to {ends[1]}"

    def to_json(self) -> JsonObject:
        """All of it."""
        return {
            "column": self.column, "metric": self.metric, "gap": self.gap,
            "groups": [asdict(score) for score in self.scores],
        }  # fmt: skip


def score_share(group: str, share: float, examples: int, different: int | None = None) -> GroupScore:
    """A share of right answers, with Wilson's interval.

    Args:
        different: how many of the examples differ: copies tell nothing new.
    """
    low, high = wilson_interval(share, different or examples)
    return GroupScore(group=group, examples=examples, value=share, low=low, high=high)


def score_mean(
    group: str, mean: float, deviation: float, examples: int, different: int | None = None
) -> GroupScore:
    """A mean of errors, which are never below 0, with Student's interval; of one error, or where there is no
    spread, with that of errors that are exponentially distributed.

    Args:
        deviation: of the errors about their mean, over all of them.
        different: how many of the examples differ: copies tell nothing new.
    """
    from scipy.special import chdtri, stdtrit

    count = different or examples
    if count > 1 and deviation > 0:
        half = float(stdtrit(count - 1, 1 - _TAIL)) * deviation / math.sqrt(count - 1)
        low, high = max(0.0, mean - half), mean + half
    else:
        low, high = (2 * count * mean / float(chdtri(2 * count, tail)) for tail in (_TAIL, 1 - _TAIL))
    return GroupScore(group=group, examples=examples, value=mean, low=low, high=high)


def tables_of_trial(metrics: Mapping[str, float], counted: Counted) -> tuple[GroupTable, ...]:
    """The groups of a trial on validation; a column of which its metrics say nothing is left out.

    Args:
        metrics: of the trial's kept epoch.
        counted: how many validation rows each group has: column → group → `rows` and `different`.
    """
    tables = []
    for column, groups in counted.items():
        for metric, scores in (("accuracy", _shares), ("mae", _errors)):
            if found := tuple(scores(metrics, column, groups)):
                tables.append(GroupTable(column=column, metric=metric, scores=found))
    return tuple(tables)


def _shares(
    metrics: Mapping[str, float], column: str, groups: Mapping[str, Mapping[str, int]]
) -> Iterator[GroupScore]:
    for group, count in groups.items():
        share = metrics.get(f"val/{group_metric('accuracy', column, group)}")
        if share is not None and count["rows"]:
            yield score_share(group, share, count["rows"], count["different"])


def _errors(
    metrics: Mapping[str, float], column: str, groups: Mapping[str, Mapping[str, int]]
) -> Iterator[GroupScore]:
    """The deviation of absolute errors follows from their mean and that of their squares."""
    for group, count in groups.items():
        mean, root = (metrics.get(f"val/{group_metric(name, column, group)}") for name in ("mae", "rmse"))
        if mean is not None and root is not None and count["rows"]:
            deviation = math.sqrt(max(0.0, root**2 - mean**2))
            yield score_mean(group, mean, deviation, count["rows"], count["different"])


HEADINGS = ("column", "group", "examples", "metric", "value", "95 %")


def table_cells(tables: Sequence[GroupTable]) -> list[tuple[str, ...]]:
    """One line a group, under `HEADINGS`."""
    return [
        (
            table.column, score.group, f"{score.examples:,}", table.metric, number(score.value),
            f"{number(score.low)} to {number(score.high)}",
        )
        for table in tables
        for score in table.scores
    ]  # fmt: skip
