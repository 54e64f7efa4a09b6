"""A GPU's memory as this process sees it: the one place that asks torch for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

GIBIBYTE = 2**30
# What CUDA's context and the libraries' kernels take beside what torch reserves, which torch does not count:
# 300 to 550 MiB by the GPU's kind and torch's build, as others have measured it; not measured by us.
CONTEXT_BYTES = 600 * 2**20
# What libraries keep for themselves between two trials: cuBLAS has some workspaces of up to 32 MiB each.
HELD_BYTES = 256 * 2**20


class DeviceMemory(Protocol):
    """The memory of one device, all in bytes. Peaks count from `restart_peak`."""

    def is_used(self) -> bool:
        """Whether this process has begun to use the device. Where it has not, nothing else is to be asked:
        the question itself would take a context's memory."""

    def total_bytes(self) -> int:
        """What the device has."""

    def free_bytes(self) -> int:
        """What nobody holds of it now, other processes among them."""

    def held_bytes(self) -> int:
        """What tensors of this process take now."""

    def peak_held_bytes(self) -> int:
        """What they took at most."""

    def peak_reserved_bytes(self) -> int:
        """What this process kept from others at most, for tensors that were there or might come."""

    def restart_peak(self) -> None:
        """Counts peaks from now on."""

    def release(self) -> None:
        """Gives back what is reserved for nothing."""


class CudaMemory:
    """What torch says of one GPU."""

    def __init__(self, device: str | torch.device) -> None:
        """Asks nothing yet."""
        import torch

        self._device = torch.device(device)

    def is_used(self) -> bool:
        """Whether CUDA was begun with in this process."""
        import torch

        return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch's own

    def total_bytes(self) -> int:
        """See `DeviceMemory`."""
        import torch

        return int(torch.cuda.mem_get_info(self._device)[1])

    def free_bytes(self) -> int:
        """See `DeviceMemory`."""
        import torch

        return int(torch.cuda.mem_get_info(self._device)[0])

    def held_bytes(self) -> int:
        """See `DeviceMemory`."""
        import torch

        return int(torch.cuda.memory_allocated(self._device))

    def peak_held_bytes(self) -> int:
        """See `DeviceMemory`."""
        import torch

        return int(torch.cuda.max_memory_allocated(self._device))

    def peak_reserved_bytes(self) -> int:
        """See `DeviceMemory`."""
        import torch

        return int(torch.cuda.max_memory_reserved(self._device))

    def restart_peak(self) -> None:
        """See `DeviceMemory`."""
        import torch

        if self.is_used():  # before that torch knows no such device, and nothing was taken
            torch.cuda.reset_peak_memory_stats(self._device)

    def release(self) -> None:
        """See `DeviceMemory`."""
        import torch

        torch.cuda.empty_cache()  # nothing where CUDA was not begun with


def find_device_memory(device: str | torch.device) -> DeviceMemory | None:
    """The memory of a device; None where it is the machine's own."""
    return CudaMemory(device) if str(device).startswith("cuda") else None


def describe_room(memory: DeviceMemory) -> str:
    """What the device has, what is free of it, and what this process took of it at most; empty where the
    device does not even answer that."""
    try:
        if not memory.is_used():
            return ""
        free, total = memory.free_bytes(), memory.total_bytes()
        held, reserved = memory.peak_held_bytes(), memory.peak_reserved_bytes()
    except RuntimeError:  # a GPU without room for a context answers nothing at all
        return ""
    return (
        f"of its {gibibytes(total)} {gibibytes(free)} are free, and this trial's process had "
        f"{gibibytes(reserved)} reserved at its peak, {gibibytes(held)} of that in tensors"
    )


def gibibytes(count: float) -> str:
    """`3.1 GiB`."""
    return f"{count / GIBIBYTE:.1f} GiB"
