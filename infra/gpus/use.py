"""What an attempt took of the GPU that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.loop.device_memory import CONTEXT_BYTES, DeviceMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """What a lane says of an attempt's memory, as it ends.

    Attributes:
        peak_bytes: what its process kept from others at most, its CUDA context among it; 0: it has not used
            the GPU by torch, and what else it did there is not known.
        total_bytes: what the GPU has; 0 where that is not known.
        lanes: how many lanes share it.
        full: the attempt failed since the GPU had no more room.
    """

    peak_bytes: int
    total_bytes: int
    lanes: int
    full: bool = False


def lanes_of(gpus: float | None) -> int:
    """How many lanes share a GPU where each gets that many of one."""
    return int(1 / gpus + 1e-9) if gpus and gpus < 1 else 1


def measure_use(memory: DeviceMemory, lanes: int, *, full: bool = False) -> GpuUse:
    """What this process has taken at most since the peak was restarted."""
    try:
        reserved = memory.peak_reserved_bytes() if memory.is_used() else 0
        if reserved:
            peak, total = reserved + CONTEXT_BYTES, memory.total_bytes()
            return GpuUse(peak_bytes=peak, total_bytes=total, lanes=lanes, full=full)
    except RuntimeError:  # a device that is spoilt, or has no room for a context, answers nothing
        pass
    return GpuUse(peak_bytes=0, total_bytes=0, lanes=lanes, full=full)
