"""Rankings against numbers by hand and against scikit-learn's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from trainers.errors import NotFinite
from trainers.tasks import rules_for
from trainers.tasks.example_scores import ExampleScores
from trainers.tasks.rankings import ndcg, recall
from trainers.tasks.recommendation import popularity_shares

ITEMS = [f"i{at:02}" for at in range(30)]


def make_rules(liked: list[int] | None = None, **state: Any) -> Any:
    given = {"task": "recommendation", "items": ITEMS, "liked": liked or list(range(30, 0, -1))}
    return rules_for({**given, **state})


def make_batch(wanted: dict[int, list[int]]) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Interactions of each user with the items that the user has next; and each row's user."""
    rows = [(user, item, len(items)) for user, items in wanted.items() for item in items]
    users = [user for user, _, _ in rows]
    target = torch.tensor([[item, count] for _, item, count in rows])
    return {"user": torch.tensor(users), "target": target}, users


def judge(rules: Any, scores: torch.Tensor, wanted: dict[int, list[int]]) -> dict[str, float]:
    batch, users = make_batch(wanted)
    metrics = rules.metric_set("cpu")
    metrics.update(scores[users], batch)
    found: dict[str, float] = metrics.compute()
    return found


def test_metrics_of_one_user_equal_those_by_hand() -> None:
    scores = -torch.arange(30.0)[None]  # item 0 first, item 29 last
    found = judge(make_rules(), scores, {0: [1, 3, 20]})
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert found["ndcg_10"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / best)
    assert found["recall_10"] == pytest.approx(2 / 3)
    assert found["ndcg_10_gain"] == pytest.approx(0.0)  # what is most liked ranks them the same


def test_ndcg_over_users_equals_scikit_learns() -> None:
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(12, 30))
    wanted = {user: draw.choice(30, int(draw.integers(1, 15)), replace=False).tolist() for user in range(12)}
    relevant = np.zeros((12, 30))
    for user, items in wanted.items():
        relevant[user, items] = 1
    found = judge(make_rules(), torch.tensor(scores), wanted)
    assert found["ndcg_10"] == pytest.approx(ndcg_score(relevant, scores, k=10))
    ranked = [[ITEMS[item] for item in np.argsort(-row)] for row in scores]
    names = [{ITEMS[item] for item in wanted[user]} for user in range(12)]
    by_answers = [ndcg(*pair) for pair in zip(ranked, names, strict=True)]
    assert np.mean(by_answers) == pytest.approx(found["ndcg_10"])
    found_recall = [recall(*pair) for pair in zip(ranked, names, strict=True)]
    assert np.mean(found_recall) == pytest.approx(found["recall_10"])


def test_items_that_were_seen_do_not_count_before_others() -> None:
    scores = -torch.arange(30.0)[None]
    scores[0, :5] = -torch.inf
    found = judge(make_rules(), scores, {0: [5]})
    assert found["ndcg_10"] == 1.0
    assert found["ndcg_10_gain"] == 0.0  # popularity leaves them out too


def test_unknown_users_are_left_out_and_unknown_items_are_missed() -> None:
    scores = -torch.arange(30.0).repeat(2, 1)
    batch = {"user": torch.tensor([-1, 1, 1]), "target": torch.tensor([[0, 1], [0, 2], [-1, 2]])}
    metrics = make_rules().metric_set("cpu")
    metrics.update(scores[[0, 1, 1]], batch)
    found = metrics.compute()
    assert found["recall_10"] == 0.5
    assert found["ndcg_10"] == pytest.approx(1 / (1 + 1 / math.log2(3)))
    nobody = make_rules().metric_set("cpu")
    nobody.update(scores[:1], {"user": torch.tensor([-1]), "target": torch.tensor([[0, 1]])})
    assert nobody.compute() == {}


def test_equal_scores_rank_by_name_and_never_flatter() -> None:
    found = judge(make_rules(), torch.zeros(1, 30), {0: [12]})
    assert found["ndcg_10"] == 0.0
    assert judge(make_rules(), torch.zeros(1, 30), {0: [0]})["ndcg_10"] == 1.0


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(NotFinite):
        judge(make_rules(), torch.full((1, 30), math.nan), {0: [1]})


def test_popularity_is_the_same_by_rules_and_by_shares() -> None:
    draw = np.random.default_rng(1)
    train = np.unique(np.stack([draw.integers(0, 8, 90), draw.integers(0, 30, 90) ** 2 // 30], 1), axis=0)
    seen = {(int(user), int(item)) for user, item in train}
    counts = np.bincount(train[:, 1], minlength=30)
    free = {u: [i for i in range(30) if (u, i) not in seen] for u in range(8)}
    wanted = {u: draw.choice(free[u], 4, replace=False).tolist() for u in range(8)}
    scores = torch.tensor(counts, dtype=torch.float32).repeat(8, 1)
    for user, item in seen:
        scores[user, item] = -torch.inf
    rules = make_rules(counts.tolist())
    found = judge(rules, scores, wanted)
    judged = np.array([[u, i, 4] for u, items in wanted.items() for i in items])
    assert rules.trivial(train, judged)["ndcg_10"] == pytest.approx(found["ndcg_10"])
    assert rules.trivial(train, judged)["recall_10"] == pytest.approx(found["recall_10"])
    assert found["ndcg_10"] > 0
    assert found["ndcg_10_gain"] == pytest.approx(0.0)
    assert popularity_shares(train, np.array([[-1, 3, 1], [2, -1, 1]]))["ndcg_10"].tolist() == [0.0, 0.0]


def test_examples_of_recommendation_are_users() -> None:
    draw = np.random.default_rng(0)
    scores = torch.tensor(draw.normal(size=(6, 30)))
    wanted = {user: draw.choice(30, 1 + user, replace=False).tolist() for user in range(6)}
    batch, users = make_batch(wanted)
    batch["user"][0] = -1
    rules = make_rules()
    metrics, singly = rules.metric_set("cpu"), ExampleScores(rules, "cpu")
    for rows in (range(10), range(10, len(users))):
        part = {name: values[list(rows)] for name, values in batch.items()}
        outputs = scores[[users[row] for row in rows]]
        metrics.update(outputs, part)
        singly.update(outputs, part)
    singly.set_rows(singly.rows())
    found = singly.compute(metrics.compute())
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(rules.metrics, 5)
    alone = judge(rules, scores, {3: wanted[3]})
    assert float(found["ndcg_10"][2]) == pytest.approx(alone["ndcg_10"])


def test_answers_leave_out_what_was_seen_and_come_best_first() -> None:
    scores = torch.arange(30.0).repeat(2, 1)
    scores[1, 4:] = -torch.inf
    frame = make_rules(answers=12).to_user(scores)
    assert frame["items"][0] == [f"i{at:02}" for at in range(29, 17, -1)]
    assert frame["items"][1] == ["i03", "i02", "i01", "i00"]
    assert sum(frame["scores"][1]) == pytest.approx(1.0)
    assert frame["scores"][0] == sorted(frame["scores"][0], reverse=True)
