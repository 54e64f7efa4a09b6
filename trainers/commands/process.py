"""A command and all that it starts: they live no longer than the trial, and no longer than this process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Self

from trainers.errors import InputError

_GRACE_S = 5.0
_KILLS = 10  # rounds, for what forks while it is killed
_DRAIN_S = 1.0  # for output that a background child may still hold open
# The command waits for a word before it begins, so that it never runs unguarded.
_BEGIN = 'read -r _ || exit 125; exec "$0" "$@" </dev/null'
_CALL = "VELODROME_CALL"  # in the environment of all that a command starts, whatever session it makes
# Waits for a word from this process; the end of the pipe without one says that this process is gone, however
# it was killed. It is nobody's child, so that whoever ends this process's children does not end it.
_GUARD = """exec 3<&0
send() {
  kill -s "$1" -- "-$0"
  for place in $(grep -ls "$mark" /proc/[0-9]*/environ); do
    place=${place#/proc/}; kill -s "$1" "${place%/environ}"
  done
}
mark=$1
{ read -r _ <&3 || { send TERM; sleep 5; send KILL; send KILL; }; } </dev/null >/dev/null 2>&1 &
"""


class GuardedProcess:
    """A running command. Its standard error goes where its output goes."""

    def __init__(self, words: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        """Starts it.

        Raises:
            InputError: there is no such program.
        """
        _check_program(words[0], folder, environment)
        call = uuid.uuid4().hex
        self._mark = f"{_CALL}={call}".encode()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _BEGIN, *words], cwd=folder, env={**environment, _CALL: call},
            start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(self._process.pid), self._mark.decode()], stdin=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        self._guard.wait()
        self._output: Queue[bytes | None] = Queue(maxsize=64)
        self._closed = False
        self._reader = threading.Thread(target=self._read, daemon=True, name="velodrome-command-output")
        self._reader.start()
        self._say(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._say(self._guard)
        while self._reader.is_alive():
            with suppress(Empty):
                self._output.get(timeout=_DRAIN_S)
                continue
            break

    @property
    def status(self) -> int | None:
        """How it ended: 0 or more, minus a signal; None while it runs."""
        return self._process.poll()

    def read_output(self, timeout_s: float) -> bytes | None:
        """What it printed next; empty where nothing came in time, None once it has ended and all is read."""
        if self._closed:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
                return None
            return b""
        had_ended = self.status is not None
        try:
            found = self._output.get(timeout=_DRAIN_S if had_ended else timeout_s)
        except Empty:
            return None if had_ended else b""
        self._closed = found is None
        return b"" if found is None else found

    def end(self) -> None:
        """SIGTERM to all that it started, and after some seconds SIGKILL to what is left of it."""
        ran = self.status is None
        left = self._signal(signal.SIGTERM)
        until = time.monotonic() + _GRACE_S
        while (self.status is None or (left and self._elsewhere())) and time.monotonic() < until:
            with suppress(Empty):
                self._output.get(timeout=0.02)  # a full pipe would keep it from ending
        self._signal_group(signal.SIGKILL)
        for _ in range(_KILLS if ran or left else 0):
            if not self._signal(signal.SIGKILL):
                break
        self._process.wait()

    def _signal(self, number: signal.Signals) -> list[int]:
        """Signals its group, and what has left the group, which is returned."""
        self._signal_group(number)
        elsewhere = self._elsewhere()
        for pid in elsewhere:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        return elsewhere

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # the group is gone
            os.killpg(self._process.pid, number)

    def _elsewhere(self) -> list[int]:
        """Processes that it started and that made a session or a group of their own: daemons, torchrun's
        workers. Only where the system shows environments (Linux)."""
        found = []
        for place in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # ended meanwhile, or another user's
                pid = int(place.parent.name)
                if self._mark in place.read_bytes() and os.getpgid(pid) != self._process.pid:
                    found.append(pid)
        return found

    def _read(self) -> None:
        output = self._process.stdout
        assert output is not None
        with output, suppress(OSError, ValueError):
            while data := os.read(output.fileno(), 1 << 16):
                self._output.put(data)
        self._output.put(None)

    @staticmethod
    def _say(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(b"\n")
            process.stdin.close()


def _check_program(program: str, folder: Path, environment: Mapping[str, str]) -> None:
    place = str(folder / program) if "/" in program else program
    if shutil.which(place, path=environment.get("PATH")) is not None:
        return
    do = "correct the name, or name its path"
    if (folder / program).is_file():
        do = (
            f"write ./{program}"
            if "/" not in program
            else f"call chmod +x {program}, or write bash {program}"
        )
    raise InputError("command must begin with a program that is there", program, do, key=("command",))
