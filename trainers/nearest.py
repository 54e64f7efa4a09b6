"""What a person may have meant.

The trainers' own: they stand beside the search spaces, and may not take `search_spaces.nearest` from there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_LISTED = 20
_LONGEST = 100  # comparing takes time by the square of a word's length


def nearest_words(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known words that are most like this one, the nearest first; letters' case and `-` for `_` do not
    count."""
    by_folded = {_fold(entry): entry for entry in known}
    found = difflib.get_close_matches(_fold(word[:_LONGEST]), by_folded, n=most, cutoff=0.6)
    return [by_folded[entry] for entry in found]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, or None where none is."""
    return next(iter(nearest_words(word, known, 1)), None)


def advice(word: str, known: Iterable[str], listing: str = "known are") -> str:
    """What to do about an unknown word: the nearest that exists, else all of them after `listing`."""
    words = list(known)
    near = nearest(word, words)
    if near is not None:
        return f"did you mean {near!r}?"
    listed = ", ".join(words[:MOST_LISTED]) + (", …" if len(words) > MOST_LISTED else "")
    return f"{listing} {listed}" if words else "none is known here"


def _fold(word: str) -> str:
    return word.lower().replace("-", "_")
