"""What a plain YAML scalar means: YAML 1.2's core schema, with everything ambiguous refused."""

from __future__ import annotations

import math
import re

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_NOT_DECIMAL = re.compile(r"[-+]?0(?:[xX][0-9a-fA-F_]+|[oO][0-7_]+|[bB][01_]+)")
_UNDERSCORES = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST_NUMBER = 64
_LARGEST_INTEGER = 2**63 - 1


class ScalarError(ValueError):
    """A number that is ambiguous, too large or not finite."""

    def __init__(self, must: str, found: str, do: str) -> None:
        self.must, self.found, self.do = must, found, do
        super().__init__(f"{must}; but got {found}; {do}")


def read_plain(text: str) -> str | int | float | bool | None:
    """The value of a scalar written without quotes."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "+-.0123456789":
        return text
    _refuse_ambiguous(text)
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _float(text)
    return text


def _refuse_ambiguous(text: str) -> None:
    shown = repr(text[:40])
    if _NOT_FINITE.fullmatch(text):
        raise ScalarError("a number must be finite", shown, "write a number")
    is_number = _INTEGER.fullmatch(text) or _FLOAT.fullmatch(text)
    if is_number and _LEADING_ZERO.match(text):
        raise ScalarError("a number must not begin with 0", shown, "delete the zeros, or quote text")
    if len(text) > _LONGEST_NUMBER:  # the patterns below would take quadratic time on long text
        if is_number:
            raise ScalarError(f"a number must have at most {_LONGEST_NUMBER} digits", shown, "shorten it")
        return
    if _UNDERSCORES.fullmatch(text):
        raise ScalarError("a number must be written without underscores", shown, "delete them, or quote text")
    if _NOT_DECIMAL.fullmatch(text):
        raise ScalarError("a number must be written in decimal", shown, "convert it, or quote text")


def _integer(text: str) -> int:
    value = int(text)
    if abs(value) > _LARGEST_INTEGER:
        raise ScalarError("a whole number must fit 64 bits", text, "write a smaller one")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ScalarError("a number must be finite", text, "write a smaller one")
    mantissa = re.split("[eE]", text)[0]
    if value == 0.0 and any(digit in mantissa for digit in "123456789"):
        raise ScalarError("a number must not vanish", text, "write 0 or a larger one")
    return value
