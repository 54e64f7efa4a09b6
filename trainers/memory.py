"""Telling that a device had no room from every other failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trainers.errors import OutOfMemory

_SIGNS = ("DefaultCPUAllocator", "not enough memory", "out of memory")


@contextmanager
def room_on(device: str) -> Iterator[None]:
    """Turns torch's and Python's ways of saying so into `OutOfMemory`.

    Raises:
        OutOfMemory: with the first line of what was said.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        raise OutOfMemory(
            f"{device} must have room for this configuration",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
            "lower batch_size (accumulate makes up for it) or give the trial more memory",
        ) from error


def is_memory(error: Exception) -> bool:
    """Whether the error says that memory ran out, on a device or on the host."""
    import torch

    said = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
    return said or isinstance(error, (MemoryError, torch.OutOfMemoryError))
