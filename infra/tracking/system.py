"""What a lane's process uses while it trains: numbers named `system/…`, which a report may carry."""

from __future__ import annotations

import os
import sys
from typing import Any

MEBIBYTE = 2**20


class ProcessSampler:
    """CPU, memory and GPU memory of one process. A sample costs some 0.1 ms.

    MLflow's own monitor reads the whole host for every run, and all of its GPUs.
    """

    def __init__(self, pid: int | None = None) -> None:
        """Begins to count.

        Args:
            pid: whose; this process's where it is left out.
        """
        import psutil

        self._process = psutil.Process(pid or os.getpid())
        self._own = pid in (None, os.getpid())
        self._process.cpu_percent()  # the first call only starts the interval

    def sample(self) -> dict[str, float]:
        """`system/cpu_percent` since the last sample (100 is one core), `system/memory_mb`, and, where this
        process uses a GPU, `system/gpu_memory_mb`. Empty when the process is gone."""
        import psutil

        try:
            with self._process.oneshot():
                used = {
                    "system/cpu_percent": float(self._process.cpu_percent()),
                    "system/memory_mb": self._process.memory_info().rss / MEBIBYTE,
                }
        except psutil.Error:
            return {}
        return used | (_gpu() if self._own else {})


def _gpu() -> dict[str, float]:
    torch: Any = sys.modules.get("torch")  # where nothing imported it, no GPU is in use
    if torch is None or not torch.cuda.is_initialized():
        return {}
    used = {"system/gpu_memory_mb": torch.cuda.memory_allocated() / MEBIBYTE}
    try:
        return used | {"system/gpu_percent": float(torch.cuda.utilization())}
    except (ImportError, RuntimeError):  # no NVML here
        return used
