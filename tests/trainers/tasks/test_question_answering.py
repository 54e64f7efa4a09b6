"""Answers out of a context: SQuAD's way to compare them, the loss, and the stretch that is chosen."""

from __future__ import annotations

import math

import pytest
import torch

from tests.trainers.tasks.test_metrics import question_scores, score_in_pieces
from trainers.tasks import rules_for
from trainers.tasks.example_scores import ExampleScores
from trainers.tasks.question_answering import likeliest_answers, right_answers
from trainers.tasks.squad import exact_match, f1_score, normalise_answer

PAIRS = (
    ("The  Red, box!", "red box"),
    ("a box of coins", "the red box"),
    ("Anna", "Bert"),
    ("17", "7"),
    ("in the kitchen, in the hall", "in a hall"),
    ("anthem", "an them"),
)


def test_answer_scores_equal_torchmetrics() -> None:
    from torchmetrics.functional.text import squad

    for found, right in PAIRS:
        answer = {"answers": {"answer_start": [0], "text": [right]}, "id": "1"}
        expected = squad([{"prediction_text": found, "id": "1"}], [answer])
        assert exact_match(found, right) == float(expected["exact_match"]) / 100
        assert f1_score(found, right) == pytest.approx(float(expected["f1"]) / 100)
    assert normalise_answer(" The  Red, box!") == "red box"
    assert (f1_score("the", "a"), f1_score("the", "box"), exact_match("the", "a")) == (1.0, 0.0, 1.0)


def test_answer_loss_is_mean_cross_entropy_of_both_ends() -> None:
    rules, (scores, batch) = rules_for({"task": "question-answering"}), question_scores(8)
    seen = batch["target"][:, 0] >= 0
    places = batch["target"][seen, 0]
    ends = [torch.nn.functional.cross_entropy(scores[seen][..., i], places) for i in (0, 1)]
    torch.testing.assert_close(rules.loss(scores, batch, {}), sum(ends) / 2)
    smooth = [
        torch.nn.functional.cross_entropy(scores[seen][..., i], places, label_smoothing=0.1) for i in (0, 1)
    ]
    torch.testing.assert_close(rules.loss(scores, batch, {"label_smoothing": 0.1}), sum(smooth) / 2)


def test_answer_outside_the_window_has_target_zero() -> None:
    rules, (scores, batch) = rules_for({"task": "question-answering"}), question_scores(1)
    scores[0, int(batch["target"][0, 0]), 1] = float("-inf")  # the window ends within the answer
    expected = -(scores[0, 0, 0] + scores[0, 0, 1]) / 2
    torch.testing.assert_close(rules.loss(scores, batch, {}), expected)
    assert math.isfinite(rules.loss(scores, batch, {"label_smoothing": 0.5}))


def test_likeliest_answer_is_no_longer_than_allowed() -> None:
    _, batch = question_scores(1)
    scores = torch.full((1, 7, 2), -9.0)
    scores[0, 2, 0], scores[0, 5, 1] = -0.1, -0.2  # from v to y
    (found,) = likeliest_answers(scores, batch, 4)
    assert (found.text, found.start, found.end) == ("v w x y", 2, 9)
    assert found.score == pytest.approx(math.exp(-0.3))
    (short,) = likeliest_answers(scores, batch, 3)
    assert len(short.text.split()) <= 3
    scores[0, 1:] = float("-inf")
    (nothing,) = likeliest_answers(scores, batch, 4)
    assert (nothing.text, nothing.score) == ("", 0.0)


def test_answer_beyond_the_kept_context_scores_as_never_found() -> None:
    rules, (scores, batch) = rules_for({"task": "question-answering"}), question_scores(61)
    perfect = torch.full_like(scores, -20.0)
    for row, right in enumerate(right_answers(batch)):
        if right is not None:
            perfect[row, batch["target"][row, 0]] = 0.0
    values = score_in_pieces(rules, perfect, batch)
    assert values["exact_match"] == values["f1"] == pytest.approx(46 / 61)
    assert values["loss"] == 0.0
    metrics, singly = rules.metric_set("cpu"), ExampleScores(rules, "cpu")
    metrics.update(perfect, batch)
    singly.update(perfect, batch)
    each = singly.compute(metrics.compute())
    assert each.keys() == {"exact_match", "f1"}
    assert each["f1"].tolist() == [float(row % 4 != 3) for row in range(61)]
    assert rules.trivial(["Ann", "the Ann", "Ann", "Bob"], ["ann", "Bob"])["exact_match"] == 0.5  # type: ignore[arg-type]
