"""Steps that tell little of any one example: DP-SGD.

M. Abadi et al., "Deep learning with differential privacy", CCS 2016.

Each example comes into a step by a draw of its own with the same chance (Poisson sampling, which is what the
accountant's bound is for), its gradient is cut to a norm, and normal noise is added to the sum. What a step
draws comes from torch's own generator, whose state is in the checkpoint: a step that is made again after a
kill is the same step, and spends nothing twice.

Shape legend: B examples that were drawn, n examples of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainers.errors import InputError
from trainers.family import Family
from trainers.loop.micro_batches import MicroBatch
from trainers.loop.parallel import ForwardModule
from trainers.loop.stepper import Shown, Stepper
from trainers.types import Batch, ExampleSource, Params, State

if TYPE_CHECKING:
    from trainers.loop.collectives import RankGroup

KEY = ("options", "privacy")
AT_ONCE = 128  # gradients of examples that are held together


def sample_rate(params: Params, examples: int) -> float:
    """The chance with which a step draws each of the n examples: on the mean it draws a batch."""
    size = params["batch_size"]
    batch = examples if size == "all" else int(size) * int(params["accumulate"])
    return min(1.0, batch / examples)


def check_private(family: Family, module: nn.Module, params: Params, examples: int) -> None:
    """Refuses what would break the bound, or cannot be trained so."""
    privacy = family.options.privacy
    assert privacy is not None
    found = _find_obstacle(family, module, params)
    if found is not None:
        what, do = found
        raise InputError("private training needs a gradient of each example alone", what, do, key=KEY)
    if privacy.delta >= 1.0 / examples:
        must = "privacy.delta must be below one in the examples of training"
        raise InputError(must, f"{privacy.delta:g} of {examples:,}", f"write {0.1 / examples:.1g}", key=KEY)


def _find_obstacle(family: Family, module: nn.Module, params: Params) -> tuple[str, str] | None:
    name = family.name or type(family).__name__
    norms = (nn.modules.batchnorm._BatchNorm, nn.SyncBatchNorm)
    mixing = next((n for n, part in module.named_modules() if isinstance(part, norms)), None)
    if mixing is not None:
        return f"batch norm, which mixes the examples of a batch ({mixing})", "use group norm or layer norm"
    if not family.stackable or type(family).train_step is not Family.train_step:
        return (
            f"{name}, whose gradients are not known one by one",
            "take mlp, image_cnn or logistic_regression",
        )
    if type(family).loss is not Family.loss:
        return f"{name} with a loss of its own", "leave the loss to the task"
    if family.options.teacher is not None:
        return "a teacher, which may tell what it was trained on", "leave the teacher out"
    if params["precision"] != "fp32":
        return f"precision {params['precision']}", "write precision: fp32"
    return None


class PrivateStepper(Stepper):
    """Makes private steps; the groups that the feed deals out only count them."""

    def __init__(
        self,
        family: Family,
        module: nn.Module,
        params: Params,
        state: State,
        crew: RankGroup,
        generator: torch.Generator,
        *,
        examples: int,
    ) -> None:
        """Checks that it can be done.

        Args:
            examples: n.
        """
        check_private(family, module, params, examples)
        if not crew.alone:
            do = "write resources.workers: 1"
            raise InputError("private training is done by one worker", f"{crew.size}", do, key=KEY)
        super().__init__(family, module, params, state, crew, generator)
        self._examples, self._share = examples, sample_rate(params, examples)
        self._noise, self._most = float(params["privacy_noise"]), float(params["privacy_clip"])
        self._whole = ForwardModule(family, module)
        ((_, self._optimizer),) = self.optimizers.items()
        (self._own,) = self._trained.values()
        named = dict(self._whole.named_parameters())
        self._varied = {name: p for name, p in named.items() if any(p is own for own in self._own)}

    def step(self, group: Sequence[MicroBatch], source: ExampleSource) -> tuple[float, Shown]:
        """As `Stepper.step`, over examples that are drawn here; the loss is their mean."""
        drawn = torch.nonzero(torch.rand(self._examples) < self._share)[:, 0]
        sums = {name: torch.zeros_like(p) for name, p in self._varied.items()}
        total = 0.0
        for positions in torch.split(drawn, AT_ONCE):
            total += self._add_gradients(self._gather_batch(source, positions), sums)
        expected = self._share * self._examples
        for name, parameter in self._varied.items():
            noise = torch.randn(parameter.shape) * (self._noise * self._most)
            parameter.grad = (sums[name] + noise.to(parameter.device)) / expected
        mean = total / max(1, len(drawn))
        self._losses, self._values = [], [mean]
        self._before_step(self._own)
        self._optimizer.step()
        self._after_step(self._own)
        return mean * sum(micro.examples for micro in group), {}

    def _add_gradients(self, batch: Batch, sums: dict[str, torch.Tensor]) -> float:
        """Adds the examples' clipped gradients; gives the sum of their losses."""
        if not len(next(iter(batch.values()))):
            return 0.0
        varied = {name: parameter.detach() for name, parameter in self._varied.items()}
        each = torch.func.vmap(
            torch.func.grad_and_value(self.example_loss), in_dims=(None, 0), randomness="different"
        )
        gradients, losses = each(varied, batch)
        squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
        norms_B = torch.stack(squares).sum(0).sqrt()
        shares_B = (self._most / norms_B.clamp(min=1e-12)).clamp(max=1.0)
        for name, gradient in gradients.items():
            sums[name] += torch.einsum("b,b...->...", shares_B, gradient)
        return float(losses.sum())

    def example_loss(self, varied: dict[str, torch.Tensor], example: Batch) -> torch.Tensor:
        """Of one example, without a first dimension."""
        batch = {name: value[None] for name, value in example.items()}
        outputs = torch.func.functional_call(self._whole, varied, (batch,))
        return self._loss(outputs, batch)
