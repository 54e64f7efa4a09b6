"""One optimizer's step: forward, loss, backward, the check that all is finite, and the update."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainers.errors import NotFinite
from trainers.family import Family
from trainers.loop.micro_batches import MicroBatch
from trainers.loop.parallel import local_parts, wrap_parallel
from trainers.optim.optimizers import (
    add_l1,
    clip_gradients,
    clip_weights,
    flag_not_finite,
    gradient_norm,
    make_optimizer,
)
from trainers.tasks import TermCounter
from trainers.types import Batch, ExampleSource, Outputs, Params, State

if TYPE_CHECKING:
    from trainers.loop.collectives import RankGroup
    from trainers.loop.parallel import GatheredModule

Shown = Mapping[str, float]


class Stepper:
    """Makes steps on one module; for a family with a `train_step` of its own it is that step's `TrainStep`.

    A loss that is not finite on one rank makes the gradients not finite on every rank: backward starts from
    weight + 0·loss, so the averaging carries it over and no message of its own is needed.
    """

    def __init__(
        self,
        family: Family,
        module: nn.Module,
        params: Params,
        state: State,
        crew: RankGroup,
        generator: torch.Generator,
        through: GatheredModule | None = None,
    ) -> None:
        """Makes the optimizers and, for several ranks, wraps the forward pass.

        Args:
            through: the module's, where its weights are sharded over the ranks; else every rank has all.
        """
        self.family, self.module, self.params, self.state = family, module, params, state
        self.generator, self._crew = generator, crew
        self.own = own_steps(family)
        self.optimizers = {
            name: make_optimizer(list(part.parameters()), params)
            for name, part in family.players(module).items()
        }
        self._trained = {name: _trained_parameters(optimizer) for name, optimizer in self.optimizers.items()}
        self._sharded = through is not None
        self._parallel = None if crew.alone or self.own or self._sharded else wrap_parallel(family, module)
        self._forward: Callable[[Batch], Outputs] = self._parallel or partial(family.outputs, module)
        if through is not None:
            self._forward = lambda batch: through(lambda: family.outputs(module, batch))
        self._loss = _loss_function(family, params, state)
        self._terms = _term_counter(family, state)
        self._augments = params.get("augment") is not None or type(family).augment is not Family.augment
        self._half = params["precision"] == "bf16"
        self._l1, self._clip = params["l1"], params["gradient_clip"]
        self._weight_clip = params["weight_clip"]
        self._ones = torch.ones(1, device=generator.device)
        self._bad = torch.zeros_like(self._ones)  # 1 once a gradient was not finite, which ends the attempt
        self._losses: list[torch.Tensor] = []
        self._values: list[float] = []
        self._device = generator.device.type
        self.rate = self._peak = float(params["learning_rate"])
        self._factor = self._own_weight = 1.0
        if self.own:  # the loop's own steps do without torch's hooks, which take 20 µs each
            for name, optimizer in self.optimizers.items():
                self._register_hooks(self._trained[name], optimizer)

    # -- one step ------------------------------------------------------------------------------------------

    def set_rate(self, factor: float) -> None:
        """Sets every optimizer's learning rate to `factor` times the peak; `rate` is what it then is."""
        if factor == self._factor:
            return
        self.rate, self._factor = self._peak * factor, factor
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.rate

    def step(self, group: Sequence[MicroBatch], source: ExampleSource) -> tuple[float, Shown]:
        """One step over the group's examples.

        Returns:
            This rank's Σ loss · examples (0 for a family's own step), and what that step wants shown.
        """
        if self.own:
            return self._own_step(group, source)
        ((name, optimizer),) = self.optimizers.items()
        trained = self._trained[name]
        for parameter in trained:  # zero_grad, without its record for a profiler
            parameter.grad = None
        self._losses, self._values = [], []
        if len(group) == 1 and (self._terms is None or self._crew.alone):  # by far the most steps
            (micro,) = group
            self._backward(self._gather_batch(source, micro.positions), micro.weight)
            counts: Sequence[float] = [micro.examples]
        else:
            counts = self._accumulate_gradients(group, source)
        self._before_step(trained)
        optimizer.step()
        self._after_step(trained)
        return sum(map(operator.mul, self._values, counts)), {}

    def _accumulate_gradients(self, group: Sequence[MicroBatch], source: ExampleSource) -> Sequence[float]:
        """Gradients of several micro-batches, and how many examples each one's loss counts for."""
        batches: Iterable[Batch] = (self._gather_batch(source, micro.positions) for micro in group)
        counts = [float(micro.examples) for micro in group]
        if self._terms is not None:
            batches = list(batches)
            group, counts = self._weigh_by_terms(group, batches)
        for place, (micro, batch) in enumerate(zip(group, batches, strict=True)):
            with self._without_sync(place < len(group) - 1):
                self._backward(batch, micro.weight)
        return counts

    def _backward(self, batch: Batch, weight: float) -> None:
        if self._half:
            with torch.autocast(self._device, dtype=torch.bfloat16):
                loss = self._loss(self._forward(batch), batch)
        else:
            loss = self._loss(self._forward(batch), batch)
        self._start_backward(loss, weight)
        self._note_loss(loss)

    def _note_loss(self, loss: torch.Tensor) -> None:
        """Keeps what the loss is: on the CPU its value, elsewhere a tensor, for one look at the device."""
        if self._device == "cpu":
            self._values.append(loss.item())
        else:
            self._losses.append(loss.detach().reshape(1).float())

    def _weigh_by_terms(
        self, group: Sequence[MicroBatch], batches: Sequence[Batch]
    ) -> tuple[list[MicroBatch], list[float]]:
        """The group weighted by what its losses are means over, and each one's share of the examples."""
        assert self._terms is not None
        counted = torch.stack([self._terms(batch) for batch in batches]).tolist()
        own = [count * (micro.examples > 0) for count, micro in zip(counted, group, strict=True)]
        (total,) = self._crew.sum_over_ranks(float(sum(own)))
        shares = [count / max(total, 1.0) for count in own]
        pairs = list(zip(group, shares, strict=True))
        weighted = [micro._replace(weight=share * self._crew.size) for micro, share in pairs]
        return weighted, [share * micro.of for micro, share in pairs]

    def _start_backward(self, loss: torch.Tensor, weight: float) -> None:
        if self._crew.alone and weight == 1.0:
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        else:
            loss.backward(loss.detach() * 0.0 + weight)  # type: ignore[no-untyped-call]

    def _own_step(self, group: Sequence[MicroBatch], source: ExampleSource) -> tuple[float, Shown]:
        positions = _concatenate([micro.positions for micro in group])
        self._own_weight = 1.0 if self._crew.alone else sum(micro.weight for micro in group)
        with self._autocast():
            shown = self.family.train_step(self.module, self._gather_batch(source, positions), self)
        return 0.0, shown or {}

    def backward(self, loss: torch.Tensor) -> None:
        """For a family's own step: gradients of the loss, averaged over ranks."""
        with torch.autocast(self._device, enabled=False):
            self._start_backward(loss, self._own_weight)
        self._losses, self._values = [], []
        self._note_loss(loss)
        for parameters in self._trained.values():
            self._crew.average_gradients(parameters)

    # -- around the update ---------------------------------------------------------------------------------

    def _register_hooks(self, trained: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        optimizer.register_step_pre_hook(lambda *_: self._before_step(trained))
        optimizer.register_step_post_hook(lambda *_: self._after_step(trained))

    def _before_step(self, trained: list[nn.Parameter]) -> None:
        gradients = [gradient for parameter in trained if (gradient := parameter.grad) is not None]
        if self._sharded:
            gradients = local_parts(gradients)
        if self._l1:
            moved = [parameter for parameter in trained if parameter.grad is not None]
            add_l1(self._local_parts(moved), gradients, self._l1)
        # one look at the device for all: the losses (on the CPU they are known) and the gradients
        flag_not_finite(gradients, self._bad, self._ones)
        if self._losses:
            *self._values, found = torch.cat([*self._losses, self._bad]).tolist()
        else:
            found = self._bad.item()
        if not all(map(math.isfinite, self._values)):  # with gradients that may well be finite
            found = 1.0
        if self._sharded:  # another rank's part may be what is not finite
            (found,) = self._crew.sum_over_ranks(found)
        if found:
            norm = float(self._global_norm(gradients))  # by all ranks, before any of them leaves
            for value in self._values:
                require_finite("the loss", value)
            require_finite("the norm of the gradient", norm)
        if self._clip is not None:
            clip_gradients(gradients, self._global_norm(gradients), self._clip)

    def _after_step(self, trained: list[nn.Parameter]) -> None:
        if self._weight_clip is not None:
            clip_weights(self._local_parts(trained), self._weight_clip)

    def _local_parts(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What this rank holds of each."""
        return local_parts(tensors) if self._sharded else list(tensors)

    def _global_norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """The norm of the whole gradient, of whose parts this rank has these."""
        norm = gradient_norm(gradients)
        if not self._sharded:
            return norm
        (square,) = self._crew.sum_over_ranks(float(norm) ** 2)
        return norm.new_tensor(math.sqrt(square))

    # -- pieces --------------------------------------------------------------------------------------------

    def _gather_batch(self, source: ExampleSource, positions: torch.Tensor) -> Batch:
        batch = source.gather(positions)
        return self.family.augment(batch, self.params, self.generator) if self._augments else batch

    def _autocast(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast(self._device, dtype=torch.bfloat16) if self._half else nullcontext()

    def _without_sync(self, more: bool) -> AbstractContextManager[None]:
        if more and self._parallel is not None:
            return self._parallel.no_sync()
        return nullcontext()


def own_steps(family: Family) -> bool:
    """Whether the family makes its training steps itself."""
    return type(family).train_step is not Family.train_step


def _loss_function(family: Family, params: Params, state: State) -> Callable[[Outputs, Batch], torch.Tensor]:
    """The loss as a function of outputs and batch; the task's rules are looked up once, not every step."""
    if type(family).loss is Family.loss:
        rules = family.rules(state)
        return lambda outputs, batch: rules.loss(outputs, batch, params)
    return lambda outputs, batch: family.loss(outputs, batch, params, state)


def _term_counter(family: Family, state: State) -> Callable[[Batch], torch.Tensor] | None:
    """What counts the terms of a batch's mean loss, where those are not its examples."""
    rules = family.rules(state) if type(family).loss is Family.loss else None
    return rules.count_terms if isinstance(rules, TermCounter) else None


def _trained_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _concatenate(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def require_finite(what: str, value: float) -> None:
    """Refuses a number that ends an attempt.

    Raises:
        NotFinite: it is one.
    """
    if not math.isfinite(value):
        raise NotFinite(
            f"{what} must be a finite number", f"{value}", "lower learning_rate or clip gradients"
        )
