"""What a person may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, or None where none is."""
    by_folded = {entry.lower().replace("-", "_"): entry for entry in known}
    found = difflib.get_close_matches(word[:100].lower().replace("-", "_"), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def advice(word: str, known: Iterable[str]) -> str:
    """What to do about an unknown word: the nearest that exists, else all of them."""
    words = list(known)
    near = nearest(word, words)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"known are {', '.join(words)}" if words else "none is known here"
