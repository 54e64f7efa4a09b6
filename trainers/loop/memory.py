"""How much memory training took, and telling that there was no room from every other failure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.errors import OutOfMemory
from trainers.loop.device_memory import describe_room, find_device_memory

if TYPE_CHECKING:
    import torch

_SIGNS = ("DefaultCPUAllocator", "not enough memory", "out of memory")
_DEVICE_SIGNS = ("CUDA out of memory", "CUDA error: out of memory")


@contextmanager
def catch_out_of_memory(device: str) -> Iterator[None]:
    """Turns torch's and Python's ways of saying so into `OutOfMemory`.

    Raises:
        OutOfMemory: with the first line of what was said, and of a GPU what it has and what was taken.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        more, memory = "more memory", find_device_memory(device)
        if memory is not None and is_device_full(error):
            more = "a GPU with more memory, or all of one (gpus: 1) where lanes share it"
            said = "; ".join(part for part in (said.rstrip("."), describe_room(memory)) if part)
        raise OutOfMemory(
            f"{device} must have room for this configuration",
            said,
            f"lower batch_size (accumulate makes up for it) or give the trial {more}",
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether the error says that memory ran out, on a device or on the host."""
    import torch

    said = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
    return said or isinstance(error, (MemoryError, torch.OutOfMemoryError))


def is_device_full(error: BaseException | None) -> bool:
    """Whether the error, or one that it was raised from, says that a GPU has no more room."""
    import torch

    while error is not None:
        said = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _DEVICE_SIGNS)
        if said or isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__cause__
    return False


def restart_peak(device: torch.device) -> None:
    """Counts the peak from now on: of the GPU's memory, or of the process's where that is the device."""
    memory = find_device_memory(device)
    if memory is not None:
        memory.restart_peak()
        return
    with suppress(OSError):  # other systems have no such file
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> float | None:
    """The most that was taken since `restart_peak`: what torch had of the GPU, or the process's resident
    memory, libraries and all; None where neither is known."""
    memory = find_device_memory(device)
    if memory is not None:
        return float(memory.peak_held_bytes())
    try:
        status = Path(f"/proc/{os.getpid()}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return None if found is None else 1024.0 * int(found[1])
