"""Numbers as people write them: decimal commas, thousands, currencies, units, negatives in brackets. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

CODES = "AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|INR|JPY|KRW|MXN|NOK|NZD|PLN|SEK|USD|ZAR"
_UNIT = re.compile(r"[%‰°µμ]?[A-Za-z°µμΩ²³/%‰]{0,9}")
_PARTS = re.compile(r"(\D*?)((?:[.,]?[0-9].*)?[0-9])(\D*)")
_FIRST_MARKS = ("€", "$", "£", "¥", "₹", "%", "USD", "EUR", "GBP", "CHF")
_TRIED = 3  # marks, the commonest first
BLANKS = "\u00a0\u202f\u2009"  # that stand between groups of digits
_SIGNED = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Arabic's and full-width marks; and signs that nobody sees
_MARKS = str.maketrans("٫٬．，＋－", ".,.,+-", "\u200b\u200c\u200d\u2060\ufeff\u200e\u200f")
_INDIAN = re.compile(r"[+-]?[0-9]{1,2}(,[0-9]{2})+,[0-9]{3}")  # lakhs and crores: 1,20,000
_LIMIT = re.compile(r"\s*[<>≤≥]=?\s*[0-9]+([.,][0-9]+)?\s*\S{0,8}\s*")
_LEADING_ZERO = re.compile(r"[+-]?0[0-9]")  # a postal code or a part number, not a quantity


class KeptSpelling(TypedDict):
    """A `NumberSpelling` as JSON."""

    decimal: str
    thousands: str
    marks: list[str]
    words: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberSpelling:
    """How a column spells its numbers.

    Attributes:
        marks: what stands before or after a number and says its unit. With a unit a bare number is none of
            this spelling (`12` among `12 %` may be 0.12 or 12) but for 0; a currency is often left out.
        words: what stands in some cells in the place of a number, and is read as missing.
    """

    decimal: str = "."
    thousands: str = ""
    marks: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def normalize(self, text: str) -> str | None:
        """The number as computers write it; None where it is none in this spelling."""
        bare = _read_sign(text.strip().translate(dict.fromkeys(map(ord, BLANKS), " ")))
        core = _read_sign(self._strip_marks(bare))
        if core == bare and len(self.marks) == 1 and not is_currency(self.marks[0]):
            return "0" if core == "0" else None
        if self.thousands:
            whole, point, rest = core.partition(self.decimal)
            if self.thousands in whole:
                group = re.escape(self.thousands)
                regular = re.fullmatch(rf"[+-]?[0-9]{{1,3}}({group}[0-9]{{3}})+", whole)
                if not (regular or (self.thousands == "," and _INDIAN.fullmatch(whole))):
                    return None
                core = whole.replace(self.thousands, "") + point + rest
        if self.decimal != ".":
            if "." in core:
                return None
            core = core.replace(self.decimal, ".", 1)
        return core if _SIGNED.fullmatch(core) and not _LEADING_ZERO.match(core) else None

    def _strip_marks(self, core: str) -> str:
        for mark in self.marks:
            sign = core[:1] if core[:1] in "+-" and core[1:].lstrip().startswith(mark) else ""
            core = sign + core.removeprefix(sign).strip().removeprefix(mark).removesuffix(mark).strip()
        return core

    def to_json(self) -> KeptSpelling:
        """As a model's state keeps it."""
        return {
            "decimal": self.decimal, "thousands": self.thousands,
            "marks": list(self.marks), "words": list(self.words),
        }  # fmt: skip

    @classmethod
    def from_json(cls, kept: KeptSpelling) -> NumberSpelling:
        """The inverse of `to_json`."""
        return cls(
            decimal=kept["decimal"], thousands=kept["thousands"],
            marks=tuple(kept["marks"]), words=tuple(kept["words"]),
        )  # fmt: skip

    def describe(self) -> str:
        """In words, for people."""
        said = []
        if self.decimal != ".":
            said.append(f"decimal {self.decimal!r}")
        if self.thousands:
            said.append(f"thousands {self.thousands!r}")
        if self.marks:
            said.append(f"with {', '.join(self.marks)}")
        return ", ".join(said)


PLAIN = NumberSpelling()
_KINDS = ((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberMarks:
    """What a source says of its numbers: marks that they have, and the decimal one that is likely."""

    decimal: str | None = None
    thousands: str | None = None
    likely_decimal: str = "."

    @property
    def are_said(self) -> bool:
        """Whether a person said one."""
        return self.decimal is not None or self.thousands is not None

    def kinds(self) -> Sequence[tuple[str, str]]:
        """(decimal, thousands) to try, the likely ones first."""
        fitting = [
            (point, group)
            for point, group in _KINDS
            if self.decimal in (None, point) and self.thousands in (None, group)
        ]
        ordered = sorted(fitting, key=lambda kind: kind[0] != self.likely_decimal)
        return ordered or [(self.decimal or ".", self.thousands or "")]


def find_spelling(counts: Mapping[str, int], said: NumberMarks | None = None) -> tuple[NumberSpelling, int]:
    """The spelling in which most of the values are numbers, and how many are.

    Where `1,234` may be either, thousands are taken, unless the comma is said or likely to be decimal.

    Args:
        counts: value → rows that hold it.
    """
    best, most = PLAIN, -1
    for marks in ((), *((mark,) for mark in _likely_marks(counts))):
        for point, thousands in (said or NumberMarks()).kinds():
            spelling = NumberSpelling(decimal=point, thousands=thousands, marks=marks)
            read = sum(count for text, count in counts.items() if spelling.normalize(text) is not None)
            if read > most:
                best, most = spelling, read
    return best, most


def is_of_late(spelling: NumberSpelling, texts: Iterable[str]) -> bool:
    """Whether values are numbers by rules that the first form of this module lacked: units, most currencies,
    lakhs, 0 beside a unit, and a minus that stands elsewhere. A fingerprint of then must not pass for one of
    now."""
    texts = list(texts)
    marks = any(mark not in _FIRST_MARKS or "0" in texts for mark in spelling.marks)
    lakhs = re.compile(r"\D*[0-9]{1,2}(,[0-9]{2})+,[0-9]{3}(\D.*)?")
    return marks or any(_read_sign(text.strip()) != text.strip() or lakhs.fullmatch(text) for text in texts)


def is_limit(text: str) -> bool:
    """Whether it says on which side of a number the value is: `<0.1`, as laboratories write."""
    return _LIMIT.fullmatch(text) is not None


def is_currency(mark: str) -> bool:
    """Whether a mark is a currency's sign or its code."""
    return mark in CODES.split("|") or any(unicodedata.category(letter) == "Sc" for letter in mark)


def _likely_marks(counts: Mapping[str, int]) -> list[str]:
    """What stands most often beside the values' numbers: a currency before or after them, a unit after."""
    found: Counter[str] = Counter()
    for text, count in counts.items():
        parts = _PARTS.fullmatch(_read_sign(text.strip()))
        if parts is None:
            continue
        before, after = parts[1].strip(" +-("), parts[3].strip(" )-")
        if is_currency(before):
            found[before] += count
        elif after and (is_currency(after) or _UNIT.fullmatch(after)):
            found[after] += count
    return [mark for mark, _ in found.most_common(_TRIED)]


def _read_sign(text: str) -> str:
    """A minus where computers have it: of `(5)`, `5-` and `−5`, as accounts and typesetters write it."""
    core = _read_digits(text).replace("\u2212", "-")
    if core[:1] == "(" and core[-1:] == ")":
        return f"-{core[1:-1].strip()}"
    if core[-1:] == "-" and core[:1] not in ("-", "+"):
        return f"-{core[:-1].strip()}"
    return core


def _read_digits(text: str) -> str:
    """Digits and marks of other scripts as ASCII's (Arabic, Devanagari, full width), nothing unseen."""
    if text.isascii():
        return text
    shown = text.translate(_MARKS).strip()
    return "".join(str(unicodedata.decimal(letter, letter)) for letter in shown)


def other_words(counts: Mapping[str, int], spelling: NumberSpelling) -> Sequence[str]:
    """The values that are no numbers in this spelling, the commonest first."""
    return sorted(
        (text for text in counts if spelling.normalize(text) is None), key=lambda text: (-counts[text], text)
    )
