"""A command's metrics: found in the lines that it prints, or in a file that grows."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from trainers.errors import TrialError

_LONGEST = 1 << 20  # bytes of a line without an end
# Colours and movements of the cursor (ECMA-48), titles, and what a progress bar takes back.
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]|\x08")
_EXPONENT = re.compile(r"[eE][-+]?\d+(?!\w)")
_THOUSANDS = re.compile(r"(?:,\d{3})+\.\d+")
_NOT_FINITE = re.compile(r"(?<![a-z])[-+]?(?:nan|inf(?:inity)?)(?![a-z])", re.IGNORECASE)
_GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")


def plain_text(line: str) -> str:
    """A line as a person reads it, without what it says to a terminal."""
    return _TERMINAL.sub("", line)


class LineSplitter:
    """Cuts bytes into lines; a carriage return, as of a progress bar, ends one too."""

    def __init__(self) -> None:
        """Nothing is held."""
        self._held = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole now."""
        *whole, self._held = re.split(rb"\r\n|\n|\r(?!\Z)", self._held + data)
        if len(self._held) > _LONGEST:
            whole.append(self._held)
            self._held = b""
        return [line.decode(errors="replace") for line in whole]

    def flush(self) -> list[str]:
        """The last line, where it has no end."""
        held, self._held = self._held.strip(), b""
        return [held.decode(errors="replace")] if held else []


class PrintedMetrics:
    """Metrics by regular expressions; the first group is the number."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        """Compiles them."""
        self._patterns = {name: re.compile(pattern) for name, pattern in patterns.items()}

    def read(self, line: str) -> dict[str, float]:
        """What a line says.

        Raises:
            TrialError: a group holds no number.
        """
        found = {}
        for name, pattern in self._patterns.items():
            if (not_finite := _find_not_finite(pattern, line)) is not None:
                found[name] = not_finite
                continue
            match = pattern.search(line)
            if match is None or match.group(1) is None:
                continue
            try:
                found[name] = float(_whole_number(match).rstrip(".,;%"))
            except ValueError as error:
                do = "correct the expression under metrics, so that its first group is the number alone"
                shown = f"{match.group(1)!r} in {line[:200]!r}"
                raise TrialError(f"what is found for {name} must be a number", shown, do) from error
        return found


def _find_not_finite(pattern: re.Pattern[str], line: str) -> float | None:
    """The nan or inf that stands where the expression finds its number in other lines: `acc=([0-9.]+)` would
    pass over `acc=nan`, and over all that a diverged command says."""
    words = list(_NOT_FINITE.finditer(line))
    for number in ("0.0", "0") if words else ():
        match, moved = pattern.search(_NOT_FINITE.sub(number, line)), 0
        for word in words if match else ():
            if match and match.start(1) == word.start() + moved:
                return float(word.group())
            moved += len(number) - len(word.group())
    return None


def _whole_number(match: re.Match[str]) -> str:
    """The first group, and the rest of its number where the expression stops within it: `[0-9.]+` would make
    1.2 of 1.2e-05, and 1 of 1,034.5."""
    text, rest = match.group(1), match.string[match.end(1) :]
    if text[-1:].isdigit() or text[-1:] == ".":
        if exponent := _EXPONENT.match(rest):
            text += exponent.group()
        elif match.end() == match.end(1) and (digits := _THOUSANDS.match(rest)):
            text += digits.group()
    return text.replace(",", "") if _GROUPED.fullmatch(text) else text


class WrittenMetrics:
    """Metrics in a file that grows: an object a line, or CSV with a header."""

    def __init__(self, path: Path, *, resumed: bool) -> None:
        """What is there already was read by an earlier attempt; a command that begins again writes anew."""
        self._path, self._at = path, 0
        self._lines = LineSplitter()
        self._columns: list[str] | None = None
        if resumed and path.is_file():
            self._columns = _columns_of(path)
            self._at = path.stat().st_size
        else:
            path.unlink(missing_ok=True)

    def read_new(self, *, ended: bool = False) -> Iterator[dict[str, float]]:
        """The numbers of each line that came since.

        Args:
            ended: nothing more comes: a last line without an end counts.
        """
        data = b""
        with suppress(FileNotFoundError):  # not begun yet
            if self._path.stat().st_size < self._at:
                self._at, self._columns, self._lines = 0, None, LineSplitter()
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
                self._at += len(data)
        for line in [*self._lines.feed(data), *(self._lines.flush() if ended else [])]:
            if line.strip() and (values := self._read_line(line)):
                yield values

    def _read_line(self, line: str) -> dict[str, float]:
        if self._path.suffix == ".csv":
            cells = next(csv.reader([line]))
            if self._columns is None:
                self._columns = cells
                return {}
            return _numbers(dict(zip(self._columns, cells, strict=False)), texts=True)
        try:
            found = json.loads(line)
        except ValueError as error:
            do = "write one object a line, or metrics.csv"
            raise TrialError(f"{self._path.name} must hold JSON lines", line[:200], do) from error
        return _numbers(found) if isinstance(found, dict) else {}


def _columns_of(path: Path) -> list[str] | None:
    with path.open(newline="", errors="replace") as file:
        return next(csv.reader(file), None) if path.suffix == ".csv" else None


def _numbers(values: Mapping[str, object], *, texts: bool = False) -> dict[str, float]:
    """The fields that are numbers, in CSV as texts too; an empty cell and a word are none."""
    found = {}
    for name, value in values.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name.strip() and (is_number or (texts and isinstance(value, str))):
            with suppress(ValueError, OverflowError):
                found[name.strip()] = float(value)  # type: ignore[arg-type]
    return found
