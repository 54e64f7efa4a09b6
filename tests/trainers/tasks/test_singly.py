"""Each example's own scores: their mean is the metric, in any batches, and what has no share is left out."""

from __future__ import annotations

import pytest
import torch

from trainers.tasks import rules_for
from trainers.tasks.example_scores import ExampleScores

CASES = {
    "classification": ({"task": "classification", "classes": ["a", "b", "c"]}, (3,), "classes"),
    "regression": (
        {"task": "regression", "target_mean": [1.0, 2.0], "target_std": [3.0, 0.5]},
        (2,),
        "numbers",
    ),
    "reconstruction": ({"task": "reconstruction"}, (4,), "itself"),
    "language-model": ({"task": "language-model", "vocabulary": list("abcde")}, (6, 5), "tokens"),
}


def batch_of(kind: str, shape: tuple[int, ...], count: int) -> dict[str, torch.Tensor]:
    if kind == "classes":
        return {"target": torch.randint(0, shape[0], (count,))}
    if kind == "tokens":
        return {"target": torch.randint(0, shape[1], (count, shape[0]))}
    return {"target": torch.randn(count, *shape)}


@pytest.mark.parametrize("case", CASES)
def test_example_scores_have_the_metric_as_their_mean(case: str) -> None:
    torch.manual_seed(0)
    state, shape, kind = CASES[case]
    rules = rules_for(state)
    metrics, singly = rules.metric_set("cpu"), ExampleScores(rules, "cpu")
    for count in (7, 1, 12):
        outputs, batch = torch.randn(count, *shape), batch_of(kind, shape, count)
        metrics.update(outputs, batch)
        singly.update(outputs, batch)
    found, scores = metrics.compute(), singly.compute(metrics.compute())
    assert set(scores) == set(singly.names)
    for name, values in scores.items():
        assert values.shape == (20,)
        assert float(values.mean()) == pytest.approx(found[name])


def test_example_scores_of_unequal_texts_have_no_token_loss() -> None:
    torch.manual_seed(0)
    rules = rules_for({"task": "language-model", "vocabulary": list("abcde")})
    target = torch.randint(0, 5, (3, 6))
    target[0, 2:] = -100
    outputs, metrics, singly = torch.randn(3, 6, 5), rules.metric_set("cpu"), ExampleScores(rules, "cpu")
    metrics.update(outputs, {"target": target})
    singly.update(outputs, {"target": target})
    assert singly.compute(metrics.compute()) == {}


def test_example_scores_of_unknown_rules_are_empty() -> None:
    rules = rules_for({"task": "seq2seq", "vocabulary": list("abc")})
    singly = ExampleScores(rules, "cpu")
    singly.update(torch.randn(2, 3, 4), {"target": torch.zeros(2, 3, dtype=torch.long)})
    assert singly.compute({"loss": 1.0}) == {}
