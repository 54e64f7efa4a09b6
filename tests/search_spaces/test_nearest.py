"""What a mistyped word may have meant: the search spaces' module and the trainers' answer alike."""

from __future__ import annotations

from types import ModuleType

import pytest

import search_spaces.nearest
import trainers.nearest

KNOWN = ("learning_rate", "Batch-Size", "depth")


@pytest.fixture(params=[search_spaces.nearest, trainers.nearest], ids=lambda module: str(module.__name__))
def module(request: pytest.FixtureRequest) -> ModuleType:
    found: ModuleType = request.param
    return found


@pytest.mark.parametrize(
    ("word", "found"),
    [("learning-rat", "learning_rate"), ("BATCH_SIZE", "Batch-Size"), ("dpth", "depth"), ("zzz", None)],
)
def test_nearest_word_is_found_whatever_its_case_and_dashes(
    module: ModuleType, word: str, found: str | None
) -> None:
    assert module.nearest(word, KNOWN) == found


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("deph", KNOWN, "did you mean 'depth'?"),
        ("zzz", KNOWN, "known are learning_rate, Batch-Size, depth"),
        ("zzz", [f"a{i}" for i in range(21)], f"known are {', '.join(f'a{i}' for i in range(20))}, …"),
        ("zzz", (), "none is known here"),
    ],
)
def test_advice_names_the_nearest_else_some_of_all(
    module: ModuleType, word: str, known: tuple[str, ...], said: str
) -> None:
    assert module.advice(word, known) == said


def test_nearest_words_come_nearest_first_and_few(module: ModuleType) -> None:
    known = ("digits", "digits2", "digit", "digitss", "shop")
    assert module.nearest_words("digits", known)[0] == "digits"
    assert len(module.nearest_words("digits", known)) == 3
