"""Words and vocabularies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainers.inputs.vocabulary import (
    PAD,
    STOP_WORDS,
    UNKNOWN,
    as_text,
    fit_vocabulary,
    pad_words,
    stop_words,
    vocabulary_size,
    word_ids,
)


def words(text: str, **limits: int) -> list[str]:
    """The words that a vocabulary of this one text sees in it."""
    import json

    vocabulary = fit_vocabulary([text], **limits)
    names = {i: word for word, i in json.loads(vocabulary)["model"]["vocab"].items()}
    return [names[i] for i in word_ids(vocabulary, [text])[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Isn't it GREAT?", ["is", "n't", "it", "great", "?"]),
        (
            "the film's end, (they've said)",
            ["the", "film", "'s", "end", ",", "(", "they", "'ve", "said", ")"],
        ),
        ("Wie heißt der Élan? 3.5 — a_b", ["wie", "heißt", "der", "élan", "?", "3", "5", "a", "b"]),
        ("naïve", ["naïve"]),
    ],
)
def test_words_are_split_as_in_kims_paper(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_composed_and_decomposed_letters_are_one_word() -> None:
    vocabulary = fit_vocabulary(["caf\u00e9"])
    assert word_ids(vocabulary, ["cafe\u0301"]) == word_ids(vocabulary, ["caf\u00e9"]) != [[UNKNOWN]]


def test_the_vocabulary_does_not_depend_on_the_order_of_texts() -> None:
    texts = [f"w{i % 7} w{i % 3} x{i}" for i in range(50)]
    assert fit_vocabulary(texts, size=12) == fit_vocabulary(texts[::-1], size=12)


def test_vocabulary_drops_rare_words_and_keeps_its_size() -> None:
    vocabulary = fit_vocabulary(["b b b a a c"], min_count=2)
    assert vocabulary_size(vocabulary) == 4
    assert word_ids(vocabulary, ["b a c d"]) == [[2, 3, UNKNOWN, UNKNOWN]]
    assert vocabulary_size(fit_vocabulary(["b b b a a c"], size=3)) == 3


def test_stop_words_exclude_negations_and_question_words() -> None:
    assert not STOP_WORDS & {"not", "n't", "no", "never", "what", "who", "how", "why", "where", "when", "but"}
    vocabulary = fit_vocabulary(["the plot was not the best"], leave_out=STOP_WORDS)
    assert len(word_ids(vocabulary, ["the plot was not the best"])[0]) == 3
    assert word_ids(vocabulary, ["the"]) == [[UNKNOWN]]
    assert word_ids(vocabulary, ["thecla"]) == [[UNKNOWN]]


def test_stop_words_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("Und\n\n oder \n", encoding="utf-8")
    assert stop_words(str(tmp_path / "words")) == {"und", "oder"}
    assert stop_words(None) == frozenset()
    assert stop_words("english") == STOP_WORDS


def test_vocabulary_keeps_capitals_where_asked() -> None:
    vocabulary = fit_vocabulary(["Bush AND bush, DON'T"], lowercase=False, leave_out=frozenset({"and"}))
    ids = word_ids(vocabulary, ["Bush bush And DON'T"])[0]
    assert len(set(ids)) == len(ids) == 4
    assert UNKNOWN not in ids


def test_vocabulary_rows_are_padded_and_cut() -> None:
    rows = pad_words([[5, 6, 7], [8]], 2)
    np.testing.assert_array_equal(rows, [[5, 6], [8, PAD]])
    assert rows.dtype == np.int32


def test_missing_values_are_empty_texts() -> None:
    assert [as_text(value) for value in (None, float("nan"), 3, "x")] == ["", "", "3", "x"]
