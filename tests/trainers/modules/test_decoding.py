"""Writing token by token, against models whose every probability is known."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from trainers.errors import InputError
from trainers.families.transformer import TransformerOptions
from trainers.modules.decoding import DecodingOptions, SpecialTokens, generate_tokens
from trainers.options import read_options

MARKS = SpecialTokens(pad=0, end=3, never=(0,))


class Chain:
    """A Markov chain over five tokens, another for each row; keeps which row is which."""

    def __init__(self, rows: int, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.tables = torch.randn(rows, 5, 5, generator=draw).mul(2).log_softmax(-1)
        self.seen: list[torch.Size] = []

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        self.seen.append(tokens.shape)
        last = tokens[:, -1] if tokens.shape[1] else torch.ones(len(self.tables), dtype=torch.long)
        return self.tables[torch.arange(len(self.tables)), last]

    def choose(self, rows: torch.Tensor) -> None:
        self.tables = self.tables[rows]


def mean_score(table: torch.Tensor, text: tuple[int, ...]) -> float:
    allowed = table.clone()
    allowed[:, 0] = float("-inf")
    allowed = allowed.log_softmax(-1)
    before = (1, *text)
    return float(sum(allowed[a, b] for a, b in zip(before, text, strict=False))) / len(text)


def texts(longest: int) -> list[tuple[int, ...]]:
    """All that may be written: up to the end, or as long as may be."""
    found = []
    for length in range(1, longest + 1):
        for text in product((1, 2, 3, 4), repeat=length):
            if 3 not in text[:-1] and (text[-1] == 3 or length == longest):
                found.append(text)
    return found


def test_greedy_decoding_takes_the_likeliest_and_stops() -> None:
    model = Chain(6)
    tables = model.tables
    rows = generate_tokens(model, 6, DecodingOptions(max_tokens=8), MARKS, "cpu")
    for table, row in zip(tables, rows.tolist(), strict=True):
        last, ended = 1, False
        for token in row:
            expected = 0 if ended else int(table[last, 1:].argmax()) + 1
            assert token == expected
            last, ended = token, ended or token == 3


def test_a_wide_beam_finds_the_best_of_all_texts() -> None:
    how = DecodingOptions(strategy="beam", beams=64, max_tokens=3)
    model = Chain(5, seed=3)
    tables = model.tables
    for table, row in zip(tables, generate_tokens(model, 5, how, MARKS, "cpu").tolist(), strict=True):
        best = max(texts(3), key=lambda text: mean_score(table, text))
        assert tuple(token for token in row if token) == best


def test_beams_give_several_outputs_best_first_and_none_twice() -> None:
    model = Chain(2)
    tables = model.tables
    rows = generate_tokens(
        model, 2, DecodingOptions(strategy="beam", beams=8, outputs=3, max_tokens=4), MARKS, "cpu"
    )
    assert rows.shape[0] == 6
    for table, group in zip(tables, rows.view(2, 3, -1).tolist(), strict=True):
        found = [tuple(token for token in row if token) for row in group]
        scores = [mean_score(table, text) for text in found]
        assert scores == sorted(scores, reverse=True)
        assert len(set(found)) == 3


def test_sampled_texts_follow_distribution_and_seed() -> None:
    table = Chain(1).tables
    model = Chain(1)
    how = DecodingOptions(strategy="sample", outputs=64, max_tokens=1)
    counts = torch.zeros(5)
    for seed in range(40):
        model.tables = table
        tokens = generate_tokens(model, 1, how.model_copy(update={"seed": seed}), MARKS, "cpu")
        counts += torch.bincount(tokens[:, 0], minlength=5)
    expected = table[0, 1].clone()
    expected[0] = float("-inf")
    assert torch.allclose(counts / counts.sum(), expected.softmax(-1), atol=0.03)
    model.tables = table
    again = generate_tokens(model, 1, how, MARKS, "cpu")
    model.tables = table
    assert torch.equal(again, generate_tokens(model, 1, how, MARKS, "cpu"))


def test_top_one_is_greedy_whatever_the_temperature() -> None:
    how = DecodingOptions(strategy="sample", top_k=1, temperature=5.0, max_tokens=6)
    greedy = generate_tokens(Chain(4), 4, DecodingOptions(max_tokens=6), MARKS, "cpu")
    assert torch.equal(generate_tokens(Chain(4), 4, how, MARKS, "cpu"), greedy)


@pytest.mark.parametrize("wrong", [{"strategy": "best"}, {"temperature": 0}, {"outputs": 0}, {"beam": 3}])
def test_decoding_options_that_are_wrong_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError) as error:
        read_options(TransformerOptions, {"generate": wrong})
    assert error.value.key == ("options", "generate")
