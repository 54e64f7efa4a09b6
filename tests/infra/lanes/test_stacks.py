"""Where a thread stands, said of one that sleeps and of one that waits for another rank."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from infra.lanes.watchdog import ThreadLocation, locate_thread


def found_in(work: Callable[[], object], holds: Callable[[ThreadLocation], bool]) -> ThreadLocation:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert thread.ident is not None
    deadline = time.monotonic() + 5
    while not holds(found := locate_thread(thread.ident)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def test_stack_of_sleeping_thread_names_its_function() -> None:
    def stuck() -> None:
        time.sleep(6)

    found = found_in(stuck, lambda place: place.text.startswith("stuck"))
    assert found.text.startswith("stuck (test_stacks.py:")
    assert not found.waits


def test_stack_of_thread_waiting_for_a_rank_is_marked_waiting(tmp_path: Path) -> None:
    import torch.distributed as dist

    store = dist.FileStore(str(tmp_path / "store"), 2)

    def waiting() -> None:
        try:
            dist.init_process_group("gloo", store=store, rank=0, world_size=2, timeout=timedelta(seconds=6))
        except RuntimeError:
            return

    found = found_in(waiting, lambda place: place.waits)
    assert found.waits
    assert found.text.startswith("waiting (test_stacks.py:")


def test_stack_of_ended_thread_is_reported_as_ended() -> None:
    assert locate_thread(1).text == "a thread that has ended"
