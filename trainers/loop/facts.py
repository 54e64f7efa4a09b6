"""What is known of every trial beside its metrics: how large its model is, and what training took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainers.loop.memory import peak_bytes

if TYPE_CHECKING:
    import torch


def model_facts(module: torch.nn.Module, device: torch.device) -> dict[str, float]:
    """All but latency and FLOPs, for which the model must be called. Of a sharded module the whole counts."""
    tensors = module.state_dict().values()
    facts = {
        "parameters": float(sum(p.numel() for p in module.parameters())),
        "size_bytes": float(sum(t.numel() * t.element_size() for t in tensors)),
    }
    peak = peak_bytes(device)
    return facts if peak is None else {**facts, "peak_memory_bytes": peak}


def spent_facts(seconds: float, joules: float | None, per_second: Mapping[str, float]) -> dict[str, float]:
    """What time comes to, by the names of `trainers.metric_names.HELD`.

    Args:
        seconds: of training and evaluation so far.
        joules: of the machine meanwhile; None: it does not tell.
        per_second: of a job.
    """
    energy = {} if joules is None else {"energy_joules": joules}
    return {
        "train_seconds": seconds, **{name: rate * seconds for name, rate in per_second.items()}, **energy
    }  # fmt: skip
