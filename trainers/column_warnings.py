"""What may be wrong with a column, by its values: each warning says what to write. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from trainers.data.cell_values import are_yes_and_no, find_alike
from trainers.data.column_readings import NEARLY_ALL
from trainers.data.number_spellings import find_spelling, is_currency, is_limit, other_words
from trainers.data.tables import EXCELS_1970
from trainers.types import Cell
from trainers.wording import count_of

LIMITS = "write a number for each, as half of it, and a column that says so"
MANY_ROWS = 30  # fewer say nothing of a column
SAMPLE = 2000
MANY_TIMES = 3
MANY_VALUES = 10
LONG_NUMBER = 1e7  # whole numbers of so many digits, all different, name something
_MARKS = (1.0, *(10.0**digits - 1 for digits in range(1, 8)))  # -1, -9, 999, …, that mean "missing"
# words, from, to (1980 to 2050), seconds of one, and which of them began 1970
_COUNTED_TIMES = (
    ("days as Excel counts them", 29_221, 54_788, 86_400.0, EXCELS_1970),
    ("seconds since 1970", 315_532_800, 2_524_607_999, 1.0, 0),
    ("milliseconds since 1970", 315_532_800_000, 2_524_607_999_999, 0.001, 0),
)
_NAMING = frozenset(
    ("zip", "zipcode", "postcode", "postal", "plz", "phone", "telephone", "tel", "mobile", "fax", "isbn",
     "ean", "gtin", "upc", "sku", "iban", "ssn", "id", "code", "uuid")
)  # fmt: skip
_DATE = re.compile(r"(?=.*\d)[\w.,/: -]{3,30}")
_ORDERS = (
    "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y.%m.%d", "%d.%m.%y", "%m/%d/%y",
    "%d/%m/%y", "%d-%m-%y", "%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p", "%Y-%m", "%m/%Y", "%d-%b-%Y",
    "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %Y", "%B %Y", "%b-%y",
    "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S",
    "%d.%m.%Y %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p",
)  # fmt: skip
_QUANTITY = re.compile(r"(\D?)\s*[+-]?\d[\d.,]*\s*([A-Za-zµ%°²³]{0,4})")
_UNITS = frozenset(
    ("", "k", "K", "M", "B", "G", "T", "bn", "kB", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "mg", "g",
     "kg", "t", "lb", "lbs", "oz", "mm", "cm", "m", "km", "in", "ft", "mi", "ml", "cl", "l", "L", "ms", "s",
     "min", "h", "d", "Hz", "kHz", "MHz", "GHz", "W", "kW", "MW", "%", "°C", "°F", "C", "F")
)  # fmt: skip
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
_MONTH_BY_NAME = re.compile(r"\d{1,2}\.? (?:de )?([^\W\d_]{3,12})\.?,? (?:de )?\d{4}(?: .*)?")
_SHAPES = {
    r"\d{4}[ -]?(Q[1-4]|W\d{1,2})": "quarters or weeks, whose order is not seen: write their first day",
    r"([+-]?\d+ )?\d+/\d+": "fractions or scores: write them as decimals, or as two columns",
    r"(\d+ days? )?\d+:\d{2}(:\d{2})?(\.\d+)?": "durations: write them as a number of seconds",
    r"(\d+ ?d )?(\d+ ?h ?)?(\d+ ?(m|min) ?)?(\d+ ?s)?": "durations: write them as a number of minutes",
    r"[+-]?\d[\d.,]*\s*(±|\+/-)\s*\d[\d.,]*.*": "values with their errors: write two columns of numbers",
    r"[NSEWO]?\s*\d+\s*°.*\d.*": "degrees and minutes: write them as decimals",
    r"[+-]?\d*\s?[½¼¾⅓⅔⅛⅜⅝⅞]": "numbers with fractions as signs: write them as decimals",
    r"[+-]?\d+(\.\d*)?[dD][+-]?\d+": "numbers with Fortran's exponents: write e in the place of d",
    r"0[xX][0-9a-fA-F]+": "hexadecimal numbers: write them as decimals if they are quantities",
}


_NUMBERS_LISTED = re.compile(r"(?=\D*\d)[\[(][\d\s.,eE+\-\[\]()]+[\])]")
_OBJECT = re.compile(r"\{[^{}]*[:=].*\}", re.DOTALL)
_LEADING_ZERO = re.compile(r"\s*0\d+\s*")


def warn_of_numbers(name: str, present: npt.NDArray[np.float64], different: int) -> str:
    """Of a column of numbers: one that counts the rows or names something, days, marks for missing."""
    rows = len(present)
    if rows < MANY_ROWS:
        return ""
    if different == rows and np.ptp(present) == rows - 1:
        return f"it counts the rows; an identifier{_or_times(present)}? columns: {{drop: [{name}]}}"
    whole = bool((present == np.floor(present)).all())
    if whole and different > MANY_VALUES:
        if _are_days(present):
            return f'days? columns: {{types: {{{name}: {{type: time, format: "%Y%m%d"}}}}}}'
        if _NAMING & {*re.findall(r"[a-z]+", re.sub(r"([A-Z][a-z])", r" \1", name).lower())}:
            what = "by its name numbers that name something"
            return f"{what}; columns: {{types: {{{name}: category}}}}, or {{drop: [{name}]}}"
        same_length = len({len(f"{abs(end):.0f}") for end in _ends(present)}) == 1
        if same_length and present.min() >= LONG_NUMBER and different > NEARLY_ALL * rows:
            what = f"identifiers{_or_times(present)}? columns: {{drop: [{name}]}}"
            return f"long numbers, nearly all different; {what}"
    return _warn_of_marks(present) if different >= MANY_VALUES else ""


def _ends(present: npt.NDArray[np.float64]) -> tuple[float, float]:
    return float(present.min()), float(present.max())


def _or_times(present: npt.NDArray[np.float64]) -> str:
    """What else whole numbers of this size may be: times, as programs count them."""
    low, high = _ends(present)
    for what, first, last, unit_s, of_1970 in _COUNTED_TIMES:
        if first <= low and high <= last:
            at = datetime.fromtimestamp((low - of_1970) * unit_s, UTC)
            return f", or {what} ({low:.0f} is {at:%Y-%m-%d})"
    return ""


def _are_days(present: npt.NDArray[np.float64]) -> bool:
    """Whether all are written as 20240531."""
    year, month, day = present // 10_000, present // 100 % 100, present % 100
    sound = (year >= 1900) & (year <= 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return bool(sound.all())


def _warn_of_marks(present: npt.NDArray[np.float64]) -> str:
    """A far number again and again is a mark."""
    for mark in _ends(present):
        count, others = int((present == mark).sum()), present[present != mark]
        apart = mark < 0 <= others.min() or np.abs(others - mark).min() > np.ptp(others)
        if abs(mark) in _MARKS and count >= MANY_TIMES and apart:
            return f"{mark:g} stands in {count:,} rows, far from all others: is something missing there?"
    return ""


def warn_of_words(name: str, counts: Mapping[Cell, int], rows: int) -> str:
    """Of a column of categories: dates and numbers in other spellings, words that look alike, identifiers."""
    if rows < MANY_ROWS:
        return ""
    if warning := warn_of_nested(name, counts):
        return warning
    sample = {str(word): counts[word] for word in list(counts)[:SAMPLE]}
    if orders := _orders_of_dates(list(sample)):
        either = f' (or "{orders[1]}": they fit both)' if len(orders) > 1 else ""
        return f'dates; columns: {{types: {{{name}: {{type: time, format: "{orders[0]}"}}}}}}{either}'
    if warning := _warn_of_spelt_numbers(name, sample) or _warn_of_shapes(list(sample)):
        return warning
    if are_yes_and_no(sample):
        listed = ", ".join(map(repr, sorted(sample)[:6]))
        return f"{listed} seem to be yes and no in several spellings: each is learned; write them alike"
    if alike := find_alike(sample):
        more = f", and {len(alike) - 1} more" if len(alike) > 1 else ""
        return f"{alike[0]} differ by blanks or case alone: each is learned{more}"
    if len(counts) > rows / 2:
        what = "as many categories as rows" if len(counts) == rows else "nearly as many categories as rows"
        return f"{what}; an identifier? columns: {{drop: [{name}]}}"
    return ""


def warn_of_nested(name: str, counts: Mapping[Cell, int]) -> str:
    """Of a column of texts or words that are lists of numbers, as JSON, Python or NumPy print them, or
    objects: what is in them is not seen as numbers."""
    sample = [str(word).strip() for word in list(counts)[:SAMPLE]]
    if sample and all(map(_NUMBERS_LISTED.fullmatch, sample)):
        do = f"with pandas: frame.join(pandas.DataFrame(frame[{name!r}].tolist()))"
        return f"lists of numbers, each a word to a model: give each number a column of its own, {do}"
    if sample and all(map(_OBJECT.fullmatch, sample)):
        return (
            "objects, each a word to a model: give each entry a column of its own, with pandas.json_normalize"
        )
    return ""


def _warn_of_spelt_numbers(name: str, sample: Mapping[str, int]) -> str:
    spelling, read = find_spelling(sample)
    rows = sum(sample.values())
    others = other_words(sample, spelling)
    rest = {word: sample[word] for word in others}
    other, more = find_spelling(rest) if rest else (spelling, 0)
    if read and more and bool(spelling.marks) != bool(other.marks) and read + more > NEARLY_ALL * rows:
        mark = (*spelling.marks, *other.marks)[0]
        return f"{read:,} and {more:,} of its numbers are with and without {mark!r}: write all of them alike"
    if read and more and spelling.decimal != other.decimal and read + more > NEARLY_ALL * rows:
        points = f"{spelling.decimal!r} and {other.decimal!r}"
        return f"{read:,} and {more:,} of its numbers have {points} before their decimals: write all alike"
    if any(_LEADING_ZERO.fullmatch(word) for word in others):
        return ""  # codes, as of the post: words they are
    limits = [word for word in others if is_limit(word)]
    if limits and read + sum(sample[word] for word in limits) >= NEARLY_ALL * rows:
        count = sum(sample[word] for word in limits)
        return f"numbers, and limits as {limits[0]!r} in {count_of(count, 'row')}: {LIMITS}"
    as_numbers = f"columns: {{types: {{{name}: number}}}} if it is meant"
    if others and read >= NEARLY_ALL * rows:
        count = sample[others[0]]
        return f"numbers but for {others[0]!r} in {count_of(count, 'row')}; {as_numbers}"
    if read > 0.5 * rows and len(sample) > MANY_VALUES:
        return f"{read / rows:.0%} of its values are numbers; {as_numbers}"
    return ""


def _warn_of_shapes(words: Sequence[str]) -> str:
    bare = [word.strip() for word in words]
    other = [word for word in bare if not _ISO.fullmatch(word)]
    if 0 < len(other) <= len(bare) / 2:
        more = f" and {len(other) - 1:,} more" if len(other) > 1 else ""
        return f"dates, but for {other[0]!r}{more}: write all of them as 2024-05-31"
    if units := _several_units(bare):
        return f"numbers in several units ({', '.join(units[:4])}): write all of them in one"
    dates = [_MONTH_BY_NAME.fullmatch(word) for word in bare]
    months = {date[1].lower() for date in dates if date}
    if len(months) > 1 and all(dates):
        return f"dates with names of months ({', '.join(sorted(months)[:3])}): write them as 2024-05-31"
    return next(
        (said for shape, said in _SHAPES.items() if all(re.fullmatch(shape, w) and w for w in bare)), ""
    )


def _several_units(words: Sequence[str]) -> list[str]:
    """The units or currencies, where all are quantities in several."""
    found = [_QUANTITY.fullmatch(word) for word in words]
    if not all(part and part[2] in _UNITS and (not part[1] or is_currency(part[1])) for part in found):
        return []
    units = sorted({part[1] or part[2] for part in found if part} - {""})
    return units if len(units) > 1 else []


def _orders_of_dates(words: Sequence[str]) -> list[str]:
    """The formats in which all of them are days, or times of a day."""
    import pandas as pd

    if not all(_DATE.fullmatch(word.strip()) for word in words[:100]):
        return []

    def fits(order: str, some: Sequence[str]) -> bool:
        days = pd.to_datetime(pd.Series(some, dtype=object), format=order, errors="coerce")
        return not days.isna().any()

    return [order for order in _ORDERS if fits(order, words[:10]) and fits(order, words)]
