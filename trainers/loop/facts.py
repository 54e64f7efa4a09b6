"""What is known of every trial beside its metrics: how large its model is, and what training took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.loop.memory import peak_bytes

if TYPE_CHECKING:
    import torch

FACTS = frozenset(
    {"parameters", "size_bytes", "train_seconds", "peak_memory_bytes", "latency_ms", "flops", "epsilon"}
)


def model_facts(module: torch.nn.Module, seconds: float, device: torch.device) -> dict[str, float]:
    """All but latency and FLOPs, for which the model must be called. Of a sharded module the whole counts.

    Args:
        seconds: of training and evaluation so far.
    """
    tensors = module.state_dict().values()
    facts = {
        "parameters": float(sum(p.numel() for p in module.parameters())),
        "size_bytes": float(sum(t.numel() * t.element_size() for t in tensors)),
        "train_seconds": seconds,
    }
    peak = peak_bytes(device)
    return facts if peak is None else {**facts, "peak_memory_bytes": peak}
