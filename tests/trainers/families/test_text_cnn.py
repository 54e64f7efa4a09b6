"""What a text CNN does beyond the contract of all families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers.families.cases import Memory, texts
from trainers.errors import InputError
from trainers.families.text_cnn import TextCNN
from trainers.inputs.vocabulary import PAD, fit_vocabulary
from trainers.modules.layers import WindowConvolutions

STATE = {
    "tokenizer": fit_vocabulary(["one two three four"]),
    "length": 9,
    "classes": ["bad", "good", "so so"],
}


def module(**params: Any) -> torch.nn.Module:
    family = TextCNN()
    return family.build(STATE, family.complete({"embedding": 6, "filters": 5, **params})).eval()


@pytest.mark.parametrize("widths", [[3], [3, 4, 5], [1, 7]])
def test_text_cnn_outputs_have_their_shapes(widths: list[int]) -> None:
    net = module(filter_widths=widths)
    ids = torch.randint(1, 6, (4, 9), dtype=torch.int32)
    features = net.get_submodule("text")(ids)
    assert features.shape == (4, 5 * len(widths))
    assert net(ids).shape == (4, 3)


def test_text_cnn_takes_the_maximum_of_convolutions_over_time() -> None:
    torch.manual_seed(0)
    layer = WindowConvolutions(dims=3, widths=[2], filters=4, activation="tanh")
    x = torch.randn(1, 5, 3)
    weight, bias = layer.get_parameter("windows.0.weight"), layer.get_parameter("windows.0.bias")
    spans = torch.stack([x[0, t : t + 2].T for t in range(4)])  # [4, 3, 2]
    by_hand = torch.tanh(torch.einsum("tdw,fdw->tf", spans, weight) + bias).amax(0)
    torch.testing.assert_close(layer(x, torch.tensor([5]))[0], by_hand)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("words", [1, 2, 5, 8])
def test_text_cnn_padding_changes_no_output(words: int, activation: str) -> None:
    torch.manual_seed(0)
    net = module(filter_widths=[2, 5], activation=activation)
    ids = torch.full((2, 9), PAD, dtype=torch.int32)
    ids[0, :words] = torch.randint(1, 6, (words,), dtype=torch.int32)
    ids[1] = torch.randint(1, 6, (9,), dtype=torch.int32)
    alone, together = net(ids[:1]), net(ids)[:1]
    torch.testing.assert_close(alone, together)


def test_text_cnn_padding_vector_stays_zero_in_training() -> None:
    net = module()
    words = net.get_parameter("text.words.weight")
    assert not words[PAD].any()
    net(torch.tensor([[2, 3, PAD, PAD]])).sum().backward()
    assert words.grad is not None
    assert not words.grad[PAD].any()


def test_text_cnn_answers_a_text_of_no_words() -> None:
    import pandas as pd

    arrays = TextCNN().from_user(pd.DataFrame({"text": ["", None, "?!", "***"]}), STATE)
    assert (arrays["inputs"] != PAD).any(axis=1).all()
    assert module()(torch.from_numpy(arrays["inputs"])).isfinite().all()


def test_texts_are_cut_at_max_words_and_no_longer_than_the_longest_of_training() -> None:
    for most, length in ((5, 5), (256, 11)):
        family, memory = TextCNN({"max_words": most}), Memory()
        dataset = texts()
        longest = max(len(str(dataset.columns["text"].values[i]).split()) for i in dataset.splits["train"])
        state = family.encode(dataset, family.complete({}), memory)
        assert memory.arrays["inputs"].shape == (dataset.rows, min(length, longest)) == (90, state["length"])


def test_text_cnn_names_of_the_other_preset_are_refused() -> None:
    with pytest.raises(InputError, match="one that the family reads"):
        TextCNN({"preset": "conv2d"}).complete({"filter_widths": [3]})
    with pytest.raises(InputError, match="one that the family reads"):
        TextCNN().complete({"channels": [4]})


@pytest.mark.parametrize("widths", [[], [0], [2.5], ["3"], 3])
def test_text_cnn_widths_must_be_whole_numbers(widths: Any) -> None:
    with pytest.raises(InputError, match="filter_widths"):
        TextCNN().complete({"filter_widths": widths})


def test_stop_words_of_a_file_are_left_out_and_of_a_missing_one_refused(tmp_path: Path) -> None:
    (tmp_path / "stop.txt").write_text("Film\nthe\n")
    family = TextCNN({"stop_words": str(tmp_path / "stop.txt")})
    state = family.encode(texts(), family.complete({}), Memory())
    assert '"film"' not in state["tokenizer"].split('"vocab"')[1]
    missing = TextCNN({"stop_words": str(tmp_path / "none.txt")})
    with pytest.raises(InputError) as error:
        missing.encode(texts(), missing.complete({}), Memory())
    assert error.value.key == ("options", "stop_words")


def test_text_cnn_regression_is_in_the_targets_units() -> None:
    dataset = texts()
    numbers = np.array([10.0 + 5 * (label == "good") for label in dataset.target.values])  # type: ignore[union-attr]
    target = replace(dataset.target, kind="number", values=numbers)  # type: ignore[type-var]
    family, memory = TextCNN(), Memory()
    params = family.complete({"embedding": 6, "filters": 5})
    state = family.encode(replace(dataset, task="regression", target=target, classes=()), params, memory)
    net = family.build(state, params)
    batch = {name: torch.from_numpy(values) for name, values in memory.arrays.items()}
    outputs = family.outputs(net, batch)
    assert outputs.shape == (90, 1)
    assert family.loss(outputs, batch, params, state).isfinite()
    assert family.to_user(outputs, state)["prediction"].between(-100, 100).all()
