"""The process that trains while Ray and its lanes come up: one lane with its coordinator beside it.

Its orders come through its standard input, and so do two words later: that it is to leave, or to stop. It
imports what training needs before they come. Where that input ends its driver has ended: it ends at once,
whatever it is about, as a lane does whose coordinator is gone.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, TypeAlias

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import LaneHandshake
from infra.head_start.local_line import LocalLine
from infra.head_start.orders import EXIT_HANDED_OVER, EXITS_BY_STATE, LEAVE, HeadStartOrders
from infra.lanes.lane_process import EXIT_ALONE, end_process, prepare_process
from infra.lanes.worker import LaneLoop
from infra.ledger.liveness import process_started_at
from infra.ledger.store import Ledger
from trainers.storage.machine import machine_id
from trainers.types import Ranks

Inbox: TypeAlias = "SimpleQueue[Any]"  # the orders, then commands
BEAT_S = 0.5  # more often than a lane: what it is to leave is not held up for long
LOG = "head-start.log"
# What a first trial imports, in the order in which it does: seconds, most of which pass before orders come.
# torch loads its compiler with the first optimizer, whether or not anything is compiled.
AHEAD = (
    "torch", "trainers.loop.training", "trainers.data.sources.opening", "trainers.data.assembly.assemble",
    "infra.lanes.attempt_models", "optuna", "torch._dynamo",
)  # fmt: skip
LATER = "scipy.stats"  # for the second question to a sampler


def main() -> None:
    """Waits for orders, follows them, and ends with a status that says how the sweep stands."""
    for number in (signal.SIGINT, signal.SIGTERM):  # of a terminal's whole group: the driver's to answer
        signal.signal(number, signal.SIG_IGN)
    inbox: Inbox = SimpleQueue()
    commands = os.fdopen(os.dup(0), "rb")
    threading.Thread(target=_listen, args=(commands, inbox), daemon=True, name="velodrome-driver").start()
    for name in AHEAD:
        importlib.import_module(name)
    if inbox.empty():  # it would only wait
        importlib.import_module(LATER)
    orders: HeadStartOrders = inbox.get()
    _log_to(Path(orders.settings.logs))
    try:
        state = run(orders, inbox)
    except Exception:  # the end of this process: the driver goes on without it, the log says why
        traceback.print_exc()
        end_process(EXIT_ALONE, "training could not begin")
    os._exit(EXITS_BY_STATE.get(state, EXIT_HANDED_OVER))  # a thread still waits for the driver's words


def run(orders: HeadStartOrders, inbox: Inbox) -> str:
    """Trains until it is told to leave, or nothing is left; gives the sweep's state."""
    settings = orders.settings
    prepare_process(settings)
    ledger = Ledger(orders.ledger_url)
    core = Coordinator(
        ledger,
        orders.sweep_id,
        epoch=ledger.raise_epoch(orders.sweep_id, orders.token),
        role=orders.role,
        lanes=orders.lanes,
        resources=orders.resources,
    )
    line = LocalLine(core, _make_handshake(orders), orders.tracking, Path(settings.storage))
    threading.Thread(target=_follow, args=(inbox, line), daemon=True, name="velodrome-words").start()
    loop = LaneLoop(settings, Ranks(), line, beat_s=BEAT_S)
    line.register_lane()
    line.start_clock()
    loop.run_attempts()
    return line.conclude()


def _make_handshake(orders: HeadStartOrders) -> LaneHandshake:
    pid, resources = os.getpid(), orders.settings.resources
    return LaneHandshake(
        lane=f"{orders.settings.run}-0", shape=orders.settings.shape, host=socket.gethostname(), pid=pid,
        pid_started_at=process_started_at(pid) or 0.0, machine=machine_id(),
        facts={"workers": 1, "cpus": resources.cpus, "gpus": 0.0, "gpu": ""},
    )  # fmt: skip


def _listen(commands: BinaryIO, inbox: Inbox) -> None:
    """Takes what the driver says, by a pipe from its own process, until there is no driver any more."""
    with commands, suppress(EOFError, OSError):
        while True:
            inbox.put(pickle.load(commands))
    end_process(EXIT_ALONE, "the driver is gone")


def _follow(inbox: Inbox, line: LocalLine) -> None:
    while True:
        word, why = inbox.get()
        if word == LEAVE:
            line.leave()
        else:
            line.stop(why)


def _log_to(folder: Path) -> None:
    """What this process says, and Velodrome's log lines from here, in a file among the sweep's."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # an interpreter's own


if __name__ == "__main__":
    main()
