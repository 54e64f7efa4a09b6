"""Metrics: scikit-learn's and torchmetrics' numbers, in one piece or merged from parts of any size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainers.tasks.merged import merge_metrics
from trainers.data.dataset import Task
from trainers.errors import InputError, NotFinite
from trainers.metric_names import DIRECTIONS, FOR_ALL, PER_TASK, USUAL, direction_of
from trainers.tasks import MetricSet, TaskRules, rules_for
from trainers.tasks.text_overlap import COUNTS, text_counts, text_metric

Batch = dict[str, torch.Tensor]
VOCABULARY = ["", "?", "a", "bc", "d", "ef", "g", "h"]


def classes(count: int) -> list[str]:
    return [f"c{i}" for i in range(count)]


def classification(count: int, **more: Any) -> TaskRules:
    return rules_for({"task": "classification", "classes": classes(count), **more})


def problem(count: int, rows: int, seed: int = 0, *, ties: bool = False) -> tuple[torch.Tensor, Batch]:
    """Logits [rows, count] that know something of the targets."""
    chance = torch.Generator().manual_seed(seed)
    target = torch.randint(0, count, (rows,), generator=chance)
    logits = torch.randn(rows, count, generator=chance) + 1.5 * torch.nn.functional.one_hot(target, count)
    return logits.round() if ties else logits, {"target": target}


def score_in_pieces(
    rules: TaskRules, outputs: Any, batch: Batch, cuts: tuple[int, ...] = ()
) -> dict[str, float]:
    """The metrics of all rows, given in pieces that end at the cuts."""
    metrics = rules.metric_set("cpu")
    fill(metrics, outputs, batch, cuts)
    return metrics.compute()


def fill(metrics: MetricSet, outputs: Any, batch: Batch, cuts: tuple[int, ...] = ()) -> None:
    edges = [0, *cuts, len(batch["target"])]
    for start, end in pairwise(edges):
        part = {name: values[start:end] for name, values in batch.items()}
        metrics.update(_slice_outputs(outputs, start, end), part)


def _slice_outputs(outputs: Any, start: int, end: int) -> Any:
    if isinstance(outputs, Mapping):
        return {name: values[start:end] for name, values in outputs.items()}
    return outputs[start:end]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("count", "rows"), [(2, 50), (3, 200), (10, 333), (300, 900)])
def test_classification_equals_scikit_learn(count: int, rows: int, ties: bool) -> None:
    logits, batch = problem(count, rows, ties=ties)
    got = score_in_pieces(classification(count), logits, batch, cuts=(7, rows - 1))
    chances, target = logits.double().softmax(-1).numpy(), batch["target"].numpy()
    guess = logits.argmax(-1).numpy()
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": sk.accuracy_score(target, guess),
        "balanced_accuracy": sk.recall_score(target, guess, labels=np.unique(target), **macro),
        "precision": sk.precision_score(target, guess, **macro),
        "recall": sk.recall_score(target, guess, **macro),
        "f1": sk.f1_score(target, guess, **macro),
        "loss": sk.log_loss(target, chances, labels=range(count)),
    }
    if count <= 100:
        float32 = logits.softmax(-1).numpy()
        present = np.unique(target)
        expected["auc"] = (
            sk.roc_auc_score(target, float32[:, 1])
            if count == 2
            else np.mean([sk.roc_auc_score(target == c, float32[:, c]) for c in present])
        )
    assert got == pytest.approx(expected, abs=1e-6)
    assert set(got) <= set(PER_TASK["classification"])


def test_classification_equals_torchmetrics() -> None:
    from torchmetrics.functional import classification as tm

    logits, batch = problem(5, 400)
    got = score_in_pieces(classification(5), logits, batch)
    target = batch["target"]
    assert got["accuracy"] == pytest.approx(float(tm.multiclass_accuracy(logits, target, 5, average="micro")))
    assert got["f1"] == pytest.approx(float(tm.multiclass_f1_score(logits, target, 5)))
    assert got["precision"] == pytest.approx(float(tm.multiclass_precision(logits, target, 5)))
    assert got["recall"] == pytest.approx(float(tm.multiclass_recall(logits, target, 5)))
    assert got["auc"] == pytest.approx(float(tm.multiclass_auroc(logits, target, 5)))


def test_balanced_accuracy_is_over_classes_that_occur() -> None:
    logits = torch.eye(3)[torch.tensor([0, 0, 2, 1])]
    got = score_in_pieces(classification(3), logits, {"target": torch.tensor([0, 0, 0, 1])})
    assert got["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert got["recall"] == pytest.approx((2 / 3 + 1 + 0) / 3)


CASES: dict[str, Any] = {
    "classification": lambda: (classification(4), *problem(4, 61)),
    "many classes": lambda: (classification(300), *problem(300, 61)),
    "regression": lambda: (
        rules_for({"task": "regression", "target_mean": 3.0, "target_std": 2.0}),
        torch.randn(61, 1, generator=torch.Generator().manual_seed(1)),
        {"target": torch.randn(61, generator=torch.Generator().manual_seed(2))},
    ),
    "language-model": lambda: (
        rules_for({"task": "language-model", "vocabulary": VOCABULARY, "joiner": ""}),
        torch.randn(61, 5, 8, generator=torch.Generator().manual_seed(1)),
        {"target": tokens(61, 5)},
    ),
    "seq2seq": lambda: (
        rules_for({"task": "seq2seq", "vocabulary": VOCABULARY}),
        {
            "logits": torch.randn(61, 5, 8, generator=torch.Generator().manual_seed(1)),
            "tokens": tokens(61, 5, seed=5),
        },
        {"target": tokens_half_right()},
    ),
    "question-answering": lambda: (rules_for({"task": "question-answering"}), *question_scores(61)),
    "reconstruction": lambda: (
        rules_for({"task": "reconstruction"}),
        torch.randn(61, 3, 2, generator=torch.Generator().manual_seed(1)),
        {"inputs": torch.randn(61, 3, 2), "target": torch.randn(61, 3, 2)},
    ),
}


def tokens_half_right() -> torch.Tensor:
    right = tokens(61, 5, seed=5)
    return right.where(torch.arange(61)[:, None] % 2 == 0, right.roll(1, 0))


def question_scores(rows: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Contexts of six words of one letter; the fourth of each four answers lies beyond what is kept."""
    chance = torch.Generator().manual_seed(1)
    scores = torch.randn(rows, 7, 2, generator=chance).log_softmax(1)
    text = torch.tensor(list(b"u v w x y z"), dtype=torch.uint8).expand(rows, -1)
    first = torch.arange(6)[:, None] * 2 + torch.tensor([0, 1])
    place = torch.randint(1, 7, (rows, 1), generator=chance)
    target = torch.cat([place, place, 2 * place - 2, 2 * place - 1], dim=1)
    target[3::4] = torch.tensor([-100, -100, -1, -1])
    offsets = first.int().expand(rows, -1, -1)
    return scores, {"target": target, "text": text, "offsets": offsets}


def tokens(rows: int, length: int, seed: int = 3) -> torch.Tensor:
    ids = torch.randint(2, 8, (rows, length), generator=torch.Generator().manual_seed(seed))
    ids[::4, 3:] = -100
    return ids


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.integers(0, 61), max_size=3), split=st.integers(0, 61))
def test_metrics_of_pieces_merge_to_the_whole(case: str, cuts: list[int], split: int) -> None:
    rules, outputs, batch = CASES[case]()
    whole = score_in_pieces(rules, outputs, batch)
    assert score_in_pieces(rules, outputs, batch, tuple(sorted(cuts))) == pytest.approx(whole, rel=1e-6)
    first, second = rules.metric_set("cpu"), rules.metric_set("cpu")
    for metrics, (start, end) in ((first, (0, split)), (second, (split, 61))):
        if start < end:
            part = {name: values[start:end] for name, values in batch.items()}
            metrics.update(_slice_outputs(outputs, start, end), part)
            metrics.compute()  # looking early must not fix the answer
    merge_metrics(first, second)
    assert first.compute() == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_metrics_are_finite_and_have_known_names(case: str) -> None:
    rules, outputs, batch = CASES[case]()
    values = score_in_pieces(rules, outputs, batch)
    assert all(math.isfinite(value) for value in values.values())
    assert set(values) <= set(rules.metrics) <= set(DIRECTIONS)
    assert rules.metrics[0] in values
    assert rules.metric_set("cpu").compute() == {}


@pytest.mark.parametrize("case", CASES)
def test_metrics_of_non_finite_outputs_raise_not_finite(case: str) -> None:
    rules, outputs, batch = CASES[case]()
    bad = (
        {**outputs, "logits": outputs["logits"] * math.nan}
        if isinstance(outputs, dict)
        else outputs * math.nan
    )
    with pytest.raises(NotFinite):
        score_in_pieces(rules, bad, batch)


def test_classification_of_one_class_has_no_auc() -> None:
    logits, _ = problem(3, 20)
    got = score_in_pieces(classification(3), logits, {"target": torch.ones(20, dtype=torch.int64)})
    assert "auc" not in got
    assert {"accuracy", "f1", "loss"} <= got.keys()


def test_scores_are_kept_only_when_asked() -> None:
    logits, batch = problem(3, 20)
    metrics = classification(3).metric_set("cpu", scores=False)
    metrics.update(logits, batch)
    assert "auc" not in metrics.compute()
    assert metrics.rows() == []


def test_confusion_counts_true_by_predicted() -> None:
    logits, batch = problem(4, 100)
    metrics = classification(4).metric_set("cpu")
    fill(metrics, logits, batch, (33,))
    expected = sk.confusion_matrix(batch["target"].numpy(), logits.argmax(-1).numpy(), labels=range(4))
    assert np.array_equal(metrics.confusion(), expected)
    assert classification(300).metric_set("cpu").confusion() is None


@pytest.mark.parametrize("shape", [(40,), (40, 1)])
def test_regression_metrics_are_in_the_targets_units(shape: tuple[int, ...]) -> None:
    chance = np.random.default_rng(0)
    known, guess = chance.normal(50, 20, 40), chance.normal(50, 20, 40)
    rules = rules_for({"task": "regression", "target_mean": 50.0, "target_std": 20.0})
    outputs, target = (torch.tensor((v - 50) / 20).reshape(shape) for v in (guess, known))
    got = score_in_pieces(rules, outputs, {"target": target.flatten()}, cuts=(13,))
    mse = sk.mean_squared_error(known, guess)
    expected = {
        "mse": mse,
        "rmse": math.sqrt(mse),
        "mae": sk.mean_absolute_error(known, guess),
        "r2": sk.r2_score(known, guess),
        "loss": mse / 400,
    }
    assert got == pytest.approx(expected)
    frame = rules.to_user(outputs)
    assert frame["prediction"].to_numpy() == pytest.approx(guess)


def test_regression_of_several_targets_averages_in_their_units() -> None:
    chance = np.random.default_rng(1)
    known, guess = chance.normal(size=(30, 2)) * [1, 100], chance.normal(size=(30, 2)) * [1, 100]
    rules = rules_for(
        {"task": "regression", "target_mean": [0, 0], "target_std": [1, 100], "targets": ["x", "y"]}
    )
    scale = torch.tensor([1.0, 100.0], dtype=torch.float64)
    got = score_in_pieces(
        rules, torch.tensor(guess) / scale, {"target": torch.tensor(known) / scale}, cuts=(4,)
    )
    assert got["mse"] == pytest.approx(sk.mean_squared_error(known, guess))
    assert got["r2"] == pytest.approx(sk.r2_score(known, guess))
    frame = rules.to_user(torch.tensor(guess) / scale)
    assert list(frame.columns) == ["prediction_x", "prediction_y"]


def test_regression_of_large_unscaled_targets_keeps_r2() -> None:
    chance = np.random.default_rng(0)
    known = 1e6 + chance.normal(size=500)
    guess = known + 0.1 * chance.normal(size=500)
    got = score_in_pieces(
        rules_for({"task": "regression"}), torch.tensor(guess), {"target": torch.tensor(known)}
    )
    assert got["r2"] == pytest.approx(sk.r2_score(known, guess), abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 1e6])
def test_regression_of_equal_targets_has_no_r2(value: float) -> None:
    got = score_in_pieces(
        rules_for({"task": "regression"}), torch.zeros(9), {"target": torch.full((9,), value)}
    )
    assert "r2" not in got
    assert got["mse"] == value**2


def test_perplexity_and_bits_follow_from_the_loss() -> None:
    rules, logits, batch = CASES["language-model"]()
    got = score_in_pieces(rules, logits, batch)
    target = batch["target"]
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    counted = target.flatten() != -100
    mean = float(losses[counted].double().mean())
    characters = sum(len(VOCABULARY[i]) for i in target.flatten()[counted].tolist())
    assert got["loss"] == pytest.approx(mean)
    assert got["perplexity"] == pytest.approx(math.exp(mean))
    assert got["bits_per_character"] == pytest.approx(float(losses[counted].sum()) / math.log(2) / characters)
    assert float(rules.loss(logits, batch, {})) == pytest.approx(mean)


def test_bits_per_character_need_token_lengths() -> None:
    words = rules_for({"task": "language-model", "vocabulary": VOCABULARY})
    assert "bits_per_character" not in score_in_pieces(words, *CASES["language-model"]()[1:])


def test_perplexity_that_overflows_raises_not_finite() -> None:
    logits = torch.tensor([[[0.0, 5000.0]]])
    with pytest.raises(NotFinite, match="perplexity"):
        score_in_pieces(rules_for({"task": "language-model"}), logits, {"target": torch.tensor([[0]])})


def test_generated_texts_are_compared_as_torchmetrics_does() -> None:
    from torchmetrics.functional.text import bleu_score, chrf_score

    rules, outputs, batch = CASES["seq2seq"]()
    got = score_in_pieces(rules, outputs, batch, cuts=(20,))
    texts = [
        [" ".join(VOCABULARY[i] for i in row if i >= 2) for row in ids.tolist()]
        for ids in (outputs["tokens"], batch["target"])
    ]
    found, wanted = texts[0], [[text] for text in texts[1]]
    assert got["exact_match"] == pytest.approx(np.mean([a == b for a, b in zip(*texts, strict=True)]))
    assert 0.3 < got["exact_match"] < 0.7
    assert got["bleu"] == pytest.approx(float(bleu_score(found, wanted)))
    assert got["chrf"] == pytest.approx(float(chrf_score(found, wanted)))


def test_texts_are_not_judged_by_a_pass_that_saw_the_target() -> None:
    rules, outputs, batch = CASES["seq2seq"]()
    assert set(score_in_pieces(rules, outputs["logits"], batch)) == {"loss"}


def test_reconstruction_is_compared_with_its_input() -> None:
    rules = rules_for({"task": "reconstruction"})
    inputs, made = torch.rand(10, 4), torch.rand(10, 4)
    expected = float((inputs - made).square().mean())
    metrics = rules.metric_set("cpu")
    metrics.update({"reconstruction": made}, {"inputs": inputs})
    assert metrics.compute()["mse"] == pytest.approx(expected)
    assert float(rules.loss(made, {"inputs": inputs}, {})) == pytest.approx(expected)


def test_metrics_by_class_are_scikit_learns() -> None:
    outputs, batch = problem(3, 60)
    got = score_in_pieces(classification(3, per_class=True), outputs, batch)
    guess, target = outputs.argmax(-1).numpy(), batch["target"].numpy()
    wanted = sk.precision_recall_fscore_support(target, guess, labels=range(3))
    for name, values in zip(("precision", "recall", "f1"), wanted, strict=False):
        found = [got[f"{name}_{label}"] for label in classes(3)]
        np.testing.assert_allclose(found, values, atol=1e-12)
    assert not any(name.startswith("recall_") for name in score_in_pieces(classification(3), outputs, batch))
    assert direction_of("val/recall_a/b") == direction_of("f1_a") == "maximize"


def test_rouge_equals_torchmetrics() -> None:
    from torchmetrics.functional.text.rouge import rouge_score

    generator = np.random.default_rng(6)
    words = ["The", "cat", "sat.", "on", "a", "mat,", "the", "dog's", "2nd", "mat"]
    wanted = [" ".join(generator.choice(words, size)) for size in (1, 4, 9, 30, 70, 12)]
    found = [" ".join(generator.permutation(text.split())[: 1 + len(text) // 6]) for text in wanted]
    right = rouge_score(found, wanted, rouge_keys=("rouge1", "rougeL"))
    for name in ("rouge1", "rougeL"):
        counts = np.stack([text_counts(name, *pair) for pair in zip(found, wanted, strict=True)])
        whole = float(text_metric(name, counts.sum(axis=0)))
        assert whole == pytest.approx(float(right[f"{name}_fmeasure"]), rel=1e-6)
        assert 0.0 < whole < 1.0


@pytest.mark.parametrize(
    ("found", "wanted", "one", "longest"),
    [
        ("police killed the gunman", "Police kill the gunman!", 3 / 4, 3 / 4),  # Lin's own example
        ("the gunman kill police", "police kill the gunman", 1.0, 2 / 4),
        ("a a a b", "a b b", 2 * 2 / 7, 2 * 2 / 7),  # a counts once, for it stands once in the reference
        ("schöne Grüße", "Schöne grüße, Welt", 2 * 2 / 5, 2 * 2 / 5),
        ("", "a", 0.0, 0.0),
        ("...", "", 0.0, 0.0),
    ],
)
def test_rouge_of_texts_counted_by_hand(found: str, wanted: str, one: float, longest: float) -> None:
    values = [float(text_metric(name, text_counts(name, found, wanted))) for name in ("rouge1", "rougeL")]
    assert values == pytest.approx([one, longest])


def test_tasks_all_have_a_usual_metric_with_direction() -> None:
    tasks: tuple[Task, ...] = get_args(Task)
    assert set(PER_TASK) == set(USUAL) == set(tasks)
    names = {name for names in PER_TASK.values() for name in names} | set(FOR_ALL) | {"distance"}
    assert names == set(DIRECTIONS)
    assert direction_of("val/accuracy") == direction_of("accuracy") == "maximize"
    assert direction_of("latency_ms") == "minimize"
    assert direction_of("mine") is None


def test_rules_of_a_state_without_task_are_refused() -> None:
    with pytest.raises(InputError, match="must name its task"):
        rules_for({"task": "clustering"})
    with pytest.raises(InputError, match="one number for each"):
        classification(3, class_weights=[1.0])


def test_bleu_and_chrf_equal_torchmetrics() -> None:
    """To float32's digits, which is what torchmetrics counts in."""
    from torchmetrics.text import BLEUScore, CHRFScore

    generator = np.random.default_rng(5)
    words = ["a", "(one", "two,", "three", "four.", "Ünï", "x", "!", "the"]
    wanted = [" ".join(generator.choice(words, size)) for size in (1, 3, 9, 20, 12, 4, 15)]
    found = [" ".join(w if generator.random() < 0.8 else "zz" for w in text.split()) for text in wanted]
    found += ["", "zz qq"]
    wanted += ["one two", "the end"]
    for name, metric in (("bleu", BLEUScore()), ("chrf", CHRFScore())):
        counts = np.stack([text_counts(name, *pair) for pair in zip(found, wanted, strict=True)])
        right = float(metric(found, [[text] for text in wanted]))
        assert float(text_metric(name, counts.sum(axis=0))) == pytest.approx(right, rel=1e-6)
        assert counts.shape[1] == COUNTS[name]
        assert float(text_metric(name, np.zeros(COUNTS[name]))) == 0.0
