"""A challenger's scores by the groups of the columns that were named for it."""

from __future__ import annotations

from flows.comparison.groups import GroupScore, GroupTable, score_mean, score_share
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.predictions import Rows
from flows.promotion.gates.scoring import correct_scores, example_scores


def tables_of_answers(case: GateInputs) -> tuple[GroupTable, ...]:
    """One table a column, of the groups that were judged on at all: right answers, or the absolute error."""
    metric = {"classification": "accuracy", "regression": "mae"}.get(case.truth.task, "exact_match")
    tables = []
    for column, groups in case.groups.items():
        scores = tuple(_score(case, name, rows) for name, rows in groups.items() if rows.any())
        tables.append(GroupTable(column=column, metric=metric, scores=scores))
    return tuple(tables)


def _score(case: GateInputs, group: str, rows: Rows) -> GroupScore:
    right = correct_scores(case.truth, case.challenger)
    if right is not None:
        return score_share(group, float(right[rows].mean()), int(rows.sum()))
    errors = example_scores("mae", case.truth, case.challenger)
    assert errors is not None
    return score_mean(group, float(-errors[rows].mean()), float(errors[rows].std()), int(rows.sum()))
