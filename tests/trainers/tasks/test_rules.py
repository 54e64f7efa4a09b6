"""Losses, answers in a person's terms, and the trivial guess."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from sklearn.dummy import DummyClassifier

from trainers.tasks import rules_for

CLASSES = {"task": "classification", "classes": ["cat", "dog", "eel"]}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
def test_cross_entropy_with_smoothing_and_weights(smoothing: float, weights: list[float] | None) -> None:
    logits, target = torch.randn(8, 3), torch.randint(0, 3, (8,))
    rules = rules_for({**CLASSES, "class_weights": weights})
    tensor = None if weights is None else torch.tensor(weights)
    each = torch.nn.CrossEntropyLoss(tensor, label_smoothing=smoothing, reduction="none")(logits, target)
    found = rules.loss(logits, {"target": target}, {"label_smoothing": smoothing})
    torch.testing.assert_close(found, each.mean())


def test_a_weighted_loss_is_the_mean_of_its_parts() -> None:
    logits, target = torch.randn(8, 3), torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    rules = rules_for({**CLASSES, "class_weights": [1.0, 2.0, 5.0]})
    halves = [rules.loss(logits[part], {"target": target[part]}, {}) for part in (slice(4), slice(4, 8))]
    torch.testing.assert_close(sum(halves) / 2, rules.loss(logits, {"target": target}, {}))


def test_squared_error_takes_either_shape() -> None:
    rules, target = rules_for({"task": "regression"}), torch.randn(6)
    outputs = torch.randn(6, 1, requires_grad=True)
    loss = rules.loss(outputs, {"target": target}, {})
    assert torch.equal(loss, (outputs[:, 0] - target).square().mean())


@pytest.mark.parametrize("task", ["language-model", "seq2seq"])
def test_token_loss_leaves_out_what_is_not_to_be_learned(task: str) -> None:
    logits = torch.randn(3, 4, 9, requires_grad=True)
    target = torch.randint(0, 9, (3, 4))
    target[1] = -100
    rules = rules_for({"task": task})
    expected = torch.nn.functional.cross_entropy(logits[[0, 2]].flatten(0, 1), target[[0, 2]].flatten())
    assert rules.loss(logits, {"target": target}, {}).item() == pytest.approx(expected.item())
    nothing = rules.loss(logits, {"target": torch.full((3, 4), -100)}, {})
    nothing.backward()
    assert nothing.item() == 0.0
    assert logits.grad is not None
    assert bool((logits.grad == 0).all())


def test_class_prediction_has_label_and_probabilities() -> None:
    frame = rules_for(CLASSES).to_user(torch.tensor([[0.0, 3.0, 0.0], [9.0, 0.0, 0.0]]))
    assert list(frame.columns) == ["label", "p_cat", "p_dog", "p_eel"]
    assert list(frame["label"]) == ["dog", "cat"]
    assert frame[["p_cat", "p_dog", "p_eel"]].sum(axis=1).to_numpy() == pytest.approx(1.0)


def test_token_prediction_is_text() -> None:
    state = {"vocabulary": ["<pad>", "<unk>", "<end>", "a", "b"], "special_ids": [2], "end_id": 2}
    language = rules_for({"task": "language-model", **state})
    ids = torch.tensor([[3, 4, 2, 3], [4, 0, 0, 0]])
    assert list(language.to_user({"tokens": ids})["text"]) == ["a b", "b"]
    logits = torch.zeros(1, 2, 5)
    logits[0, 1, 4] = 50
    frame = language.to_user(logits)
    assert frame["next"].tolist() == ["b"]
    assert frame["probability"].tolist() == pytest.approx([1.0])
    pairs = rules_for({"task": "seq2seq", "target_vocabulary": state["vocabulary"], "end_id": 2})
    assert pairs.to_user({"tokens": ids})["output"].tolist() == ["a b", "b"]
    assert pairs.to_user(logits)["output"].tolist() == ["b"]


def test_a_tokenizer_of_the_library_decodes() -> None:
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.BPE({"h": 3, "i": 4, "hi": 5}, [("h", "i")]))
    tokenizer.decoder = decoders.Fuse()
    rules = rules_for({"task": "seq2seq", "tokenizer": tokenizer.to_str()})
    assert rules.to_user({"tokens": torch.tensor([[5, 4, 0]])})["output"].tolist() == ["hii"]


def test_reconstruction_prediction_has_its_columns() -> None:
    made = torch.tensor([[1.0, 2.0]])
    assert list(rules_for({"task": "reconstruction", "features": ["x", "y"]}).to_user(made).columns) == [
        "x",
        "y",
    ]
    assert rules_for({"task": "reconstruction"}).to_user(made)["reconstruction"].tolist() == [[1.0, 2.0]]


def test_the_majority_is_the_guess_of_a_classifier() -> None:
    chance = np.random.default_rng(0)
    train, validation = chance.choice(3, 90, p=[0.2, 0.5, 0.3]), chance.choice(3, 40)
    got = rules_for(CLASSES).trivial(train, validation)
    guess = DummyClassifier().fit(train[:, None], train).predict(validation[:, None])
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(validation, guess))
    assert got["balanced_accuracy"] == pytest.approx(1 / 3)
    assert got["f1"] == pytest.approx(sk.f1_score(validation, guess, average="macro"))
    assert got["auc"] == 0.5
    assert got["loss"] == pytest.approx(sk.log_loss(validation, [np.bincount(train) / 90] * 40), rel=0.05)


def test_the_mean_is_the_guess_of_a_regression() -> None:
    train, validation = np.array([1.0, 2.0, 6.0]), np.array([3.0, 5.0, np.nan])
    got = rules_for({"task": "regression", "target_std": 2.0}).trivial(train, validation)
    assert got == pytest.approx({"mse": 2.0, "rmse": 2**0.5, "mae": 1.0, "r2": -1.0, "loss": 0.5})


def test_frequencies_are_the_guess_of_a_language_model() -> None:
    state = {"task": "language-model", "vocabulary": ["", "", "a", "b"], "joiner": ""}
    got = rules_for(state).trivial(np.array([2, 2, 2, 3]), np.array([[2, 3], [-100, 2]]))
    chances = np.array([1, 1, 4, 2]) / 8
    loss = -np.log(chances[[2, 3, 2]]).mean()
    assert got == pytest.approx(
        {"loss": loss, "perplexity": np.exp(loss), "bits_per_character": loss / np.log(2)}
    )


def test_the_commonest_answer_is_the_guess_of_seq2seq() -> None:
    got = rules_for({"task": "seq2seq"}).trivial(np.array(["x", "y", "x"]), np.array(["x", "z"]))
    assert got == {"exact_match": 0.5}


def test_guess_of_seq2seq_has_a_loss_where_targets_are_tokens() -> None:
    train, validation = np.array([[4, 2, -100], [4, 2, -100]]), np.array([[4, 5, 2], [4, 2, -100]])
    got = rules_for({"task": "seq2seq"}).trivial(train, validation)
    chances = np.array([1, 1, 3, 1, 3, 1]) / 10
    assert got == pytest.approx({"exact_match": 0.5, "loss": -np.log(chances[[4, 5, 2, 4, 2]]).mean()})


def test_the_mean_is_the_guess_of_a_reconstruction() -> None:
    got = rules_for({"task": "reconstruction"}).trivial(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]]))
    assert got["mse"] == 2.0


@pytest.mark.parametrize("task", ["classification", "regression", "language-model"])
def test_trivial_guess_without_rows_is_empty(task: str) -> None:
    assert rules_for({**CLASSES, "task": task}).trivial(np.zeros(0, int), np.zeros(0, int)) == {}


def test_metric_names_and_rules_import_no_torch() -> None:
    code = (
        "import sys; import trainers.metric_names, trainers.tasks, trainers.data.augment, trainers.job\n"
        "rules = trainers.tasks.rules_for({'task': 'classification', 'classes': ['a', 'b']})\n"
        "import numpy; rules.trivial(numpy.array([0, 1]), numpy.array([1]))\n"
        "sys.exit('torch' in sys.modules or 'torchmetrics' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=600, check=False).returncode == 0
