"""Where commands write: a document or tables on stdout, everything else on stderr.

What people's own code prints while its module is imported, or at the interpreter's end, is no part of a
document: where one is wanted the process's stdout leads to stderr, and documents go where it led before.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from flows.terminal.json_results import Result
    from flows.terminal.shown_result import ShownResult

WIDE_COLUMNS = 160  # of a file or a pipe
JSON = "--json"
_ASKS_FOR_DOCUMENT = frozenset({JSON, "--csv", "--latex"})

Command = TypeVar("Command", bound="Callable[..., None]")
Printed = TypeVar("Printed", bound="Result")


def option(spelling: str, help: str, **rules: Any) -> Any:
    """An option as `--help` spells it: its names, then what stands for its value, as in `--out -o FILE`.

    Args:
        help: what it says of itself.
        rules: what `typer.Option` knows besides.
    """
    names = [word for word in spelling.split() if word.startswith("-")]
    value = spelling.removeprefix(" ".join(names)).strip() or None
    return typer.Option(*names, metavar=value, help=help, **rules)


def argument(spelling: str, help: str) -> Any:
    """An argument by what stands for it in `--help`."""
    return typer.Argument(metavar=spelling, help=help)


Name = Annotated[str, argument("NAME", "A sweep's name (digits, digits@2) or its file.")]
Json = Annotated[bool, option(JSON, "One JSON document on stdout.")]
Family = Annotated[str | None, option("--family F", "One of the sweep's families.")]

AcceptCodeChange = Annotated[
    bool, option("--accept-code-change", "Carry on though a family's source changed; recorded.")
]


def example(text: str) -> Callable[[Command], Command]:
    """Gives a command the example that ends its `--help`."""

    def set_example(command: Command) -> Command:
        command.example = f"Example: {text}"  # type: ignore[attr-defined]
        return command

    return set_example


_documents: TextIO | None = None  # where documents go; None: to stdout


def open_closed_streams() -> None:
    """Has the three standard streams lead nowhere where they are closed: what writes to them need not ask,
    and no file that is opened later takes the place of one."""
    for place in range(3):
        try:
            os.fstat(place)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest place that is free
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # for as long as this process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def keep_stdout_for_documents(words: Sequence[str]) -> None:
    """Where these words of a command line ask for a document, whatever else is written to stdout from now on,
    by this process or one that it starts, is on stderr."""
    global _documents
    if not _ASKS_FOR_DOCUMENT.intersection(words) or not {"-h", "--help"}.isdisjoint(words):
        return
    out = sys.stdout
    if _documents is None and isinstance(out, TextIOWrapper) and _is_place(out, 1):
        out.flush()
        _documents = os.fdopen(os.dup(1), "w", encoding=out.encoding, errors=out.errors)
        os.dup2(2, 1)


def _is_place(stream: TextIO, place: int) -> bool:
    try:
        return stream.fileno() == place
    except (OSError, ValueError):  # a stream of a test or a notebook
        return False


def document_stream() -> TextIO:
    """Where a document is written."""
    return _documents or sys.stdout


def stdout_console() -> Console:
    """A console on stdout; without a terminal it neither colours nor cuts lines short."""
    return _make_console(sys.stdout)


def stderr_console() -> Console:
    """A console on stderr."""
    return _make_console(sys.stderr)


def show_busy(text: str) -> AbstractContextManager[object]:
    """A sign of life on a terminal, while work of seconds goes on that writes nothing itself."""
    return stderr_console().status(text)


def _make_console(stream: TextIO) -> Console:
    from flows.terminal.console import PatientConsole

    wide = None if stream.isatty() or "COLUMNS" in os.environ else WIDE_COLUMNS
    return PatientConsole(file=stream, highlight=False, markup=False, emoji=False, width=wide)


def print_json(result: Result) -> None:
    """Prints the result's document on stdout."""
    from flows.terminal.json_results import json_document

    document_stream().write(json_document(result) + "\n")


def print_result(result: Printed, screen: Callable[[Console, Printed], None], *, json: bool) -> None:
    """Prints the result's document on stdout, or its screen."""
    if json:
        print_json(result)
    else:
        screen(stdout_console(), result)


def print_shown(result: ShownResult, *, json: bool) -> None:
    """The same of a result that knows its screen."""
    from flows.terminal.shown_result import print_on_screen

    print_result(result, print_on_screen, json=json)


def print_note(text: str) -> None:
    """A line on stderr."""
    sys.stderr.write(f"{text}\n")


def print_output(text: str) -> None:
    """A piece of another command's output, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_output_aside(text: str) -> None:
    """The same on stderr, where stdout is a document's."""
    sys.stderr.write(text)
    sys.stderr.flush()
