"""Waits on a machine that has more to do than processors: a process there starts so many times as slowly."""

from __future__ import annotations

import os


def stretch_limit(limit_s: float) -> float:
    """The limit for the start of a process, s, times the programs that want a processor for each processor
    there is (the load of the last minute, `man 5 proc_loadavg`), where these are more than one."""
    return limit_s * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
