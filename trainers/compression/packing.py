"""Weights as they are stored in less room, and back; tensors of one dimension and of whole numbers stay.

int8: each row of a tensor (its first dimension) is divided by a scale of its own, its largest magnitude by
127, and rounded: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, symmetric and by channel. Pruned: a bit for each weight, and
the values that are not zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypedDict

from trainers.compression.methods import CompressionMethod, Method
from trainers.errors import InputError

if TYPE_CHECKING:
    import torch

    from trainers.types import Tensors

LEVELS = 127
SCALE, KEPT = "::scale", "::kept"


class PackedTensor(TypedDict):
    """What a stored tensor was."""

    dtype: str
    shape: list[int]


class Packing(TypedDict):
    """How a bundle's weights are stored: `compression` of its `model.json`."""

    how: str
    method: Method
    tensors: dict[str, PackedTensor]


def pack_weights(weights: Tensors, how: CompressionMethod) -> tuple[dict[str, torch.Tensor], Packing]:
    """The tensors to store, and what reads them again.

    Raises:
        InputError: there is nothing to make smaller.
    """
    packed = [name for name, tensor in weights.items() if _is_packed(tensor)]
    if not packed:
        raise InputError(
            "a compressed model must have weights of two dimensions or more", "none in this one",
            "boosted trees have none: sweep with fewer rounds or leaves instead",
        )  # fmt: skip
    pack = {"int8": _to_int8, "bf16": _to_bfloat16, "prune": _to_sparse}[how.method]
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        stored |= pack(name, tensor.detach().cpu()) if name in packed else {name: tensor}
    told: dict[str, PackedTensor] = {
        name: {"dtype": str(weights[name].dtype).removeprefix("torch."), "shape": list(weights[name].shape)}
        for name in packed
    }
    return stored, {"how": how.text, "method": how.method, "tensors": told}


def unpack_weights(stored: Tensors, packing: Packing) -> dict[str, torch.Tensor]:
    """The weights of a module.

    Raises:
        ValueError: what is stored is not what the packing says.
    """
    unpack = {"int8": _from_int8, "bf16": _from_bfloat16, "prune": _from_sparse}[packing["method"]]
    found = {
        name: tensor
        for name, tensor in stored.items()
        if name not in packing["tensors"] and not name.endswith((SCALE, KEPT))
    }
    for name, told in packing["tensors"].items():
        made = unpack(stored, name, told["shape"])
        if list(made.shape) != told["shape"]:
            raise ValueError(f"{name} is not of the shape {told['shape']}")
        found[name] = made.to(_float_type(told["dtype"]))
    return found


def prune_weights(weights: Tensors, share: float) -> dict[str, torch.Tensor]:
    """The weights with the smallest share of each tensor's magnitudes at zero."""
    import torch

    pruned = dict(weights)
    for name, tensor in weights.items():
        count = int(share * tensor.numel())
        if _is_packed(tensor) and count:
            smallest = tensor.detach().abs().reshape(-1).argsort(stable=True)[:count]
            kept = torch.ones(tensor.numel(), dtype=torch.bool, device=tensor.device)
            kept[smallest] = False
            pruned[name] = tensor.detach() * kept.reshape(tensor.shape)
    return pruned


def hold_zeros(module: torch.nn.Module) -> None:
    """Weights that are zero now stay so in training: they get no gradients. A weight at zero decays to zero,
    and an optimizer that never saw a gradient moves nothing."""
    for parameter in module.parameters():
        if _is_packed(parameter) and parameter.requires_grad:
            parameter.register_hook(_masking(parameter.detach() != 0))  # type: ignore[no-untyped-call]


def _masking(kept: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda gradient: gradient * kept


def _is_packed(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() >= 2 and tensor.numel() > 0


def _to_int8(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    import torch

    rows = tensor.float().reshape(len(tensor), -1)
    scale = rows.abs().amax(dim=1) / LEVELS
    whole = (rows / torch.where(scale > 0, scale, 1.0)[:, None]).round().clamp(-LEVELS, LEVELS)
    return {name: whole.to(torch.int8).reshape(tensor.shape), name + SCALE: scale}


def _from_int8(stored: Tensors, name: str, shape: list[int]) -> torch.Tensor:
    import torch

    whole, scale = stored[name], stored[name + SCALE]
    if whole.dtype != torch.int8 or list(whole.shape) != shape or list(scale.shape) != shape[:1]:
        raise ValueError(f"{name} is no int8 tensor with a scale a row")
    return (whole.reshape(len(whole), -1).float() * scale[:, None]).reshape(shape)


def _to_bfloat16(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    import torch

    return {name: tensor.to(torch.bfloat16)}


def _from_bfloat16(stored: Tensors, name: str, shape: list[int]) -> torch.Tensor:
    return stored[name].float()


def _to_sparse(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    import numpy as np
    import torch

    flat = tensor.reshape(-1)
    kept = flat != 0
    return {name: flat[kept], name + KEPT: torch.from_numpy(np.packbits(kept.numpy()))}


def _from_sparse(stored: Tensors, name: str, shape: list[int]) -> torch.Tensor:
    import numpy as np
    import torch

    values, size = stored[name], math.prod(shape)
    if min(shape) < 0 or len(stored[name + KEPT]) != -(-size // 8):
        raise ValueError(f"{name} has not a bit for each of its {size} weights")
    kept = torch.from_numpy(np.unpackbits(stored[name + KEPT].numpy(), count=size).astype(bool))
    if values.dim() != 1 or int(kept.sum()) != len(values):
        raise ValueError(f"{name} has not a value for each of its bits")
    whole = torch.zeros(size, dtype=values.dtype)
    whole[kept] = values
    return whole.reshape(shape)


def _float_type(name: str) -> torch.dtype:
    import torch

    types = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    known: Mapping[str, torch.dtype] = {str(kind).removeprefix("torch."): kind for kind in types}
    if name not in known:
        raise ValueError(f"no weights are of type {name}")
    return known[name]
