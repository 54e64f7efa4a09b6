"""What a person's value means to a model, wherever it comes from: training, files, frames and the server
read by these rules alone."""

from __future__ import annotations

import base64
import binascii
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from trainers.errors import InputError

if TYPE_CHECKING:
    from trainers.data.number_spellings import NumberSpelling
    from trainers.types import Cell

MISSING_WORDS = ("", "na", "n/a", "nan", "null", "#n/a")
MISSING_NUMBERS = (*MISSING_WORDS, "none", "?", "-", ".")
_PANDAS_MISSING = ("NAType", "NaTType")
_WHOLE = re.compile(r"[+]?(-?[1-9][0-9]*|0)(?:\.0+)?")
_ZERO = re.compile(r"-0(?:\.0+)?")
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u200e\u200f"))
BASE64 = "base64:"
EXACT = 2.0**53  # a larger double is no longer one whole number


def spell_value(value: Cell) -> str | None:
    """The value as text, as a cell of CSV would have it; None where there is none.

    Booleans are `true` and `false`, 3.0 is `3`, lists and objects are JSON, dates are ISO 8601, bytes UTF-8.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return spell_value(value.tolist())
    if type(value).__name__ in _PANDAS_MISSING:
        return None
    if isinstance(value, float):
        if value != value:
            return None
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else str(value)
    if isinstance(value, (bool, list, tuple, dict)):
        return json.dumps(value, default=str)
    return value.isoformat() if isinstance(value, date) else str(value)


def read_encoded(value: Cell) -> Cell:
    """The bytes of a text that says by `base64:` before it that it is their spelling, as models' examples
    have them; anything else as it is.
    """
    if not isinstance(value, str) or not value.startswith(BASE64):
        return value
    try:
        return base64.b64decode(value.removeprefix(BASE64).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        must, found = f"what follows {BASE64} must be base64", f"{value[:40]!r}… of {len(value):,} characters"
        raise InputError(must, found, "write base64.b64encode(content).decode()") from error


def read_number(value: Cell, spelling: NumberSpelling | None = None) -> float:
    """The value as a number; NaN where it is missing.

    Args:
        spelling: how the column that a model was trained on spells its numbers.

    Raises:
        ValueError: it is none. A boolean is a word here, as it is in a file.
    """
    if isinstance(value, float) or type(value) is int:
        try:
            return float(value)
        except OverflowError:  # a whole number is as infinite as it is where a file spells it
            return float("inf") if value > 0 else float("-inf")
    text = spell_value(value)
    if text is None or text.strip().lower() in (*MISSING_NUMBERS, "<na>", "nat"):
        return float("nan")
    if spelling is not None:
        if text in spelling.words:
            return float("nan")
        text = spelling.normalize(text) or text
    if "_" in text:  # Python reads 1_000, no file format does
        raise ValueError(text)
    return float(text)


def category_key(text: str) -> str:
    """What all spellings of one category have in common: `True` and `true`, `1.0`, `+1` and `1`, `[1,2]` and
    `[1, 2]`. `1.10` and `007` stay what they are, a version and a postal code as it may be."""
    folded = text.lower()
    if folded in ("true", "false"):
        return folded
    if whole := _WHOLE.fullmatch(text):
        return whole[1]
    if _ZERO.fullmatch(text):
        return "0"
    if text[:1] in ("[", "{"):
        try:
            return json.dumps(json.loads(text), sort_keys=True)
        except (ValueError, RecursionError):
            return text
    return text


def alike_key(text: str) -> str:
    """What values that look alike have in common: all but blanks, case, ways to compose, invisible signs."""
    seen = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign for sign in seen if not (sign.isspace() or unicodedata.category(sign) == "Cf"))


_YES = (
    "true t yes y on 1 ja j wahr oui vrai si sí sì verdadero vero sim verdadeiro "
    "да д истина tak prawda 是 はい"
)
_NO = "false f no n off 0 nein falsch non faux falso não nao нет н ложь nie fałsz 否 いいえ"
_YES_AND_NO = frozenset((*_YES.split(), *_NO.split()))


def are_yes_and_no(words: Iterable[str]) -> bool:
    """Whether more than two words are yes and no in several spellings, or languages."""
    said = {word.strip().casefold() for word in words}
    return len(said) > 2 and said <= _YES_AND_NO


def find_alike(values: Iterable[str]) -> list[str]:
    """The values that look alike and are not the same, each kind together as a person can tell them apart."""
    kinds: dict[str, list[str]] = {}
    for value in values:
        kinds.setdefault(alike_key(value), []).append(value)
    alike = [several for several in kinds.values() if len(several) > 1]
    return [", ".join(map(repr if all(map(str.isascii, several)) else ascii, several)) for several in alike]


def unify_spellings(values: Iterable[str]) -> dict[str, str]:
    """Value → its one spelling, for those that a column spells in several ways."""
    spelt: dict[str, list[str]] = {}
    for value in values:
        spelt.setdefault(category_key(value), []).append(value)
    return {value: key for key, several in spelt.items() if len(several) > 1 for value in several}


def _bare_key(text: str) -> str:
    return category_key(unicodedata.normalize("NFC", text).strip().translate(INVISIBLE))


def category_reader(known: Sequence[str]) -> Callable[[Cell], int | None]:
    """Value → its number among the known ones from 1, 0 for one that is not known, None for a missing one.

    A value spelt as a known one is that one, so that a model whose categories tell `True` from `true` goes on
    as it was trained; any other is looked up by what its spellings have in common, at last without blanks
    around it and with its letters composed, as NFC has them.
    """
    exact = {value: number for number, value in enumerate(known, start=1)}
    alike = {category_key(value): exact[value] for value in reversed(known)}
    bare: dict[str, set[int]] = {}
    for value in known:
        bare.setdefault(_bare_key(value), set()).add(exact[value])

    def read(value: Cell) -> int | None:
        """Its number; 0 for one that is not known, None for none."""
        text = spell_value(value)
        if text is None:
            return None
        if text in exact:
            return exact[text]
        if text.strip().lower() in MISSING_WORDS or text in ("<NA>", "NaT"):
            return None
        found = alike.get(category_key(text), 0)
        near = bare.get(_bare_key(text), set()) if not found else set()
        return next(iter(near)) if len(near) == 1 else found

    return read
