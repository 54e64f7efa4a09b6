"""The Transformer: its formulas, what each place may see, and what it writes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from tests.trainers.families.cases import Memory, make_dataset
from trainers.data.dataset import Column, Dataset
from trainers.errors import InputError
from trainers.families.transformer import IGNORED, Transformer
from trainers.inputs.tokenizers import END, token_ids
from trainers.modules.attention import Attention, TransformerShape, sinusoids
from trainers.tasks import rules_for

ROWS = 90
SHAPE = TransformerShape(width=8, heads=2, feed_forward=16, dropout=0.0, activation="gelu", norm_first=True)
SMALL = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 32, "dropout": 0.0, "context": 8}


def corpus() -> Dataset:
    texts = ["abcd" * (3 + i % 5) for i in range(ROWS)]
    column = Column(name="text", kind="text", values=texts)
    return make_dataset("corpus", "language-model", {"text": column}, None)


def pairs() -> Dataset:
    """The target is the source backwards."""
    draw = np.random.default_rng(0)
    sources = ["".join(draw.choice(list("abcde"), int(draw.integers(1, 6)))) for _ in range(ROWS)]
    source = Column(name="input", kind="text", values=sources)
    target = Column(name="target", kind="text", values=[text[::-1] for text in sources])
    return make_dataset("pairs", "seq2seq", {"input": source}, target)


class TinyTransformer:
    def __init__(self, dataset: Dataset, options: dict[str, Any] | None = None, **params: Any) -> None:
        self.family = Transformer(options)
        self.params = self.family.complete({**SMALL, **params})
        memory = Memory()
        self.state = self.family.encode(dataset, self.params, memory)
        self.arrays = {name: torch.from_numpy(np.array(values)) for name, values in memory.arrays.items()}
        torch.manual_seed(0)
        self.module = self.family.build(self.state, self.params)

    def batch(self, rows: Any) -> dict[str, torch.Tensor]:
        return {name: values[rows] for name, values in self.arrays.items()}

    def train(self, steps: int, rate: float) -> None:
        optimizer = torch.optim.Adam(self.module.parameters(), rate)
        generator = torch.Generator().manual_seed(0)
        for _ in range(steps):
            batch = self.family.augment(self.batch(slice(0, 60)), self.params, generator)
            outputs = self.family.outputs(self.module, batch)
            optimizer.zero_grad()
            self.family.loss(outputs, batch, self.params, self.state).backward()
            optimizer.step()
        self.module.eval()

    def judged(self, rows: Any) -> dict[str, float]:
        metrics = rules_for(self.state).metric_set("cpu")
        with torch.no_grad():
            self.family.judge(self.module, self.batch(rows), metrics)
        return metrics.compute()

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        arrays = self.family.from_user(frame, self.state)
        batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
        with torch.inference_mode():
            return self.family.to_user(self.family.answers(self.module, batch, self.state), self.state)


def test_transformer_positions_are_the_papers_sinusoids() -> None:
    table = sinusoids(50, 6)
    for place in (0, 1, 49):
        for i in range(3):
            angle = place / 10_000 ** (2 * i / 6)
            assert table[place, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_transformer_attention_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    attention = Attention(SHAPE)
    x, source = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool)
    query = functional.linear(x, attention.query.weight, attention.query.bias)
    key, value = functional.linear(source, attention.key_value.weight, attention.key_value.bias).chunk(2, -1)
    heads = []
    for head in range(2):
        q, k, v = (t[..., 4 * head : 4 * head + 4] for t in (query, key, value))
        scores = (q @ k.transpose(1, 2) / math.sqrt(4)).masked_fill(~mask[:, None], float("-inf"))
        heads.append(scores.softmax(-1) @ v)
    expected = attention.out(torch.cat(heads, dim=-1))
    found = attention(x, attention.project_keys_values(source), mask=mask[:, None, None])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("options", [{}, {"positions": "learned"}])
def test_language_model_position_sees_no_later_one(options: dict[str, Any]) -> None:
    fitted = TinyTransformer(corpus(), options)
    fitted.module.eval()
    ids = fitted.arrays["inputs"][:1, :8].clone()
    before = fitted.module(ids)
    ids[0, 5] = 4 + (ids[0, 5] - 3) % 4
    after = fitted.module(ids)
    torch.testing.assert_close(before[0, :5], after[0, :5])
    assert not torch.allclose(before[0, 5:], after[0, 5:])


def test_language_model_is_judged_on_every_token_once() -> None:
    fitted = TinyTransformer(corpus())
    fitted.module.eval()
    batch = fitted.batch(slice(0, 7))
    logits = fitted.family.outputs(fitted.module, batch)
    assert logits.shape[:2] == batch["target"].shape
    kept = batch["target"] != IGNORED
    expected = functional.cross_entropy(logits[kept], batch["target"][kept])
    assert fitted.judged(slice(0, 7))["loss"] == pytest.approx(expected.item(), rel=1e-5)
    window = fitted.module(batch["inputs"][:, 8:16])
    torch.testing.assert_close(logits[:, 8:16][batch["inputs"][:, 8] > 0], window[batch["inputs"][:, 8] > 0])


def test_corpus_training_draws_from_the_whole_of_a_block() -> None:
    fitted = TinyTransformer(corpus(), context=4)
    generator = torch.Generator().manual_seed(0)
    row = fitted.batch(slice(4, 5))  # 28 characters: places 0 to 26, the last one's next is padding
    length = int((row["target"] != IGNORED).sum())
    numbered = {"inputs": torch.arange(1, row["inputs"].shape[1] + 1)[None], "target": row["target"]}
    firsts = set()
    for _ in range(400):
        stretch = fitted.family.augment(numbered, fitted.params, generator)
        places = stretch["inputs"][0].tolist()
        assert places == list(range(places[0], places[0] + 4))
        assert (stretch["target"] != IGNORED).all()
        firsts.add(places[0] - 1)
    assert firsts == set(range(length - 4 + 1))


def test_language_model_learns_and_continues_a_pattern() -> None:
    fitted = TinyTransformer(corpus(), {"generate": {"max_tokens": 6}})
    fitted.train(60, 1e-2)
    metrics = fitted.judged(slice(60, 75))
    assert metrics["perplexity"] < 1.5
    assert metrics["bits_per_character"] == pytest.approx(metrics["loss"] / math.log(2))
    answers = fitted.predict(pd.DataFrame({"text": ["abcdab", "bc", "abcdabcdabcdabcda"]}))
    assert list(answers["text"]) == ["cdabcd", "dabcda", "bcdabc"]


def test_transformer_learns_pairs_and_greedy_equals_beam() -> None:
    fitted = TinyTransformer(pairs(), {"unit": "characters"}, width=32, feed_forward=64, layers=2)
    fitted.train(120, 5e-3)
    metrics = fitted.judged(slice(0, 60))
    assert metrics["exact_match"] > 0.9
    seen = sorted(set(pairs().columns["input"].values[:60]), key=len)[-4:]
    frame = pd.DataFrame({"input": seen})
    assert list(fitted.predict(frame)["output"]) == [text[::-1] for text in seen]
    beam = {"strategy": "beam", "beams": 3, "outputs": 2, "max_tokens": 8}
    fitted.family = Transformer({"unit": "characters", "generate": beam})
    answers = fitted.predict(frame)
    assert list(answers.columns) == ["output", "output_2"]
    assert list(answers["output"]) == [text[::-1] for text in seen]
    assert (answers["output"] != answers["output_2"]).all()


def test_transformer_decoding_with_cache_equals_one_full_pass() -> None:
    """The cache of a decoder gives what one pass over all of the target gives."""
    fitted = TinyTransformer(pairs(), {"unit": "characters"}, layers=2)
    fitted.module.eval()
    source = fitted.arrays["source"][:20]
    written = fitted.family._generate(fitted.module, source, fitted.family.options.generate, 7)[:, 0]
    logits = fitted.module(source, written)
    logits[..., :3] = float("-inf")
    ended = torch.cumsum(written == END, dim=1) - (written == END).long() > 0
    again = logits.argmax(-1).masked_fill(ended, 0)
    assert torch.equal(again, written)


def test_transformer_answer_does_not_depend_on_its_batch() -> None:
    fitted = TinyTransformer(pairs(), {"unit": "characters"})
    fitted.module.eval()
    frame = pd.DataFrame({"input": ["a", "abcde", "bb"]})
    together = list(fitted.predict(frame)["output"])
    alone = [fitted.predict(frame[i : i + 1])["output"].iloc[0] for i in range(3)]
    assert together == alone


def test_transformer_targets_that_are_cut_still_end() -> None:
    fitted = TinyTransformer(pairs(), {"unit": "characters", "max_tokens": 3})
    target = fitted.arrays["target"]
    assert target.shape[1] == 3
    assert ((target == END).sum(dim=1) == 1).all()
    (ids,) = token_ids(fitted.state["tokenizer"], [str(pairs().columns["input"].values[0])])
    assert fitted.arrays["source"][0].tolist()[: len(ids[:2])] == ids[:2]


def test_transformer_width_not_divided_by_heads_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of heads"):
        TinyTransformer(corpus(), width=20, heads=8)


def test_transformer_context_beyond_its_positions_is_refused() -> None:
    with pytest.raises(InputError, match="max_positions must reach 8"):
        TinyTransformer(corpus(), {"max_positions": 4})
