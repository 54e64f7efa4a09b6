"""Interactions of users with items: which columns hold them, and which of the rows are learned from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from trainers.data import hashing
from trainers.data.assembly.column_names import ColumnNames, fold_name
from trainers.data.assembly.column_roles import ColumnRoles
from trainers.data.column_kinds import convert_columns, kind_of
from trainers.data.dataset import Column, ColumnKind, Part, Task
from trainers.data.raw import RawDataset, RawFiles, column_hashes
from trainers.errors import InputError
from trainers.wording import count_of

USERS = ("user", "user_id", "userid")
ITEMS = ("item", "item_id", "itemid")
RATINGS = ("rating", "ratings")
TIMES = ("time", "timestamp", "date")


def find_interactions(raw: RawDataset, named: ColumnNames, task: Task | None) -> ColumnRoles | None:
    """The roles of a table of interactions; None where it is none.

    It is one where the task or the columns say so, or where there are no other columns than a user, an item,
    a rating and a time, by their names, and none is named as anything else.
    """
    given = [key for key in ("user", "item", "rating") if getattr(named, key) is not None]
    if task not in (None, "recommendation"):
        if given:
            raise InputError(
                "columns of users and items are for task: recommendation",
                f"task: {task} and columns.{given[0]}", "leave task out, or name columns that it reads",
                key=("data", "columns", given[0]),
            )  # fmt: skip
        return None
    meant = bool(given) or task is not None
    free = {fold_name(name): name for name in raw.columns if name not in (*named.drop, *named.id)}
    found = _name_columns(free, named)
    if not meant and (_names_others(raw, named) or {*free.values()} - {*found.values()}):
        return None
    if found["user"] is None or found["item"] is None:
        if not meant:
            return None
        raise InputError(
            "recommendation needs a column of users and one of items", f"columns {', '.join(raw.columns)}",
            "name them under data.columns: {user: …, item: …}", key=("data", "columns"),
        )  # fmt: skip
    _check_differing(raw, found)
    return ColumnRoles(
        kind="interactions",
        features={"user": found["user"], "item": found["item"]},
        target=None,
        group=named.group,
        time=found["time"],
        rating=found["rating"],
        notes=_describe(raw, named, found),
    )


def _names_others(raw: RawDataset, named: ColumnNames) -> bool:
    others = (named.target, raw.target, named.text, named.input, named.reference, named.image)
    return any((*others, *named.features, *named.sensitive))


def _name_columns(free: Mapping[str, str], named: ColumnNames) -> dict[str, str | None]:
    return {
        "user": named.user or _by_name(free, USERS),
        "item": named.item or _by_name(free, ITEMS),
        "rating": named.rating or _by_name(free, RATINGS),
        "time": named.time or _by_name(free, TIMES),
    }


def _by_name(free: Mapping[str, str], known: tuple[str, ...]) -> str | None:
    return next((free[word] for word in known if word in free), None)


def _check_differing(raw: RawDataset, found: Mapping[str, str | None]) -> None:
    named = [name for name in found.values() if name is not None]
    if len({*named}) < len(named):
        listed = ", ".join(f"{role} {name!r}" for role, name in found.items() if name is not None)
        raise InputError(
            "user, item, rating and time must be different columns", listed, key=("data", "columns")
        )
    files = next((name for name in named if isinstance(raw.columns[name], RawFiles)), None)
    if files is not None:
        raise InputError("recommendation reads names of users and items", f"files in column {files!r}")


def _describe(raw: RawDataset, named: ColumnNames, found: Mapping[str, str | None]) -> tuple[str, ...]:
    used = ", ".join(f"{role} {name!r}" for role, name in found.items() if name is not None)
    aside = {*found.values(), named.group, *named.drop, *named.id, *named.sensitive}
    others = [name for name in raw.columns if name not in aside]
    more = (f"users and items are known by their names alone, not by {', '.join(others)}",) if others else ()
    return (f"interactions: {used}", *more)


def keep_liked(raw: RawDataset, roles: ColumnRoles) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """The interactions that are learned and looked for, and what is said of the others.

    Ratings below the middle between the lowest and the highest are no liking; of a user's interactions with
    the same item the first counts, so that what was seen in training is never asked for again.
    """
    keep, notes = np.ones(raw.rows, np.bool_), []
    if roles.rating is not None:
        keep, said = _rated_well(raw, roles.rating)
        notes += said
    order = np.arange(raw.rows)
    if roles.time is not None:
        order = np.argsort(_numbers(raw, roles.time, "time"), kind="stable")
    order = order[keep[order]]
    columns = {name: column_hashes(raw.columns[column]) for name, column in roles.features.items()}
    pairs = hashing.hash_rows(columns, raw.rows)[order]
    first = np.zeros(raw.rows, np.bool_)
    first[order[np.unique(pairs, return_index=True)[1]]] = True
    if repeated := int(keep.sum() - first.sum()):
        repeat = count_of(repeated, "interaction repeats", "interactions repeat")
        notes.append(f"{repeat} an earlier one of the same user and item: left out")
    return first, notes


def place_in_users(raw: RawDataset, roles: ColumnRoles) -> npt.NDArray[np.float64]:
    """Where each interaction stands among its user's by time, (k + 1/2) / n for the k-th of n from 0 on."""
    assert roles.time is not None
    _, user = np.unique(column_hashes(raw.columns[roles.features["user"]]), return_inverse=True)
    order = np.lexsort((_numbers(raw, roles.time, "time"), user))
    counts = np.bincount(user)
    before = np.cumsum(counts) - counts
    place = np.empty(raw.rows, np.float64)
    place[order] = (np.arange(raw.rows) - before[user[order]] + 0.5) / counts[user[order]]
    return place


def _rated_well(raw: RawDataset, name: str) -> tuple[npt.NDArray[np.bool_], list[str]]:
    if kind_of(name, raw.columns[name]) != "number":
        found = f"words in column {name!r}"
        raise InputError("ratings must be numbers", found, key=("data", "columns", "rating"))
    ratings = _numbers(raw, name, "number")
    middle = (np.nanmin(ratings) + np.nanmax(ratings)) / 2
    keep = np.asarray(ratings >= middle)
    if keep.all():
        return keep, []
    said = (
        f"{int((~keep).sum()):,} interactions rated below {middle:g}, or not rated, are no liking: left out"
    )
    return keep, [said]


def _numbers(raw: RawDataset, name: str, kind: ColumnKind) -> npt.NDArray[np.float64]:
    found = convert_columns({name: raw.columns[name]}, {name: kind}, None)
    return np.asarray(found[name].values, np.float64)


def note_newcomers(
    columns: Mapping[str, Column], splits: Mapping[Part, npt.NDArray[np.int64]]
) -> tuple[str, ...]:
    """How many users and items of validation and test training never saw."""
    names = {role: np.asarray(columns[role].values, object).astype(str) for role in ("user", "item")}
    known = {role: np.unique(values[splits["train"]]) for role, values in names.items()}
    notes = []
    for part in ("validation", "test"):
        own = {role: np.unique(values[splits[part]]) for role, values in names.items()}
        new = {role: len(np.setdiff1d(own[role], known[role])) for role in own}
        if new["user"]:
            notes.append(
                f"{part}: {new['user']:,} of {len(own['user']):,} users are new after training: what is most "
                "liked answers them, and no metric counts them"
            )
        if new["item"]:
            notes.append(
                f"{part}: {new['item']:,} of {len(own['item']):,} items are new: none can recommend them"
            )
    return tuple(notes)
