from __future__ import annotations

import pytest

from trainers.wording import count_of


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (1, ("row",), "1 row"),
        (0, ("row",), "0 rows"),
        (2000, ("class has", "classes have"), "2,000 classes have"),
        (1, ("class has", "classes have"), "1 class has"),
    ],
)
def test_count_agrees_with_its_noun_and_verb(count: int, words: tuple[str, ...], text: str) -> None:
    assert count_of(count, *words) == text
