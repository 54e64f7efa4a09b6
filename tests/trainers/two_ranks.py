"""Two processes that train one attempt over gloo."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

TIMEOUT_S = 800.0  # two cores may be shared with much else; pytest ends a test after 900
Body = Callable[[int], Any]


def run_on_both_ranks(body: Body) -> dict[int, Any]:
    """What a function of the rank returns on each of two ranks; no process is left behind."""
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["tests.trainers.tiny"])  # torch is imported once, not per rank
    with tempfile.TemporaryDirectory() as folder:
        results = spawn.Queue()
        processes = [
            spawn.Process(target=_process, args=(body, rank, str(Path(folder) / "meet"), results))
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        try:
            found = dict(results.get(timeout=TIMEOUT_S) for _ in processes)
            assert not [error for error in found.values() if isinstance(error, str)], found
            return found
        finally:
            for process in processes:
                process.join(10)
                process.kill()


def _process(body: Body, rank: int, rendezvous: str, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    try:
        results.put((rank, body(rank)))
    except Exception:  # told to the test, which would else wait for its whole time
        results.put((rank, traceback.format_exc()))
    finally:
        dist.destroy_process_group()
