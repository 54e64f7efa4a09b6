"""A device with figures instead of a GPU."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass
class FakeMemory:
    """What a GPU would say; peaks are what a test sets."""

    total: int = 24 * GIB
    free: int = 20 * GIB
    held: int = 0
    peak_held: int = 2 * GIB
    peak_reserved: int = 3 * GIB
    used: bool = True
    answers: bool = True
    released: int = 0
    restarted: int = 0

    def is_used(self) -> bool:
        """Whether the process uses it."""
        return self.used

    def total_bytes(self) -> int:
        """What it has."""
        if not self.answers:
            raise RuntimeError("CUDA error: out of memory")
        return self.total

    def free_bytes(self) -> int:
        """What nobody holds."""
        if not self.answers:
            raise RuntimeError("CUDA error: out of memory")
        return self.free

    def held_bytes(self) -> int:
        """What tensors take."""
        return self.held

    def peak_held_bytes(self) -> int:
        """What they took at most."""
        return self.peak_held

    def peak_reserved_bytes(self) -> int:
        """What was kept from others at most."""
        return self.peak_reserved

    def restart_peak(self) -> None:
        """Counts how often."""
        self.restarted += 1

    def release(self) -> None:
        """Counts how often."""
        self.released += 1
