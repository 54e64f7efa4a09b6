"""Fresh weights for matrices and kernels, by the name that `init` takes.

- `xavier`: uniform, variance 2 / (fan in + fan out) (Glorot and Bengio 2010);
- `kaiming`: normal, variance 2 / fan in (He et al. 2015);
- `normal`: standard deviation 0.02 (Radford et al. 2018);
- `orthogonal`: rows or columns orthonormal (Saxe et al. 2014);
- `default`: as torch's layers do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def initialise_weights(module: torch.nn.Module, name: str) -> None:
    """Draws the weights of dense, convolution and recurrent layers anew, in place.

    Biases, norms, embeddings and frozen parameters stay as they are. Draws from torch's global generator.
    """
    from torch.nn import init

    if name == "default":
        return
    fillers: dict[str, Callable[[torch.Tensor], object]] = {
        "xavier": init.xavier_uniform_,
        "kaiming": lambda weight: init.kaiming_normal_(weight, nonlinearity="relu"),
        "normal": lambda weight: init.normal_(weight, std=0.02),
        "orthogonal": _fill_orthogonal,
    }
    fill = fillers[name]
    for weight in _weight_matrices(module):
        fill(weight)


def _fill_orthogonal(weight: torch.Tensor) -> None:
    """As torch's, which fails at kernels that lie channels last in memory."""
    import torch
    from torch.nn import init

    with torch.no_grad():
        drawn = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
        weight.copy_(init.orthogonal_(drawn))


def _weight_matrices(module: torch.nn.Module) -> Iterator[torch.nn.Parameter]:
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            continue
        for weight in layer.parameters(recurse=False):
            if weight.dim() >= 2 and weight.numel() and weight.requires_grad:
                yield weight
