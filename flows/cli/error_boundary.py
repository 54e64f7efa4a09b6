"""Where an exception becomes what a person reads and an exit status. Nothing heavy is imported here."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from flows.cli.output import document_stream, print_json
from infra.errors import Unavailable, VelodromeError
from infra.input_errors import as_wrong_input
from infra.secrets import redact
from trainers.types import JsonObject

INTERRUPTED = 130
TERMINATED = 143
PIPE_CLOSED = 141  # as a shell reports it for `yes | head`
DEFECT = 1
LABEL_WIDTH = 11
SEND_AGAIN_S = 0.05


class Terminated(BaseException):
    """SIGTERM: unwinds like Ctrl-C, and is told from it by its exit status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBlock:
    """What a person reads of an error."""

    title: str
    must: str
    found: str = ""
    do: str = ""
    log: str = ""

    def lines(self) -> list[str]:
        """The block's lines, each part after its label."""
        parts = (("must hold", self.must), ("found", self.found), ("do", self.do), ("log", self.log))
        return [
            f"velodrome: {self.title}",
            *(line for label, text in parts if text for line in _labelled_lines(label, text)),
        ]


def _labelled_lines(label: str, text: str) -> list[str]:
    first, *rest = text.splitlines() or [""]
    indent = " " * (LABEL_WIDTH + 2)
    return [f"  {label:<{LABEL_WIDTH}}{first}", *(indent + line for line in rest)]


def report_error(error: BaseException) -> int:
    """The exit status of an exception, and what is printed for it on stderr."""
    if isinstance(error, Terminated):
        return _print_ending("terminated", TERMINATED)
    if isinstance(error, KeyboardInterrupt):
        return _print_ending("interrupted", INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        _silence_stream(document_stream())
        return PIPE_CLOSED
    if isinstance(error, VelodromeError):
        _print_block(_error_block(error))
        return error.exit_code
    if known := _known_error(error):
        _print_block(_error_block(known))
        return known.exit_code
    _print_block(_defect_block(error))
    return DEFECT


@contextmanager
def error_document(wanted: bool) -> Iterator[None]:
    """Where a document is wanted on stdout, an error within is one too: what it came up in, and `error`."""
    try:
        yield
    except BaseException as error:  # an interrupt has a document too
        if wanted and not isinstance(error, BrokenPipeError):
            print_json(_ErrorDocument(error))
        raise


@dataclass(frozen=True, slots=True)
class _ErrorDocument:
    error: BaseException

    def to_json(self) -> JsonObject:
        """The document of what the error came up in, and the parts of its block."""
        error = _known_error(self.error) or self.error
        known = error if isinstance(error, VelodromeError) else None
        statuses = {Terminated: TERMINATED, KeyboardInterrupt: INTERRUPTED}
        status = known.exit_code if known else statuses.get(type(error), DEFECT)
        block = _error_block(known) if known else ErrorBlock(title="", must="", found=repr(error)[:300])
        parts = {"must": block.must, "found": block.found, "do": block.do, "log": block.log}
        told = {name: redact(text) or None for name, text in parts.items()}
        document: JsonObject = dict(known.document or {}) if known else {}
        return {**document, "error": {"exit_status": status, **told}}


def _known_error(error: BaseException) -> VelodromeError | None:
    """Errors that know no exit status of ours: a person's data, options or space, by the packages below, and
    the system's where the current folder is gone."""
    if isinstance(error, FileNotFoundError) and not _has_current_folder():
        return Unavailable(
            "the folder that a command runs in must stay while it runs",
            "it was removed",
            "go to one that is there; a job's sweep is carried on when it is submitted again",
        )
    return as_wrong_input(error)


def _has_current_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _error_block(error: VelodromeError) -> ErrorBlock:
    titles = {
        2: "wrong input",
        3: "refused",
        4: "not available",
        INTERRUPTED: "interrupted",
        TERMINATED: "terminated",
    }
    return ErrorBlock(
        title=titles.get(error.exit_code, "error"),
        must=error.must,
        found=error.found,
        do=error.do,
        log=error.log,
    )


def _defect_block(error: BaseException) -> ErrorBlock:
    text = redact("".join(traceback.format_exception(error)))
    sys.stderr.write(text)
    return ErrorBlock(
        title="a defect of Velodrome's, not of yours",
        must="no command may end like this",
        found=redact(f"{type(error).__name__}: {textwrap.shorten(str(error), 300)}"),
        do="please report it with the traceback above",
        log=_save_traceback(text),
    )


def _save_traceback(text: str) -> str:
    """Writes a traceback under the home's logs; empty where that cannot be done."""
    from infra.home import Home

    try:
        logs = Home.from_environment().logs
        path: Path = logs / f"defect-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{redact(' '.join(sys.argv))}\n\n{text}", encoding="utf-8")
    except OSError:
        return ""
    return str(path)


def _print_ending(text: str, status: int) -> int:
    _write_stderr(f"velodrome: {text}\n")
    return status


def _print_block(block: ErrorBlock) -> None:
    first, *rest = block.lines()
    red, plain = ("\x1b[31m", "\x1b[0m") if _has_colour() else ("", "")
    _write_stderr("\n".join([f"{red}{first}{plain}", *rest]) + "\n")


def _has_colour() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _write_stderr(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BrokenPipeError:
        _silence_stream(sys.stderr)


def _silence_stream(stream: TextIO) -> None:
    """Points a closed stream at nothing, so that the interpreter's last flush has nothing to complain of."""
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
    except (OSError, ValueError):
        return


def exit_now(status: int) -> NoReturn:
    """Ends this process without what it has put off until its end."""
    for stream in (document_stream(), sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(status)


def leave(status: int, *, is_program: bool = False) -> NoReturn:
    """Ends this process with that status: at once where a thread still waits for a run of lanes, under which
    the interpreter's end would close Ray, and Ray the process with status 1.

    Args:
        is_program: whether the process is the command's own. One that was interrupted ends at once, too:
            another signal while the interpreter ends would be its status.
    """
    runs = sys.modules.get("infra.driver.runs")
    is_interrupted = is_program and status in {INTERRUPTED, TERMINATED}
    if is_interrupted or (runs is not None and runs.is_any_run_alive()):
        exit_now(status)
    sys.exit(status)


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """SIGTERM unwinds the stack while this lasts. A command may set a handler of its own inside."""

    def unwind(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, unwind)
    except ValueError:  # not in the main thread: signals are somebody else's
        yield
        return
    hook = sys.unraisablehook
    sys.unraisablehook = lambda lost: _send_again(lost, hook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


def _send_again(lost: sys.UnraisableHookArgs, report: Callable[[sys.UnraisableHookArgs], object]) -> None:
    """A signal's exception that came up in a destructor or a weak reference's callback, where Python drops
    every exception: the signal is sent once more, a moment later."""
    number = {Terminated: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}.get(lost.exc_type)
    if number is None:
        report(lost)
        return
    hook = _Hook()
    try:
        threading.Thread(target=_send_after, args=(hook, number), daemon=True).start()
    finally:
        hook.left = True


class _Hook:
    """Whether the main thread has left the hook that asked for a signal: Python drops what comes up in there
    too. It is left by a bare assignment, after which Python looks for no signal before the hook's end."""

    left = False


def _send_after(hook: _Hook, number: signal.Signals) -> None:
    time.sleep(SEND_AGAIN_S)
    while not hook.left:
        time.sleep(SEND_AGAIN_S)
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, number)
