"""Numbers, sizes, times and values as people read them."""

from __future__ import annotations

import json
import math
import time

from search_spaces.values import plain_text
from trainers.types import Json, Params

MISSING = "-"
WRITTEN_OUT = 1e7  # numbers from here on are shown with an exponent


def number(value: Json, digits: int = 4) -> str:
    """A number with so many significant digits; other values as they are written in a sweep file."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _round(value, digits)
    return printable_text(_format_container(value))


def param_text(value: Json, digits: int = 4) -> str:
    """A parameter's value, its numbers rounded, so that values which are not the same read differently: `1`
    and `1.0`, `null` and a text that is `null`, which is quoted."""
    if isinstance(value, float):
        text = number(value, digits)
        return f"{text}.0" if text.lstrip("-").isdigit() else text
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_format_part(item, digits) for item in value)}]"
    if isinstance(value, dict):
        parts = (f"{printable_text(str(key))}: {_format_part(item, digits)}" for key, item in value.items())
        return f"{{{', '.join(parts)}}}"
    return printable_text(plain_text(value))


def _format_part(value: Json, digits: int) -> str:
    """What stands in a list: a text always in quotes, for it may hold a comma."""
    if isinstance(value, str):
        return printable_text(json.dumps(value, ensure_ascii=False))
    return param_text(value, digits)


def _format_container(value: Json) -> str:
    """A list or a mapping as a sweep file has it: [16, 32], {shift: 0.07}."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(number(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {number(item)}' for key, item in value.items())}}}"
    return str(value)


def _round(value: float, digits: int) -> str:
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if abs(value) < 1e-3 or abs(value) >= WRITTEN_OUT:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}"
    if abs(value) >= 10**digits and math.isfinite(value):
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def format_fact(name: str, value: float) -> str:
    """A trial's fact: counts and bytes whole, other numbers rounded."""
    return f"{value:,.0f}" if name == "parameters" or name.endswith("_bytes") else number(value)


def short_count(value: float | None) -> str:
    """A count in thousands, millions, billions and more: 1.2 M."""
    if value is None:
        return MISSING
    for limit, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{value / (1e3 if unit == ' k' else limit):.3g}{unit}"
    return f"{value:g}"


def size(value_bytes: float | None) -> str:
    """A size in KiB, MiB or GiB."""
    if value_bytes is None:
        return MISSING
    for limit, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value_bytes >= limit:
            return f"{value_bytes / limit:.3g} {unit}"
    return f"{value_bytes:g} B"


def joules(value: float | None) -> str:
    """An energy in J, kJ or MJ."""
    if value is None:
        return MISSING
    for limit, unit in ((1e6, "MJ"), (1e3, "kJ")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g} J"


def seconds(value_s: float | None) -> str:
    """A duration: 0.42 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if value_s is None:
        return MISSING
    if value_s < 10:
        return f"{value_s:.2g} s"
    whole = round(value_s)
    if whole < 60:
        return f"{whole} s"
    for unit, name, smaller, small_name in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name} {rest} {small_name}" if rest else f"{whole // unit} {name}"
    return f"{whole} s"


def age(at: float, now: float) -> str:
    """How long ago, in one unit: 5 s ago, 3 min ago, 2 d ago."""
    number_and_unit = seconds(max(0.0, now - at)).split(" ")[:2]
    return f"{' '.join(number_and_unit)} ago"


def printable_text(text: str) -> str:
    """The text with everything escaped that could move a terminal's cursor, colour it or turn it round."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def clock(at: float) -> str:
    """Local date and time, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def trials(n: int) -> str:
    """1 trial, 2 trials."""
    return f"{n} trial{'' if n == 1 else 's'}"


def params_line(values: Params) -> str:
    """Names and values in one line."""
    return "  ".join(f"{name}={param_text(value)}" for name, value in values.items())


def format_times(n: int) -> str:
    """once, twice, 3 times."""
    return {1: "once", 2: "twice"}.get(n, f"{n} times")
