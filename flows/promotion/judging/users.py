"""Users as the examples of a recommendation, and the items that each is to be given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flows.promotion.gates.predictions import Truth

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset

Places = npt.NDArray[np.int64]


def choose_users(dataset: Dataset, rows: Places, *, only_known: bool) -> tuple[Places, Truth]:
    """A row of each user, and the items of the user's rows.

    Args:
        rows: interactions that no model was trained on.
        only_known: users of the training part alone: every model answers others by popularity.
    """
    users = np.array([str(user) for user in dataset.columns["user"].values])
    if only_known:
        rows = rows[np.isin(users[rows], users[dataset.splits["train"]])]
    first = rows[np.sort(np.unique(users[rows], return_index=True)[1])]
    items: dict[str, list[str]] = {str(users[row]): [] for row in first}
    for row in rows.tolist():
        items[str(users[row])].append(str(dataset.columns["item"].values[row]))
    return first, Truth(task="recommendation", values=list(items.values()))
