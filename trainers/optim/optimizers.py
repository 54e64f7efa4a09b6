"""From hyper-parameters to torch.optim, and what is done to gradients and weights around its step.

The order of one step: gradients (averaged over ranks and accumulated batches), the L1 term, the norm, the
check that it is finite, clipping, the optimizer's step (L2 inside it, as torch does, biases and norms too),
weight clipping. Frozen parameters are left out of all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainers.errors import InputError

if TYPE_CHECKING:
    import torch

    from trainers.types import Params


def make_optimizer(parameters: Sequence[torch.nn.Parameter], params: Params) -> torch.optim.Optimizer:
    """torch.optim's optimizer of that name over the trainable ones of `parameters`.

    Args:
        parameters: of one module; those that need no gradient are left out.
        params: complete hyper-parameters (`trainers.hyperparameters.TRAINING`).

    Raises:
        InputError: nothing to train, or a beta of 1, with which a moment would never move.
    """
    from torch import optim

    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise InputError("a module must have weights to train", "every one of them frozen", "free some")
    name = params["optimizer"]
    lr, decay = params["learning_rate"], params["weight_decay"]
    if name == "sgd":
        # nesterov without momentum is plain SGD; torch refuses to say so
        nesterov = bool(params["nesterov"]) and params["momentum"] > 0
        return optim.SGD(trainable, momentum=params["momentum"], nesterov=nesterov, lr=lr, weight_decay=decay)
    if name == "rmsprop":
        alpha, momentum = params["beta2"], params["momentum"]
        return optim.RMSprop(trainable, lr, alpha, momentum=momentum, weight_decay=decay)
    kind: type[optim.Adam | optim.AdamW] = {"adam": optim.Adam, "adamw": optim.AdamW}[name]
    betas = (_check_moment(params, "beta1"), _check_moment(params, "beta2"))
    return kind(trainable, lr, betas, weight_decay=decay, fused=_is_fusable(trainable))


def add_l1(weights: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor], l1: float) -> None:
    """Adds the gradient of l1·Σ|w| to `gradients` in place: l1·sign(w), 0 at w = 0, as autograd has it."""
    import torch

    torch._foreach_add_(list(gradients), torch._foreach_sign([w.detach() for w in weights]), alpha=l1)


def gradient_norm(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """The Euclidean norm over all gradients, float32 []; not finite where any of them is not."""
    import torch

    if not gradients:  # a rank may hold no part of any
        return torch.zeros(())
    # torch.nn.utils.get_total_norm does the same, and costs 0.1 ms a step in grouping by device
    norms = torch._foreach_norm(list(gradients))
    norm: torch.Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm


def flag_not_finite(gradients: Sequence[torch.Tensor], bad: torch.Tensor, ones: torch.Tensor) -> None:
    """Sets `bad`, float32 [1], to 1 where a gradient is not finite, and leaves it as it is where all are; a
    third of the norm's price.

    Args:
        ones: float32 [1] of 1 on the gradients' device (the operator of `torch.amp.GradScaler` multiplies
            by it).
    """
    import torch

    if gradients:
        torch._amp_foreach_non_finite_check_and_unscale_(list(gradients), bad, ones)


def clip_gradients(gradients: Sequence[torch.Tensor], norm: torch.Tensor, largest: float) -> None:
    """Scales the gradients in place so that their norm, given as `norm`, is at most `largest`."""
    import torch

    # as torch.nn.utils.clip_grads_with_norm_, which takes parameters: a shard of a gradient has none
    share = torch.clamp(largest / (norm + 1e-6), max=1.0)
    torch._foreach_mul_(list(gradients), share)


def clip_weights(parameters: Sequence[torch.Tensor], largest: float) -> None:
    """Limits every weight in place to [-largest, largest] (Arjovsky et al. 2017)."""
    import torch

    weights = [parameter.detach() for parameter in parameters]
    torch._foreach_clamp_min_(weights, -largest)
    torch._foreach_clamp_max_(weights, largest)


def _check_moment(params: Params, name: str) -> float:
    value = float(params[name])
    if value >= 1.0:
        raise InputError(f"{name} must be below 1", f"{value:g}", key=(name,))
    return value


def _is_fusable(parameters: Sequence[torch.nn.Parameter]) -> bool:
    """Adam fused is a third of the price on small models; it takes floating point on CPU and CUDA alone."""
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
