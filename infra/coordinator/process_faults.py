"""Errors that spoil the process they come up in, and not only the attempt: named in this one place."""

from __future__ import annotations

import errno
import re
from enum import StrEnum


class ProcessFault(StrEnum):
    """Why a lane's process can train nothing any more."""

    DEVICE = "device"  # after some CUDA errors every later call of the process fails
    IMPORTS = "imports"  # a module of the stack is half imported and stays so
    MOUNT = "mount"
    DISK = "disk"

    @property
    def words(self) -> str:
        """What is wrong, for people."""
        return _WORDS[self]


_WORDS = {
    ProcessFault.DEVICE: "its device answers with errors only",
    ProcessFault.IMPORTS: "a library of its process is half imported",
    ProcessFault.MOUNT: "a file system of its node does not answer",
    ProcessFault.DISK: "a disk of its node is full",
}
_ERRNOS = {
    errno.ENOSPC: ProcessFault.DISK,
    errno.EDQUOT: ProcessFault.DISK,
    errno.EIO: ProcessFault.MOUNT,
    errno.ESTALE: ProcessFault.MOUNT,
    errno.ENOTCONN: ProcessFault.MOUNT,
    errno.EHOSTDOWN: ProcessFault.MOUNT,
}
_STACK = frozenset({"torch", "numpy", "scipy", "pandas", "pyarrow", "sklearn", "transformers", "tokenizers"})
_HALF_IMPORTED = re.compile(r"partially initialized module '(\w+)")
# torch says by its words alone which of CUDA's errors it met; these leave the process's context unusable
# (CUDA Runtime API, cudaError_t: "the process must be terminated and relaunched").
_STICKY = re.compile(
    r"CUDA error: (?:device-side assert|an illegal memory access|an illegal instruction|misaligned address"
    r"|unspecified launch failure|uncorrectable ECC|hardware stack error|the launch timed out)"
)


def find_process_fault(error: BaseException) -> ProcessFault | None:
    """What an error, or one that it came from, says of the process; None where another trial may do well."""
    seen: BaseException | None = error
    while seen is not None:
        if (found := _fault_of(seen)) is not None:
            return found
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return None


def _fault_of(error: BaseException) -> ProcessFault | None:
    if isinstance(error, OSError):
        return _ERRNOS.get(error.errno or 0)
    if isinstance(error, (ImportError, AttributeError)):
        half = _HALF_IMPORTED.search(str(error))
        return ProcessFault.IMPORTS if half and half.group(1) in _STACK else None
    if isinstance(error, RuntimeError):  # of which torch's AcceleratorError is one
        return ProcessFault.DEVICE if _STICKY.search(str(error)) else None
    return None
