"""Scores of examples added up by the group that each belongs to, for several models at once where asked.

Shape legend: F models, B examples of a batch, S columns of groups, G groups of all columns, K scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from trainers.data.batches import GROUPS
from trainers.types import State

if TYPE_CHECKING:
    import torch


class GroupMeans(NamedTuple):
    """One group's examples and the mean of each of their scores."""

    column: str
    group: str
    examples: int
    means: tuple[float, ...]


class GroupSums:
    """Sums on the device of K scores and of the examples, [K + 1, G], or [F, K + 1, G] for F models."""

    def __init__(
        self,
        columns: Mapping[str, Sequence[str]],
        scores: int,
        device: torch.device | str,
        models: tuple[int, ...] = (),
    ) -> None:
        """Empty.

        Args:
            columns: the groups of each column, in the order of the codes.
            scores: K.
            models: F, or nothing for one model.
        """
        import torch

        sizes = [len(groups) for groups in columns.values()]
        self._names = [(column, group) for column, groups in columns.items() for group in groups]
        self._first = torch.tensor([0, *accumulate(sizes)][: len(sizes)], device=device)
        self.totals = torch.zeros(*models, scores + 1, sum(sizes), dtype=torch.float64, device=device)

    def add(self, scores: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds float64 [K, B], or [F, K, B], of the examples of a batch that has their groups."""
        import torch

        if not self._names:
            return
        added = torch.cat([scores, torch.ones_like(scores[..., :1, :])], dim=-2)
        for places in (batch[GROUPS] + self._first).T:
            self.totals.index_add_(-1, places, added)

    def sums(self) -> list[torch.Tensor]:
        """What adds up over ranks: nothing where there are no groups."""
        return [self.totals] if self._names else []

    def means(self) -> Iterator[GroupMeans]:
        """Of one model, in the order of the groups: those of which examples were seen."""
        totals = self.totals.cpu()
        for (column, group), (*sums, count) in zip(self._names, totals.T.tolist(), strict=True):
            if count:
                yield GroupMeans(column, group, int(count), tuple(value / count for value in sums))


def groups_of(state: State) -> dict[str, list[str]]:
    """The groups of each sensitive column, as `trainers.inputs.encoded_arrays` writes them."""
    return {str(column): list(names) for column, names in state.get("groups", ())}
