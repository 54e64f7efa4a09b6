"""What a lane's process uses while it trains: numbers named `system/…`, which a report may carry."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from functools import cache

_log = logging.getLogger(__name__)
EVERY_S = 1.0
MEBIBYTE = 2**20


class ProcessSampler:
    """CPU, memory and GPU memory of one process, at most once in `EVERY_S`. A sample costs some 0.1 ms.

    MLflow's own monitor reads the whole host for every run, and all of its GPUs.
    """

    def __init__(self, pid: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins to count; the first sample is to be had `EVERY_S` from now.

        Args:
            pid: whose; this process's where it is left out.
            clock: seconds, from anywhere.
        """
        import psutil

        self._process = psutil.Process(pid or os.getpid())
        self._own = pid in (None, os.getpid())
        self._process.cpu_percent()  # the first call only starts the interval
        self._clock, self._at = clock, clock()

    def sample(self) -> dict[str, float]:
        """`system/cpu_percent` since the last sample (100 is one core), `system/memory_mb`, and, where this
        process uses a GPU, `system/gpu_memory_mb`. Empty when the last was taken just now, and when the
        process is gone."""
        import psutil

        if self._clock() - self._at < EVERY_S:
            return {}
        self._at = self._clock()
        try:
            with self._process.oneshot():
                used = {
                    "system/cpu_percent": float(self._process.cpu_percent()),
                    "system/memory_mb": self._process.memory_info().rss / MEBIBYTE,
                }
        except psutil.Error:
            return {}
        return used | (_gpu_usage() if self._own else {})


def _gpu_usage() -> dict[str, float]:
    torch = sys.modules.get("torch")  # where nothing imported it, no GPU is in use
    if torch is None or not torch.cuda.is_initialized():
        return {}
    used = {"system/gpu_memory_mb": torch.cuda.memory_allocated() / MEBIBYTE}
    try:
        return used | {"system/gpu_percent": float(torch.cuda.utilization())}
    except (
        Exception
    ) as error:  # no NVML, or one of its own errors (MIG has no such number): not worth a trial
        _note_no_percent(repr(error))
        return used


@cache
def _note_no_percent(why: str) -> None:
    _log.debug("how busy the GPU is cannot be read: %s", why)
