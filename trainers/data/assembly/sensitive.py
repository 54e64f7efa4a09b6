"""Columns by whose values models are judged in groups and that no model sees: sex, age group, region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trainers.data.assembly.column_names import label_order
from trainers.data.cell_values import find_alike
from trainers.data.column_kinds import convert_columns
from trainers.data.dataset import MISSING_GROUP, GroupColumn, Part, Task
from trainers.data.mixing import mix_hashes
from trainers.data.raw import RawDataset, RawFiles, column_hashes
from trainers.errors import InputError

MOST_GROUPS = 20  # each has metrics of its own, every epoch
JUDGED: tuple[Task, ...] = ("classification", "regression")
_KEY = ("data", "columns", "sensitive")


def read_groups(
    raw: RawDataset, names: Iterable[str], target: str | None, task: Task | None
) -> dict[str, GroupColumn]:
    """Each column's groups: its values by one spelling each, and missing ones as a group of their own.

    Args:
        raw: the usable rows.
        names: of the columns, as the sweep file has them.
        target: the column that is learned.
    """
    listed = list(dict.fromkeys(names))
    if listed and task not in JUDGED:
        must = f"sensitive columns must stand beside {' or '.join(JUDGED)}"
        raise InputError(must, f"task {task}", "leave the columns out by data.columns.drop", key=_KEY)
    return {name: _read_column(raw, name, target) for name in listed}


def _read_column(raw: RawDataset, name: str, target: str | None) -> GroupColumn:
    if name == target:
        do = "name the columns of groups, not what is learned"
        raise InputError("sensitive must not hold the target", repr(name), do, key=_KEY)
    column = raw.columns[name]
    if isinstance(column, RawFiles):
        raise InputError("a sensitive column must hold words or numbers", f"images in {name!r}", key=_KEY)
    values = convert_columns({name: column}, {name: "category"}, None)[name].values
    words = [MISSING_GROUP if value is None else str(value).strip() for value in values]
    groups = tuple(sorted(set(words), key=lambda word: (word == MISSING_GROUP, *label_order(word))))
    if len(groups) < 2:
        do = "leave it out of data.columns.sensitive: one group has nothing to be compared with"
        raise InputError(
            "a sensitive column must have two groups at least", f"only {groups[0]!r} in column {name!r}", do,
            key=_KEY,
        )  # fmt: skip
    if len(groups) > MOST_GROUPS:
        found = f"{len(groups):,} different values in column {name!r}"
        do = "write a column of ranges or of coarser groups into the data, and name that"
        raise InputError(f"a sensitive column must have at most {MOST_GROUPS} groups", found, do, key=_KEY)
    places = {group: place for place, group in enumerate(groups)}
    return GroupColumn(names=groups, codes=np.array([places[word] for word in words], np.int64))


def check_judged_groups(
    groups: Mapping[str, GroupColumn], splits: Mapping[Part, npt.NDArray[np.int64]]
) -> None:
    """Refuses a column of which the validation part has one group alone: nothing could be compared there."""
    for name, column in groups.items():
        there = np.unique(column.codes[splits["validation"]])
        if len(there) < 2:
            found = (
                f"only {column.names[int(there[0])]!r} of {', '.join(map(repr, column.names))} in {name!r}"
            )
            do = "give validation a larger share in data.split, another salt, or more rows"
            raise InputError("the validation part must have two groups at least", found, do, key=_KEY)


def describe_groups(groups: Mapping[str, GroupColumn]) -> list[str]:
    """A note for each column: that no model sees it, and its groups by size."""
    notes = []
    for name, column in groups.items():
        counts = np.bincount(column.codes, minlength=len(column.names)).tolist()
        listed = ", ".join(f"{group} {count:,}" for group, count in zip(column.names, counts, strict=True))
        missing = (
            f"; rows without a value are the group {MISSING_GROUP}" if MISSING_GROUP in column.names else ""
        )
        notes.append(
            f"column {name!r} is sensitive: no model sees it, metrics come by group ({listed}){missing}"
        )
        notes += [f"groups {alike} of {name!r} differ by blanks or case alone: each is judged"
                  for alike in find_alike(column.names)]  # fmt: skip
    return notes


def digest_groups(raw: RawDataset, names: Sequence[str]) -> list[object]:
    """What the data's fingerprint holds of sensitive columns, which are no part of a row's content: their
    names, and a sum over all rows of who is in which group; nothing without such columns."""
    if not names:
        return []
    assert raw.content is not None
    sums = [
        int(np.sum(mix_hashes(raw.content ^ mix_hashes(column_hashes(raw.columns[name])))))
        for name in sorted(set(names))
    ]
    return [["sensitive", *sorted(set(names)), *sums]]
