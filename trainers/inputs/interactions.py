"""Interactions as numbers: which user, which item, and what each user had in training.

Shape legend: N interactions, U users and I items of training.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trainers.errors import InputError
from trainers.family import first_missing
from trainers.types import Array, ArrayWriter, Cell, State

if TYPE_CHECKING:
    import pandas as pd

    from trainers.data.dataset import Column, Dataset

Indices = npt.NDArray[np.int64]
UNKNOWN = -1  # a user or an item that training never had


@dataclass(frozen=True, slots=True, kw_only=True)
class Interactions:
    """A data set of interactions by the users and items of its training part.

    Attributes:
        users, items: their names, sorted.
        user, item: int64 [N], places among them; -1 where training has none such.
        wanted: int64 [N], how many items the row's user has in the row's own part.
        rows: the training part's.
    """

    users: list[str]
    items: list[str]
    user: Indices
    item: Indices
    wanted: Indices
    rows: Indices

    @property
    def item_counts(self) -> Indices:
        """Training's interactions with each item, int64 [I]."""
        return np.bincount(self.item[self.rows], minlength=len(self.items))

    @property
    def seen(self) -> list[list[int]]:
        """The items of each user in training, ascending."""
        found: list[list[int]] = [[] for _ in self.users]
        for user, item in sorted(
            zip(self.user[self.rows].tolist(), self.item[self.rows].tolist(), strict=True)
        ):
            found[user].append(item)
        return found


def index_interactions(dataset: Dataset) -> Interactions:
    """The rows as places among the users and items of training."""
    train = dataset.splits["train"]
    users, user = _index(dataset.columns["user"], train)
    items, item = _index(dataset.columns["item"], train)
    wanted = np.zeros(len(user), np.int64)
    for rows in dataset.splits.values():
        _, own, counts = np.unique(user[rows], return_inverse=True, return_counts=True)
        wanted[rows] = counts[own]
    return Interactions(users=users, items=items, user=user, item=item, wanted=wanted, rows=train)


def _index(column: Column, train: Indices) -> tuple[list[str], Indices]:
    names = np.array([str(value) for value in column.values], object)
    known = sorted({*names[train].tolist()})
    place = {name: at for at, name in enumerate(known)}
    return known, np.array([place.get(name, UNKNOWN) for name in names.tolist()], np.int64)


def write_interactions(dataset: Dataset, writer: ArrayWriter) -> State:
    """Writes `user`, int64 [N], and `target`, int64 [N, 2]: the item, and how many items the user has in that
    part.

    Returns:
        `users` and `items` by their names, `seen` of each user, and how often each item is `liked`.
    """
    found = index_interactions(dataset)
    writer.put("user", found.user)
    writer.put("target", np.stack([found.item, found.wanted], axis=1))
    return {
        "task": "recommendation",
        "users": found.users,
        "items": found.items,
        "seen": found.seen,
        "liked": found.item_counts.tolist(),
    }


def users_from_user(rows: pd.DataFrame, state: State) -> dict[str, Array]:
    """The column `user`; one that training never had is -1.

    Raises:
        InputError: there is no such column.
    """
    if first_missing(rows, ["user"]):
        raise InputError("rows must have a column user", f"columns {list(rows.columns)}")
    return {"user": np.array([_find_user(value, state["users"]) for value in rows["user"]], np.int64)}


def _find_user(value: Cell, users: Sequence[str]) -> int:
    """By its name; 7 and 7.0 are the user `7`."""
    whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
    name = str(int(value)) if whole else str(value)
    at = bisect_left(users, name)
    return at if at < len(users) and users[at] == name else UNKNOWN
