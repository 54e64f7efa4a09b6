"""Two towers, one of users and one of items, whose vectors' product says how well they fit.

Shape legend: B users of a batch, U users, I items, D numbers of a vector, S seen items of the batch's users.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainers.modules.layers import dense_layers

SPREAD = 0.1  # deviation of fresh vectors: their products start small, so that all items are nearly alike


class Towers(nn.Module):
    """Takes places of users, int64 [B], -1 for one that training never had; gives scores [B, I].

    An unknown user's scores are the logarithms of how often each item was liked.
    """

    liked: Tensor
    seen: Tensor
    starts: Tensor

    def __init__(
        self,
        seen: Sequence[Sequence[int]],
        liked: Sequence[int],
        *,
        width: int,
        hidden: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        """Fresh vectors.

        Args:
            seen: the items of each of U users in training.
            liked: how often each of I items stands in training.
            width: D.
            hidden: widths of the dense layers of each tower, above its vectors.
        """
        super().__init__()
        self.users, self.items = nn.Embedding(len(seen), width), nn.Embedding(len(liked), width)
        for vectors in (self.users, self.items):
            nn.init.normal_(vectors.weight, std=SPREAD)
        sizes = [width, *hidden, width] if hidden else []
        self.user_layers = dense_layers(sizes, activation=activation, dropout=dropout)
        self.item_layers = dense_layers(sizes, activation=activation, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        counts = torch.tensor(liked, dtype=torch.float32)
        self.register_buffer("liked", (counts / counts.sum()).log(), persistent=False)
        self.bias = nn.Parameter(self.liked.clone())
        flat = [item for items in seen for item in items]
        self.register_buffer("seen", torch.tensor(flat, dtype=torch.int64), persistent=False)
        ends = torch.tensor([0, *map(len, seen)], dtype=torch.int64).cumsum(0)
        self.register_buffer("starts", ends, persistent=False)

    def forward(self, users_B: Tensor) -> Tensor:
        user_BD = self.user_layers(self.dropout(self.users(users_B.clamp(min=0))))
        every_I = torch.arange(len(self.liked), device=users_B.device)
        item_ID = self.item_layers(self.items(every_I))
        scores_BI: Tensor = user_BD @ item_ID.T + self.bias
        return torch.where(users_B[:, None] < 0, self.liked.to(scores_BI.dtype), scores_BI)

    def without_seen(self, scores_BI: Tensor, users_B: Tensor) -> Tensor:
        """The scores with -inf at what a user had in training."""
        known = users_B.clamp(min=0)
        first_B = self.starts[known]
        counts_B = torch.where(users_B < 0, 0, self.starts[known + 1] - first_B)
        rows_S = torch.repeat_interleave(torch.arange(len(users_B), device=users_B.device), counts_B)
        before_B = counts_B.cumsum(0) - counts_B
        places_S = torch.arange(len(rows_S), device=users_B.device) - before_B[rows_S] + first_B[rows_S]
        masked = scores_BI.clone()
        masked[rows_S, self.seen[places_S]] = -torch.inf
        return masked
