"""A command's metrics: found in the lines that it prints."""

from __future__ import annotations

import re
from collections.abc import Mapping

from trainers.errors import TrialError

_LONGEST = 1 << 20  # bytes of a line without an end
# Colours and movements of the cursor (ECMA-48), titles, and what a progress bar takes back.
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]|\x08")
_EXPONENT = re.compile(r"[eE][-+]?\d+(?!\w)")
_THOUSANDS = re.compile(r"(?:,\d{3})+\.\d+")
_NOT_FINITE = re.compile(r"(?<![a-z])[-+]?(?:nan|inf(?:inity)?)(?![a-z])", re.IGNORECASE)
# As NumPy 2 and torch show a number: np.float64(0.5), tensor(0.5, device='cuda:0').
_WRAPPED = re.compile(r"[\w.]+\(([^(),]+)(?:,[^()]*)?\)?")
_GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")


def plain_text(line: str) -> str:
    """A line as a person reads it, without what it says to a terminal."""
    return _TERMINAL.sub("", line)


class LineSplitter:
    """Cuts bytes into lines; a carriage return, as of a progress bar, ends one too, and stays at its end: the
    next one is drawn over it."""

    def __init__(self) -> None:
        """Nothing is held."""
        self._held = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole now."""
        *cut, self._held = re.split(rb"(\r\n|\n|\r(?!\Z))", self._held + data)
        ends = zip(cut[::2], cut[1::2], strict=True)
        whole = [line + end if end == b"\r" else line for line, end in ends]
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
                found[name] = read_number(_whole_number(match).rstrip(".,;%"))
            except ValueError as error:
                do = "correct the expression under metrics, so that its first group is the number alone"
                shown = f"{match.group(1)!r} in {line[:200]!r}"
                raise TrialError(f"what is found for {name} must be a number", shown, do) from error
        return found


def read_number(text: str) -> float:
    """A number as scripts write it: with what NumPy and torch put around a scalar, a percent sign, or a
    typographic minus.
    """
    text = text.strip().replace("\u2212", "-").removesuffix("%").rstrip()
    wrapped = _WRAPPED.fullmatch(text)
    return float(wrapped.group(1) if wrapped else text)


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
