"""Everything random or hidden in the process that could change a trial's bits: set, captured, given back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *parts: int) -> int:
    """A 63-bit seed of its own for each purpose, rank or epoch of one attempt."""
    words = np.random.SeedSequence([seed, *parts]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def seed_all(seed: int) -> None:
    """Seeds Python's, NumPy's and torch's global generators, those of all devices among them."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # `manual_seed` would note it, with the stack of its caller, for devices that are not there: 1 ms
        torch.default_generator.manual_seed(seed)


@contextmanager
def fix_torch_flags(threads: int | None) -> Iterator[None]:
    """Puts torch's flags where every attempt expects them, and all of them back at the end.

    Args:
        threads: for torch on the CPU; sums over another number of threads may round otherwise. None leaves
            the number that the process has.
    """
    import torch

    numpy_state, python_state = np.random.get_state(), random.getstate()
    cudnn = torch.backends.cudnn
    before = (torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision())
    flags = (cudnn.benchmark, cudnn.deterministic)
    devices = list(range(torch.cuda.device_count())) if _uses_cuda() else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        try:
            _set_flags(threads or before[0], torch.float32, "highest", False, True)
            yield
        finally:
            _set_flags(*before, *flags)
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def _set_flags(
    threads: int, dtype: torch.dtype, precision: str, benchmark: bool, deterministic: bool
) -> None:
    import torch

    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, deterministic


def _uses_cuda() -> bool:
    """Whether this process uses CUDA; asking for more would start it."""
    import torch

    started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return started


def capture_state(augmentation: torch.Generator) -> dict[str, torch.Tensor]:
    """The state of every generator that training draws from, as vectors by name."""
    import torch

    state = {
        "python": _python_state(),
        "numpy": _numpy_state(),
        "torch": torch.get_rng_state(),
        "augmentation": augmentation.get_state(),
    }
    if _uses_cuda():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_state(state: Mapping[str, torch.Tensor], augmentation: torch.Generator) -> None:
    """The inverse of `capture`. A state of a device that is not here is left aside."""
    import torch

    # torch 2.13 reads a generator's state past its end where it is a row of a larger tensor (a crash).
    state = {name: vector.clone() for name, vector in state.items()}
    _set_python_state(state["python"])
    _set_numpy_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["augmentation"].numel() == augmentation.get_state().numel():
        augmentation.set_state(state["augmentation"])
    if "cuda" in state and _uses_cuda():
        torch.cuda.set_rng_state(state["cuda"])


def _python_state() -> torch.Tensor:
    import torch

    version, words, gauss = random.getstate()
    values = [float(version), float(gauss is not None), gauss or 0.0, *map(float, words)]
    return torch.tensor(values, dtype=torch.float64)  # words of 32 bits are exact in it


def _set_python_state(vector: torch.Tensor) -> None:
    version, has_gauss, gauss, *words = vector.tolist()
    random.setstate((int(version), tuple(int(word) for word in words), gauss if has_gauss else None))


def _numpy_state() -> torch.Tensor:
    import torch

    _, words, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return torch.from_numpy(np.concatenate([[position, has_gauss, gauss], np.asarray(words)]))


def _set_numpy_state(vector: torch.Tensor) -> None:
    values = vector.numpy()
    words = values[3:].astype(np.uint32)
    np.random.set_state(("MT19937", words, int(values[0]), int(values[1]), float(values[2])))
