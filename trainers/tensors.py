"""Tensors as the bytes of a safetensors file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def to_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """A safetensors file. Tensors may be on any device and share memory (tied weights do): they are stored
    apart."""
    from safetensors.torch import save

    content: bytes = save(_apart({name: tensor.detach().cpu() for name, tensor in tensors.items()}))
    return content


def from_bytes(content: bytes) -> dict[str, torch.Tensor]:
    """CPU tensors by name.

    Raises:
        safetensors.SafetensorError: the bytes are no safetensors file.
    """
    from safetensors.torch import load

    tensors: dict[str, torch.Tensor] = load(content)
    return tensors


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous, no two on the same memory: safetensors refuses those."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if place in seen else tensor.contiguous()
        seen.add(place)
    return tensors
