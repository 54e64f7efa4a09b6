"""The forward pass and the loss of all members at once: one module stands for all, their weights are stacked.

Shape legend: F members, B examples of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from trainers.family import Family
from trainers.modules.stacked_values import MEMBER_LENGTHS, call_for_members
from trainers.stacking.calls import SHARED_RATE, StackedCalls
from trainers.tasks.classification import Classification
from trainers.types import Batch, Outputs, Params, State


class StackedProgram:
    """Calls one module with the weights of many, by `torch.func.vmap`.

    The gradient is taken outside of it: members share no weights, so that the gradient of the sum of their
    losses is each one's own, and backward knows nothing of vmap.

    Attributes:
        calls: what takes the place of dropout and attention; None where there is neither.
    """

    def __init__(self, family: Family, params: Params, state: State, like: nn.Module, draws: bool) -> None:
        """Builds the module that stands for all.

        Args:
            family: of all members.
            params: of any of them.
            state: of the data that they share.
            like: any member's module.
            draws: whether any member leaves units out.
        """
        self._family, self._state = family, state
        rate = {"dropout": SHARED_RATE if draws else 0.0} if "dropout" in params else {}
        device = next(like.parameters()).device
        self.module = family.build(state, {**params, **rate}).to(device).train()
        fixed = any(_needs_own_calls(part) for part in self.module.modules())
        self.calls = StackedCalls() if draws or fixed else None
        self._half = params["precision"] == "bf16"
        self._device = device.type
        self._params = dict(params)
        own = type(family).loss is not Family.loss
        self._rules = None if own else family.rules(state)
        self.names: list[str] = []
        self._slots: list[list[tuple[dict[str, Tensor | None], str]]] = []
        self._trained = 0

    def bind(self, trained: Sequence[str], rest: Sequence[str]) -> None:
        """In which order tensors will be given: parameters with gradients, then others and buffers."""
        self.names, self._trained = [*trained, *rest], len(trained)
        found = _tensor_slots(self.module)
        self._slots = [found[name] for name in self.names]
        self._padding = [
            (self.names.index(f"{path}.weight".lstrip(".")), part.padding_idx)
            for path, part in self.module.named_modules()
            if isinstance(part, nn.Embedding) and part.padding_idx is not None
            and f"{path}.weight".lstrip(".") in trained
        ]  # fmt: skip

    def losses(self, tensors: Sequence[Tensor], batch: Mapping[str, Tensor], shared: bool) -> Tensor:
        """Each member's mean loss, [F].

        Args:
            tensors: [F, …] each, in the order of `bind`.
            batch: [F, B, …] each; or [B, …] where it is `shared` by all.
        """
        names, rules, count = list(batch), self._rules, len(tensors)

        def call(given: Sequence[Tensor]) -> Outputs:
            self._put(given[:count])
            return self._family.outputs(self.module, dict(zip(names, given[count:], strict=True)))

        def measure(given: Sequence[Tensor]) -> Outputs:
            assert rules is not None
            outputs, own = call(given), dict(zip(names, given[count:], strict=True))
            return {str(end): rules.loss(outputs, own, params) for end, params in self._loss_params.items()}

        MEMBER_LENGTHS.set(())
        values = list(batch.values())
        stacked, common = (tensors, values) if shared else ([*tensors, *values], [])
        plainly = rules is None or type(rules) is Classification
        with self._autocast(), self.calls or nullcontext():
            found = call_for_members(call if plainly else measure, stacked, common)
            if rules is None:
                return self._call_own_losses(found, batch, shared)
            if type(rules) is Classification:
                found = {str(end): rules.losses_of_members(found, batch, end) for end in self._loss_params}
        assert isinstance(found, dict)
        plain, *smoothed = found.values()
        return self._blend(plain, smoothed[0]) if smoothed else plain

    def _blend(self, plain: Tensor, smoothed: Tensor) -> Tensor:
        """Cross-entropy is linear in the smoothing: of two losses each member has its share."""
        share = self._smoothing.to(plain.dtype)
        return torch.where(share > 0, (1.0 - share) * plain + share * smoothed, plain)

    def set_members(self, params: Sequence[Params]) -> None:
        """Each row's hyper-parameters, in which its loss may differ."""
        self._members = params
        shares = [float(one.get("label_smoothing") or 0.0) for one in params]
        self._smoothing = torch.tensor(shares, device=self._device)
        ends = (0.0, 1.0) if any(shares) else (0.0,)
        self._loss_params = {end: {**self._params, "label_smoothing": end} for end in ends}

    def _call_own_losses(self, outputs: Outputs, batch: Mapping[str, Tensor], shared: bool) -> Tensor:
        """A family's own loss may read any number as a number: it is called for one member after another."""
        losses = []
        for row, params in enumerate(self._members):
            own = dict(batch) if shared else {name: values[row] for name, values in batch.items()}
            losses.append(self._family.loss(take_member(outputs, row), own, params, self._state))
        return torch.stack(losses)

    def gradients(self, losses: Tensor, leaves: Sequence[Tensor]) -> list[Tensor | None]:
        """Each member's own gradient, [F, …] a leaf; None for a leaf that no loss depends on."""
        found: list[Tensor | None] = list(torch.autograd.grad(losses.sum(), list(leaves), allow_unused=True))
        for index, row in self._padding:  # the rule for stacked tables knows the first member's row alone
            if (gradient := found[index]) is not None:
                gradient[:, row] = 0.0
        return found

    def outputs(self, tensors: Sequence[Tensor], batch: Batch) -> Outputs:
        """What each member makes of the same batch, [F, B, …]; as in evaluation."""

        def one(tensors: Sequence[Tensor]) -> Outputs:
            self._put(tensors)
            return self._family.outputs(self.module, batch)

        with self.calls or nullcontext():
            return call_for_members(one, tensors)

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device, dtype=torch.bfloat16) if self._half else nullcontext()

    def _put(self, tensors: Sequence[Tensor]) -> None:
        """`torch.func.functional_call` does this too, at ten times the price of a small step."""
        for slots, tensor in zip(self._slots, tensors, strict=True):
            for held, name in slots:
                held[name] = tensor


def _needs_own_calls(part: nn.Module) -> bool:
    return (isinstance(part, nn.Dropout) and part.p > 0) or "attention" in type(part).__name__.lower()


def take_member(outputs: Outputs, row: int) -> Outputs:
    """One member's outputs of all."""
    if isinstance(outputs, Tensor):
        return outputs[row]
    return {name: values[row] for name, values in outputs.items()}


def _tensor_slots(module: nn.Module) -> dict[str, list[tuple[dict[str, Tensor | None], str]]]:
    """Where each parameter and buffer hangs, by the first of its names."""
    names: dict[int, str] = {}
    slots: dict[str, list[tuple[dict[str, Tensor | None], str]]] = {}
    for path, held, name, tensor in _hanging(module):
        own = names.setdefault(id(tensor), f"{path}.{name}" if path else name)
        slots.setdefault(own, []).append((held, name))
    return slots


def _hanging(module: nn.Module) -> Iterator[tuple[str, dict[str, Tensor | None], str, Tensor]]:
    held: dict[str, Tensor | None]
    for path, part in module.named_modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    yield path, held, name, tensor
