"""Tokens that lead back to text."""

from __future__ import annotations

import pytest

from trainers.inputs.tokenizers import (
    CHUNK,
    characters_of_tokens,
    encode_chunks,
    fit_tokens,
    pad_tokens,
    parse_tokenizer,
    token_count,
    token_ids,
)

TEXTS = ["To be, or not\nto be", "Das ist schön.", "a  b\tc"]


@pytest.mark.parametrize("unit", ["characters", "pieces"])
def test_tokenizer_decodes_text_unchanged(unit: str) -> None:
    document = fit_tokens(TEXTS, unit=unit, size=400)
    for text, ids in zip(TEXTS, token_ids(document, TEXTS), strict=True):
        assert parse_tokenizer(document).decode(ids) == text
        assert sum(characters_of_tokens(document)[i] for i in ids) >= len(text)


def test_character_tokenizer_counts_one_a_character() -> None:
    document = fit_tokens(TEXTS, unit="characters", size=400)
    assert characters_of_tokens(document) == [0, 0, 0, 0] + [1] * (token_count(document) - 4)
    assert token_count(document) == 4 + len(set("".join(TEXTS)))


def test_word_tokenizer_keeps_commonest_words_and_joins_with_blanks() -> None:
    document = fit_tokens(["one one two", "one two three"], unit="words", size=6)
    (ids,) = token_ids(document, ["two one three"])
    assert parse_tokenizer(document).decode(ids) == "two one"
    assert token_count(document) == 6


def test_piece_tokenizer_encodes_unseen_text() -> None:
    document = fit_tokens(["plain words"], unit="pieces", size=270)
    (ids,) = token_ids(document, ["Ünïcödé 🚲"])
    assert parse_tokenizer(document).decode(ids) == "Ünïcödé 🚲"


def test_tokenizer_chunks_keep_the_order_of_texts() -> None:
    document = fit_tokens(["a b"], unit="characters", size=10)
    chunks = list(encode_chunks(document, ("ab"[i % 2] for i in range(CHUNK + 3))))
    assert [len(chunk) for chunk in chunks] == [CHUNK, 3]
    assert [len(tokens) for chunk in chunks for tokens in chunk] == [1] * (CHUNK + 3)


def test_token_rows_are_cut_and_padded() -> None:
    assert pad_tokens([[5, 6, 7], [8]], 2, -100).tolist() == [[5, 6], [8, -100]]
