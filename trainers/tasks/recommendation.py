"""Recommendation: how high the items that a user has next stand among all that the user has not had.

Shape legend: B interactions of a batch, I items of training, K answers a user.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from trainers.errors import NotFinite
from trainers.metric_names import PER_TASK
from trainers.tasks.outputs import output_tensor
from trainers.tasks.rankings import TOP
from trainers.tasks.summed_metrics import SummedMetrics

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import Array, Outputs, Params, State


class Recommendation:
    """The rules of one state; outputs are scores [B, I].

    A user's items of a part are equally relevant. With r the place of each of the n in the ranking of all
    items that the user has not had in training,

        ndcg_10 = Σ [r <= 10] / log2(r + 1) over Σ_{k <= min(n, 10)} 1 / log2(k + 1)
        recall_10 = Σ [r <= 10] / n

    means over the users that training knows (K. Järvelin and J. Kekäläinen, "Cumulated Gain-Based Evaluation
    of IR Techniques", ACM TOIS 20, 2002). Of items with the same score the earlier by name stands higher.
    `ndcg_10_gain` is `ndcg_10` less that of ranking by how often training liked an item, user by user.
    """

    metrics = PER_TASK["recommendation"]

    def __init__(self, state: State) -> None:
        self._items: list[str] = state.get("items", [])
        self._liked: list[int] = state.get("liked", [])
        self._answers = int(state.get("answers", TOP))

    def loss(self, outputs: Outputs, batch: Mapping[str, torch.Tensor], params: Params) -> torch.Tensor:
        """Mean cross-entropy of each interaction's item among all items."""
        import torch

        smoothing = float(params.get("label_smoothing") or 0.0)
        item = batch["target"][:, 0]
        return torch.nn.functional.cross_entropy(
            output_tensor(outputs, "scores"), item, label_smoothing=smoothing
        )

    def metric_set(self, device: torch.device | str, *, scores: bool = True) -> RankingMetrics:
        """An empty set."""
        return RankingMetrics(self, device)

    def shares(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What each interaction adds to its user's metrics, [B] float64 by name; 0 of unknown users."""
        import torch

        scores = output_tensor(outputs, "scores").detach().float()
        if scores.isnan().any():
            raise NotFinite("outputs must be finite numbers", "scores that are none")
        liked = torch.tensor(self._liked, dtype=torch.float32, device=scores.device)
        popular = torch.where(scores.isneginf(), scores, liked)
        known = batch["user"] >= 0
        item, wanted = batch["target"][:, 0], batch["target"][:, 1].clamp(min=1)
        places, usual = (_places(ranked, item) for ranked in (scores, popular))
        ideal = _discounts(torch.arange(1, TOP + 1, device=scores.device)).cumsum(0)[
            wanted.clamp(max=TOP) - 1
        ]
        gained = {
            "ndcg_10": _discounts(places) / ideal,
            "recall_10": (places <= TOP).double() / wanted,
            "ndcg_10_gain": (_discounts(places) - _discounts(usual)) / ideal,
        }
        return {name: torch.where(known, share, 0.0) for name, share in gained.items()}

    def to_user(self, outputs: Outputs) -> pd.DataFrame:
        """Columns `items`, the best of each user's, and `scores`, their shares of the softmax over all that
        the user has not had: lists, best first."""
        import pandas as pd
        import torch

        scores = output_tensor(outputs, "scores").detach().float()
        chances = torch.softmax(scores, dim=-1)
        most = min(self._answers, len(self._items))
        order = torch.sort(scores, dim=-1, descending=True, stable=True).indices[:, :most]
        kept = [row[scores[at, row] > -torch.inf] for at, row in enumerate(order)]
        return pd.DataFrame(
            {
                "items": [[self._items[item] for item in row.tolist()] for row in kept],
                "scores": [chances[at, row].tolist() for at, row in enumerate(kept)],
            }
        )

    def trivial(self, train: Array, validation: Array) -> dict[str, float]:
        """What is most liked in `train`, to every user what the user has not had there.

        Args:
            train, validation: user and item of each interaction, [N, 2], and in `validation` how many the
                user has there, [N, 3]; -1 where training has none such.
        """
        shares = popularity_shares(train, validation)
        users = (1.0 / validation[validation[:, 0] >= 0, 2]).sum()
        return {name: float(share.sum() / users) for name, share in shares.items()} if users else {}


class RankingMetrics(SummedMetrics):
    """Summed shares and the number of users, on the device."""

    def __init__(self, rules: Recommendation, device: torch.device | str) -> None:
        import torch

        self._rules = rules
        self._sums = torch.zeros(len(rules.metrics), dtype=torch.float64, device=device)
        self._users = torch.zeros((), dtype=torch.float64, device=device)

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds scores [B, I] of the batch's users, -inf at what they have had."""
        import torch

        shares = self._rules.shares(outputs, batch)
        self._sums += torch.stack([shares[name].sum() for name in self._rules.metrics])
        self._users += (1.0 / batch["target"][batch["user"] >= 0, 1].double()).sum()

    def compute(self) -> dict[str, float]:
        """As `MetricSet.compute`; nothing where no user is known."""
        users = round(float(self._users))
        return dict(zip(self._rules.metrics, (self._sums / users).tolist(), strict=True)) if users else {}

    def sums(self) -> list[torch.Tensor]:
        """As `MetricSet.sums`."""
        return [self._sums, self._users]


def _places(scores: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
    """The place of an item in each row's ranking from 1 on, int64 [B]; one behind all for -1."""
    import torch

    own = scores.gather(1, item.clamp(min=0)[:, None])
    before = torch.arange(scores.shape[1], device=scores.device) < item[:, None]
    place = 1 + (scores > own).sum(1) + ((scores == own) & before).sum(1)
    return torch.where(item < 0, scores.shape[1] + TOP, place)


def _discounts(places: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.where(places <= TOP, 1.0 / torch.log2(places.double() + 1.0), 0.0)


def popularity_shares(train: Array, judged: Array) -> dict[str, Array]:
    """What each interaction adds to `ndcg_10` and `recall_10` where items are ranked by how often they stand
    in training; see `Recommendation.trivial`."""
    counts = np.bincount(train[:, 1], minlength=1 + int(judged[:, 1].max(initial=0)))
    place_of = np.empty(len(counts), np.int64)
    place_of[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    by_user = train[np.lexsort((place_of[train[:, 1]], train[:, 0]))]
    users, places = by_user[:, 0], place_of[by_user[:, 1]]
    ndcg, recall = np.zeros(len(judged)), np.zeros(len(judged))
    ideal = np.cumsum([1.0 / math.log2(k + 1) for k in range(1, TOP + 1)])
    for row, (user, item, wanted) in enumerate(judged.tolist()):
        if user < 0 or item < 0:
            continue
        own = places[np.searchsorted(users, user) : np.searchsorted(users, user, side="right")]
        place = 1 + int(place_of[item]) - int(np.searchsorted(own, place_of[item]))
        if place <= TOP:
            ndcg[row] = 1.0 / math.log2(place + 1) / ideal[min(wanted, TOP) - 1]
            recall[row] = 1.0 / wanted
    return {"ndcg_10": ndcg, "recall_10": recall}
