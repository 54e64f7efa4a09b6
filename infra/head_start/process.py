"""The driver's side of a process that trains while Ray and its lanes come up."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import infra
from infra.head_start.orders import EXITS_BY_STATE, LEAVE, HeadStartOrders
from infra.lanes.lane_process import EXIT_ALONE, EXIT_FENCED
from infra.spec import Resources

SWITCH = "VELODROME_HEAD_START"  # 0: training waits for the lanes
STOP_LIMIT_S = 10.0
_BEGIN = "import sys; sys.path.append({root!r}); from infra.head_start.main import main; main()"


def may_spawn() -> bool:
    """Whether this process may have such a one: an interpreter is known, and nobody said no."""
    return bool(sys.executable) and os.environ.get(SWITCH, "1") != "0"


class HeadStart:
    """One process: begun before it is known whether it has something to do, since it loads for seconds."""

    def __init__(self) -> None:
        """Starts the process, which loads what training needs and waits for its orders.

        It hears nothing of a terminal's signals, and ends with this one: its input ends then.
        """
        program = _BEGIN.format(root=str(Path(infra.__file__).parents[1]))
        self._process = subprocess.Popen(
            # Without the current folder, which may hold anything.
            [sys.executable, "-P", "-c", program],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"OMP_NUM_THREADS": "1", **os.environ}, start_new_session=True,
        )  # fmt: skip
        self._has_orders = self._was_killed = False
        self._left = False
        self.stopping: str | None = None
        self.demand: Mapping[str, tuple[Resources, int]] = {}

    @property
    def is_at_work(self) -> bool:
        """Whether it has orders and has not ended."""
        return self._has_orders and self._process.poll() is None

    @property
    def state(self) -> str | None:
        """The sweep's state, where it came to its end there; None where others go on with it."""
        if self._was_killed:
            return "stopped" if self.stopping is not None else None
        status = self._process.poll()
        return next((state for state, exit_ in EXITS_BY_STATE.items() if exit_ == status), None)

    @property
    def is_to_blame(self) -> bool:
        """Whether the end of the process is charged to what it trained, as a lane's is: not where we ended
        it, and not where it gave up for its ledger."""
        return not self._was_killed and self._process.poll() not in {EXIT_ALONE, EXIT_FENCED}

    def begin(self, orders: HeadStartOrders, demand: Mapping[str, tuple[Resources, int]]) -> None:
        """Lets it train; `demand` as `find_demand` has it."""
        self._has_orders, self.demand = True, demand
        self._send(orders)

    def leave(self) -> None:
        """Tells it that lanes are there."""
        if not self._left:
            self._left = True
            self._send((LEAVE, ""))

    def stop(self, why: str) -> None:
        """Tells it to stop with a checkpoint."""
        if self.stopping is None:
            self.stopping = why
            self._send(("stop", why))

    def kill(self) -> None:
        """Ends it at once."""
        if self._process.poll() is None:
            self._was_killed = True
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel ends it once it can
            self._process.wait(STOP_LIMIT_S)
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]  # it is a pipe

    def close(self) -> None:
        """Ends it: with a checkpoint, if that does not take long."""
        if self.is_at_work:
            self.stop("its driver ends")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_LIMIT_S)
        self.kill()

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it has ended: whoever asks how will hear so
            pipe = self._process.stdin
            assert pipe is not None
            pickle.dump(message, pipe)
            pipe.flush()


@contextmanager
def spare_process(wanted: bool) -> Iterator[HeadStart | None]:
    """A process that is there within the block, if one may be; it ends with the block."""
    if not (wanted and may_spawn()):
        yield None
        return
    made = HeadStart()
    try:
        yield made
    finally:
        made.close()
