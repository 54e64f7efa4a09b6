"""Attention maps: the weights that the module itself attends by, from word to word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from tests.trainers.explaining.trained import predictor_of
from tests.trainers.families import cases
from trainers.explaining.attention_maps import AttentionRecorder, attention_of_words
from trainers.explaining.explainer import Explainer
from trainers.explaining.words import Word

BERT = {"width": 16, "heads": 2, "layers": 2, "feed_forward": 16, "vocabulary": 300}
TRANSFORMER = {"width": 16, "heads": 2, "layers": 2, "feed_forward": 16}


@pytest.mark.parametrize("masked", ["no", "boolean", "added", "causal"])
def test_recorded_weights_are_those_that_torch_attends_by(masked: str) -> None:
    """Weights that are averaged over one head, times the values, are the answer."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 1, 5, 4) for _ in range(3))
    keep = torch.tensor([True, True, True, False, True])[None, None, None].expand(2, 1, 5, 5)
    given: dict[str, Any] = {
        "no": {},
        "boolean": {"attn_mask": keep},
        "added": {"attn_mask": torch.zeros(2, 1, 5, 5).masked_fill(~keep, -1e9)},
        "causal": {"is_causal": True},
    }[masked]
    with AttentionRecorder() as seen:
        answer = functional.scaled_dot_product_attention(query, key, value, **given)
    (weights,) = seen.maps
    assert torch.allclose(weights[:, None] @ value, answer, atol=1e-6)


def test_words_of_several_pieces_sum_what_is_asked_and_average_who_asks() -> None:
    rows = [[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.0, 0.5, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0]]
    words = [Word(tokens=(1, 3), start=0, end=4), Word(tokens=(3, 4), start=5, end=6)]
    found = attention_of_words([torch.tensor([rows])], 0, words)
    assert found is not None
    assert found[0] == pytest.approx(np.array([[(0.5 + 1.0) / 2, (0.1 + 0.0) / 2], [0.0, 0.0]]))
    assert attention_of_words([], 0, words) is None


@pytest.mark.parametrize(("name", "params"), [("bert", BERT), ("transformer", TRANSFORMER)])
def test_explained_texts_have_a_map_for_each_layer(name: str, params: dict[str, Any], tmp_path: Path) -> None:
    predictor = predictor_of(name, cases.texts(), tmp_path, epochs=0, **params)
    rows = pd.DataFrame({"text": ["a fine film", "dull"]})
    found = Explainer(predictor).explain(rows)
    assert found.attention is not None
    assert found.words is not None
    for words, maps in zip(found.words, found.attention, strict=True):
        assert maps is not None
        assert maps.shape == (2, len(words), len(words))
        assert (maps.sum(-1) <= 1 + 1e-6).all()
        assert (maps.sum(-1) > 0.1).all()  # the rest goes to the marks around the text, nothing to padding


def test_models_without_attention_have_no_maps(tmp_path: Path) -> None:
    predictor = predictor_of("text_cnn", cases.texts(), tmp_path, epochs=0)
    assert Explainer(predictor).explain(pd.DataFrame({"text": ["dull"]})).attention is None
