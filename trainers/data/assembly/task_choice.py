"""The task of a data set: as written, else as its columns suggest, and why."""

from __future__ import annotations

from typing import get_args

import numpy as np

from trainers.data.assembly.column_roles import ColumnRoles, KindOf
from trainers.data.column_kinds import convert_columns
from trainers.data.dataset import ColumnKind, Task
from trainers.data.raw import RawColumn, RawDataset, RawFiles
from trainers.errors import InputError
from trainers.nearest import advice
from trainers.types import Json

TASKS: tuple[Task, ...] = get_args(Task)
FEW_CLASSES = 20
MOST_LOOKED_AT, MOST_NAMED = 200, 4


def read_task(task: Json) -> Task | None:
    """The task as written, checked.

    Raises:
        InputError: it is not one that there is.
    """
    found = next((known for known in TASKS if known == task), None)
    if found is None and task is not None:
        do = advice(str(task), TASKS)
        raise InputError("task must be one that there is", repr(task), do, key=("data", "task"))
    return found


def decide_task(
    raw: RawDataset, roles: ColumnRoles, given: Task | None, kind: KindOf
) -> tuple[Task | None, tuple[str, ...]]:
    """The task and, where it was inferred, why."""
    if given is not None:
        _check_task(given, roles, kind)
        return given, ()
    if raw.task is not None and (raw.target == roles.target or roles.kind in ("corpus", "pairs")):
        return raw.task, ()
    if roles.kind == "corpus":
        return "language-model", ("task language-model: texts without a target",)
    if roles.kind == "pairs":
        return "seq2seq", ("task seq2seq: an input and a target text",)
    if roles.kind == "interactions":
        return "recommendation", ("task recommendation: users and items, and no target",)
    if roles.kind == "questions":
        return "question-answering", ("task question-answering: answers are to be found in a context",)
    if roles.target is None:
        why = "task reconstruction: there is no target; name one under data.columns.target"
        return "reconstruction", (f"{why}{_likely(raw, kind)}",)
    return _task_of_target(raw.columns[roles.target], roles.target, kind)


def _likely(raw: RawDataset, kind: KindOf) -> str:
    """The columns that somebody may want to foretell: of few words, and the last."""
    columns = [name for name, column in raw.columns.items() if not isinstance(column, RawFiles)]
    words = [name for name in columns[:MOST_LOOKED_AT] if kind(name) == "category"]
    named = [*dict.fromkeys([*words[:MOST_NAMED], *columns[-1:]])]
    return f": {', '.join(named)}, …?" if len(columns) > 1 else ""


def _check_task(task: Task, roles: ColumnRoles, kind: KindOf) -> None:
    if task in ("classification", "regression") and roles.target is None:
        do = "name one under data.columns.target"
        raise InputError(f"{task} needs a target", "none", do, key=("data", "columns", "target"))
    if task == "regression" and roles.target and kind(roles.target) != "number":
        found = f"{kind(roles.target)} in column {roles.target!r}"
        do = f"columns.types: {{{roles.target}: number}} leaves out the rows in which it is none"
        if kind(roles.target) == "time":
            do = "write it as a number of days or of seconds"
        must = "a regression's target must hold numbers"
        raise InputError(must, found, do, key=("data", "columns", "target"))


def _task_of_target(column: RawColumn, name: str, kind: KindOf) -> tuple[Task, tuple[str, ...]]:
    found: ColumnKind = kind(name)
    if found != "number":
        return "classification", (f"task classification: target {name!r} holds words",)
    assert not isinstance(column, RawFiles)
    values = convert_columns({name: column}, {name: "number"}, None)[name].values
    numbers = np.asarray(values)[~np.isnan(values)]
    distinct = np.unique(numbers)
    whole = bool((distinct == np.round(distinct)).all())
    if whole and len(distinct) <= FEW_CLASSES and len(distinct) * 3 <= max(len(numbers), 6):
        why = f"task classification: target {name!r} has {len(distinct)} whole numbers"
        otherwise = "; where their size counts write task: regression" if len(distinct) > 2 else ""
        return "classification", (why + otherwise,)
    return "regression", (f"task regression: target {name!r} has {len(distinct):,} different numbers",)
