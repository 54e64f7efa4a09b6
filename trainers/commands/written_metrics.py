"""A command's metrics in a file that grows, or that is written anew again and again."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from trainers.commands.metrics import LineSplitter, read_number
from trainers.errors import TrialError
from trainers.metric_names import full_name
from trainers.nearest import advice

Row = dict[str, float]
_TAIL_BYTES = 64  # before the place that was read last, by which a file that was written anew is told
_DELIMITERS = (",", ";", "\t")
_TEXT = re.compile(r'"(?:[^"]|"")*"')


class WrittenMetrics:
    """The rows of a file: an object a line, or CSV with a header.

    Many scripts write the whole file at each epoch, as pandas' `to_csv` and Lightning's `CSVLogger` do, which
    adds columns as they come: rows that were read before are then passed over.

    Attributes:
        names: of all numbers that were found.
    """

    def __init__(self, path: Path, *, resumed: bool) -> None:
        """What is there already was read by an earlier attempt; a command that begins again writes anew."""
        self._path = path
        self.names: set[str] = set()
        self._rows: list[Row] = []  # all that were found so far
        self._at, self._place, self._tail = 0, 0, b""
        self._lines, self._table = LineSplitter(), _Table()
        if not resumed:
            path.unlink(missing_ok=True)
        for _ in self._read(torn=True):  # the kill may have cut a line off
            pass
        self._lines = LineSplitter()

    def read_new(self, *, ended: bool = False) -> Iterator[Row]:
        """The numbers of each line that came since.

        Args:
            ended: nothing more comes: a last line without an end counts.

        Raises:
            TrialError: a line is no JSON.
        """
        for values in self._read(ended=ended):
            self.names |= values.keys()
            yield values

    def _read(self, *, ended: bool = False, torn: bool = False) -> Iterator[Row]:
        data = b""
        with suppress(FileNotFoundError), self._path.open("rb") as file:  # not begun yet
            file.seek(max(0, self._at - len(self._tail)))
            if file.read(len(self._tail)) != self._tail:
                self._begin_anew()
            file.seek(self._at)
            data = file.read()
        self._at += len(data)
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        for line in [*self._lines.feed(data), *(self._lines.flush() if ended else [])]:
            text = line.removeprefix("\ufeff")
            if text.strip() and (values := self._read_line(text, torn)) and self._is_new(values):
                yield values

    def explain_missing(self, goals: Iterable[str]) -> tuple[str, str]:
        """What the file has in place of the metrics that a trial is judged by, and what to do."""
        name = self._path.name
        if not self._path.exists():
            return (
                f"no {name} there",
                "have the command write it below ${directory}, which it has to be given",
            )
        if not self.names:
            return f"no numbers by name in {name}", "write one object a line, or CSV with a header"
        known = {full_name(found): found for found in sorted(self.names)}
        missing = next((goal for goal in goals if goal not in known), "any")
        do = advice(missing.removeprefix("val/"), known.values(), "name one of its own in the objective:")
        return f"{name} without {missing.removeprefix('val/')}", do

    def _begin_anew(self) -> None:
        self._at, self._place, self._tail = 0, 0, b""
        self._lines, self._table = LineSplitter(), _Table()

    def _is_new(self, values: Row) -> bool:
        """Whether the row is not the one that an earlier reading of the file found in this place."""
        known = self._rows[self._place : self._place + 1]
        if not known or any(repr(values.get(name)) != repr(value) for name, value in known[0].items()):
            self._rows[self._place :] = [values]
            known = []
        self._place += 1
        return not known

    def _read_line(self, line: str, torn: bool) -> Row:
        if self._path.suffix == ".csv":
            return self._table.read(line)
        try:
            found = json.loads(line)
        except ValueError as error:
            if torn:
                return {}
            do = "write one object a line, or metrics.csv"
            raise TrialError(f"{self._path.name} must hold JSON lines", line[:200], do) from error
        return _numbers(_flatten(found)) if isinstance(found, dict) else {}


class _Table:
    """Lines of CSV. The header is the first line that is no comment, or, as NumPy's `savetxt` writes it, the
    last comment before the numbers."""

    def __init__(self) -> None:
        self._comment = ""
        self._columns: list[str] | None = None
        self._delimiter = ","

    def read(self, line: str) -> Row:
        """Its numbers; of the header none."""
        if line.startswith("#"):
            self._comment = line.lstrip("# ")
            return {}
        if self._columns is None:
            first = line
            if self._comment and _are_numbers(_cells(line, _delimiter_of(line))):
                first = self._comment
            self._delimiter = _delimiter_of(first)
            self._columns = _cells(first, self._delimiter)
            if first is line:
                return {}
        cells = _cells(line, self._delimiter)
        if self._delimiter == ";":  # where the comma is a decimal one
            cells = [cell.replace(",", ".") for cell in cells]
        return _numbers(zip(self._columns, cells, strict=False))


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter))


def _delimiter_of(line: str) -> str:
    """The one that cuts a header into most columns."""
    unquoted = _TEXT.sub("", line)
    return max(_DELIMITERS, key=unquoted.count)


def _are_numbers(cells: Iterable[str]) -> bool:
    return all(_numbers([("cell", cell)]) for cell in cells)


def _flatten(values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """`{"val": {"acc": 0.5}}` is val/acc."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{inner}", found) for inner, found in _flatten(value))
        else:
            yield name, value


def _numbers(values: Iterable[tuple[str, object]]) -> Row:
    """The fields that are numbers, as texts too; an empty cell and a word are none."""
    found = {}
    for name, value in values:
        if name.strip() and isinstance(value, (int, float, str)) and not isinstance(value, bool):
            with suppress(ValueError, OverflowError):
                found[name.strip()] = read_number(value) if isinstance(value, str) else float(value)
    return found
