"""Words that messages share."""

from __future__ import annotations


def count_of(count: int, one: str, many: str = "") -> str:
    """A count with its noun, and a verb where it has one: `1 row`, `2,000 rows`, `2 classes have`.

    Args:
        one: the words after 1.
        many: those after any other number; by default with an s behind.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
