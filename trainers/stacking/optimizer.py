"""SGD, Adam, AdamW and RMSprop over stacked weights, each member with its own kind and numbers.

What torch.optim computes, and what `trainers.optim.optimizers` does around it, with a vector where that has a
number. Members of one kind are neighbours, so that nobody's arithmetic is done for others.

Shape legend: F members, P numbers of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainers.types import Params

Column: TypeAlias = Tensor  # [F, 1]
_EPSILON = 1e-8  # torch's, of Adam and RMSprop
_AT_ONCE = 1 << 18  # numbers that are worked on together, so that they stay in the processor's cache
KINDS = {"sgd": 0, "adam": 1, "adamw": 1, "rmsprop": 2}


@dataclass(slots=True, kw_only=True)
class _Numbers:
    """One row a member, as columns [F, 1]; None where no member has one that does anything."""

    momentum: Column
    nesterov: Column
    beta2: Column
    rest1: Column  # 1 - beta1, taken before it is rounded
    rest2: Column
    l1: Column | None
    decay: Column | None
    decoupled: Column | None
    clip: Column | None
    weight_clip: Column | None


def _column(values: Sequence[float], device: torch.device, neutral: float) -> Column | None:
    if all(value == neutral for value in values):
        return None
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None]


def _read_numbers(params: Sequence[Params], device: torch.device) -> _Numbers:
    def column(name: str) -> Column:
        return torch.tensor([float(one[name]) for one in params], device=device)[:, None]

    def rest(name: str) -> Column:
        return torch.tensor([1.0 - float(one[name]) for one in params], device=device)[:, None]

    def limits(name: str) -> Column | None:
        return _column([math.inf if one[name] is None else one[name] for one in params], device, math.inf)

    coupled = [0.0 if one["optimizer"] == "adamw" else float(one["weight_decay"]) for one in params]
    apart = [float(one["weight_decay"]) if one["optimizer"] == "adamw" else 0.0 for one in params]
    return _Numbers(
        momentum=column("momentum"), nesterov=column("nesterov"), beta2=column("beta2"),
        rest1=rest("beta1"), rest2=rest("beta2"),
        l1=_column([float(one["l1"]) for one in params], device, 0.0),
        decay=_column(coupled, device, 0.0), decoupled=_column(apart, device, 0.0),
        clip=limits("gradient_clip"), weight_clip=limits("weight_clip"),
    )  # fmt: skip


class StackedOptimizer:
    """The optimizers of a stack's members.

    Attributes:
        first, second: moments of each block, [F, P]: momentum or Adam's first; the mean of squares.
    """

    def __init__(self, blocks: Sequence[Tensor], device: torch.device) -> None:
        """Fresh moments of nobody yet.

        Args:
            blocks: the stacked weights.
            device: theirs.
        """
        self.first = [torch.zeros_like(block) for block in blocks]
        self.second = [torch.zeros_like(block) for block in blocks]
        self._device = device

    def set_members(self, params: Sequence[Params]) -> None:
        """Other members, or the same in other rows; the moments are the caller's affair.

        Args:
            params: each row's, those of one kind (`KINDS`) side by side.
        """
        self._params = list(params)
        self._numbers = _read_numbers(params, self._device)
        kinds = [KINDS[one["optimizer"]] for one in params]
        edges = [at for at in range(1, len(kinds)) if kinds[at] != kinds[at - 1]]
        starts, ends = [0, *edges], [*edges, len(kinds)]
        updates: list[Callable[[int, slice, Tensor, Tensor], None]] = [
            self._update_sgd, self._update_adam, self._update_rmsprop
        ]  # fmt: skip
        self._runs = [
            (slice(start, end), updates[kinds[start]]) for start, end in zip(starts, ends, strict=True)
        ]
        self._moves = any(KINDS[one["optimizer"]] != 1 and one["momentum"] > 0 for one in params)

    def reorder(self, rows: Tensor) -> None:
        """Takes these rows, in this order."""
        self.first = [block.index_select(0, rows) for block in self.first]
        self.second = [block.index_select(0, rows) for block in self.second]

    def clear(self, row: int) -> None:
        """Fresh moments for a newcomer."""
        for block in (*self.first, *self.second):
            block[row].zero_()

    def plan(self, rates: npt.NDArray[np.float64], steps: Sequence[int]) -> None:
        """The numbers of the next steps, so that a step itself looks up one row.

        Args:
            rates: [steps, F] of each step's learning rate.
            steps: that each member has made.
        """
        made = np.array(steps)[None] + np.arange(1, len(rates) + 1)[:, None]
        adam = np.array([KINDS[one["optimizer"]] == 1 for one in self._params])
        names = ("beta1", "beta2", "weight_decay")
        beta1, beta2, decay = (np.array([float(one[name]) for one in self._params]) for name in names)
        apart = np.array([one["optimizer"] == "adamw" for one in self._params])
        bias = np.where(adam, 1.0 - beta1**made, 1.0)
        root = np.sqrt(np.where(adam, 1.0 - beta2**made, 1.0))
        tables = (-rates / bias, root, 1.0 - rates * np.where(apart, decay, 0.0))
        self._rate, self._root, self._shrink = (
            torch.from_numpy(table).float().to(self._device)[..., None] for table in tables
        )

    def step(self, at: int, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
        """One step of all members, in place.

        Args:
            at: which of the planned steps.
            weights: the blocks; `gradients`: theirs, which are overwritten.

        Returns:
            The largest absolute gradient of each member, [F]: not finite where any of them is not.
        """
        own = self._numbers
        if own.l1 is not None:
            for weight, gradient in zip(weights, gradients, strict=True):
                gradient.addcmul_(weight.sign(), own.l1)
        # torch's norm of order infinity, which is the same, takes twenty times as long
        peaks = [torch.maximum(gradient.amax(1), -gradient.amin(1)) for gradient in gradients]
        if own.clip is not None:
            norms = [torch.linalg.vector_norm(gradient, dim=1) for gradient in gradients]
            norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)[:, None]
            share = torch.clamp(own.clip / (norm + 1e-6), max=1.0)
            for gradient in gradients:
                gradient.mul_(share)
        for block, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            rows = max(1, _AT_ONCE // weight.shape[1])
            for run, update in self._runs:
                for start in range(run.start, run.stop, rows):
                    part = slice(start, min(start + rows, run.stop))
                    self._update(at, block, part, weight[part], gradient[part], update)
        return peaks[0] if len(peaks) == 1 else torch.stack(peaks).amax(0)

    def _update(
        self,
        at: int,
        block: int,
        part: slice,
        weight: Tensor,
        gradient: Tensor,
        update: Callable[[int, slice, Tensor, Tensor], None],
    ) -> None:
        own = self._numbers
        if own.decay is not None:
            gradient.addcmul_(weight, own.decay[part])
        if own.decoupled is not None:
            weight.mul_(self._shrink[at, part])
        self._at, self._block = at, block
        update(block, part, weight, gradient)
        if own.weight_clip is not None:
            largest = own.weight_clip[part]
            torch.clamp(weight, -largest, largest, out=weight)

    def _update_sgd(self, block: int, part: slice, weight: Tensor, gradient: Tensor) -> None:
        rate = self._rate[self._at, part]
        if not self._moves:
            weight.addcmul_(gradient, rate)
            return
        own, moved = self._numbers, self.first[block][part]
        moved.mul_(own.momentum[part]).add_(gradient)
        nesterov = own.nesterov[part]
        ahead = gradient.addcmul_(moved, own.momentum[part])
        weight.addcmul_(torch.where(nesterov > 0, ahead, moved), rate)

    def _update_adam(self, block: int, part: slice, weight: Tensor, gradient: Tensor) -> None:
        own, first, second = self._numbers, self.first[block][part], self.second[block][part]
        first.lerp_(gradient, own.rest1[part])
        second.mul_(own.beta2[part]).addcmul_(gradient * own.rest2[part], gradient)
        below = second.sqrt().div_(self._root[self._at, part]).add_(_EPSILON)
        weight.addcmul_(first / below, self._rate[self._at, part])

    def _update_rmsprop(self, block: int, part: slice, weight: Tensor, gradient: Tensor) -> None:
        own, second = self._numbers, self.second[block][part]
        rate = self._rate[self._at, part]
        second.mul_(own.beta2[part]).addcmul_(gradient * own.rest2[part], gradient)
        step = gradient.div_(second.sqrt().add_(_EPSILON))
        if not self._moves:
            weight.addcmul_(step, rate)
            return
        moved = self.first[block][part]
        weight.addcmul_(moved.mul_(own.momentum[part]).add_(step), rate)

    # -- one member's, as torch.optim has it -----------------------------------------------------------------

    def moments(self, params: Params) -> Mapping[str, list[Tensor]]:
        """torch.optim's names of what a member's optimizer keeps, and the blocks that it lies in."""
        kind, moves = params["optimizer"], params["momentum"] > 0
        if KINDS[kind] == 1:
            return {"exp_avg": self.first, "exp_avg_sq": self.second}
        own = {"momentum_buffer": self.first} if moves else {}
        return {"square_avg": self.second, **own} if kind == "rmsprop" else own
