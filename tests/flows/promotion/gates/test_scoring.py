"""Metrics of predictions, each example's share in them, and the gates that hold them against fixed bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.config.policy import Policy
from flows.promotion.gates.answer_gates import check_baseline, check_costs, check_metrics
from flows.promotion.gates.data_gates import check_evaluation_data, check_same_data, check_training_rows
from flows.promotion.gates.file_gates import check_approval
from flows.promotion.gates.gate import GateInputs, JudgedData
from flows.promotion.gates.group_gates import check_groups, largest_gap
from flows.promotion.gates.predictions import TaskPredictions, Truth, UnreadablePredictions, parse_predictions
from flows.promotion.gates.scoring import (
    baseline_metric,
    compute_metric,
    compute_metrics,
    correct_scores,
    example_scores,
    judged_metrics,
    known_metrics,
)
from flows.promotion.gates.signatures import signature_columns
from flows.statistics.shares import newcombe_interval
from flows.terminal.formatting import number

THREE = ("a", "b", "c")
CLASSES = Truth(task="classification", values=np.array([0, 0, 0, 1, 1, 1]), classes=THREE)  # no `c` occurs
SAID = TaskPredictions(values=np.array([0, 0, 2, 1, -1, 0]))  # one that is no class of the data
NUMBERS = Truth(task="regression", values=np.array([1.0, 2.0, 3.0, 6.0]))
NEAR = TaskPredictions(values=np.array([1.5, 2.0, 2.0, 6.0]))


def policy(**keys: Any) -> Policy:
    return Policy.model_validate(keys)


def test_metrics_of_classes_count_answers_that_are_no_class_as_wrong() -> None:
    found = compute_metrics(CLASSES, SAID)
    recall, precision = [2 / 3, 1 / 3, 0.0], [2 / 3, 1.0, 0.0]  # of a, b, and c, which is only said
    assert found == pytest.approx({
        "accuracy": 0.5,
        "balanced_accuracy": np.mean(recall[:2]),
        "precision": np.mean(precision),
        "recall": np.mean(recall),
        "f1": np.mean([2 / 3, 2 / 4, 0.0]),
    })  # fmt: skip


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "recall"])
def test_scores_of_examples_have_their_metric_as_mean_where_classes_are_absent_or_only_said(
    name: str,
) -> None:
    scores = example_scores(name, CLASSES, SAID)
    assert scores is not None
    assert scores.mean() == pytest.approx(compute_metric(name, CLASSES, SAID))
    plain = TaskPredictions(values=np.array([0, 1, 0, 1, 1, 0]))
    scores = example_scores(name, CLASSES, plain)
    assert scores is not None
    assert scores.mean() == pytest.approx(compute_metric(name, CLASSES, plain))
    others = replace(CLASSES, values=np.array([1, 1, 1, 2, 2, 2]))
    first_said = TaskPredictions(values=np.array([1, 0, 1, 2, 2, 1]))  # `a` is only said
    scores = example_scores(name, others, first_said)
    assert scores is not None
    assert scores.mean() == pytest.approx(compute_metric(name, others, first_said))


def test_scores_of_examples_are_higher_for_better_answers_and_none_for_metrics_that_are_no_means() -> None:
    chances = np.array([[0.7, 0.2, 0.1]] * 3 + [[0.1, 0.8, 0.1]] * 3)
    sure = replace(SAID, chances=chances)
    loss = example_scores("loss", CLASSES, sure)
    assert loss is not None
    assert loss.mean() == pytest.approx(-(compute_metric("loss", CLASSES, sure) or 0.0))
    assert [example_scores(name, CLASSES, sure) for name in ("f1", "auc", "precision")] == [None] * 3
    assert example_scores("loss", CLASSES, SAID) is None
    errors = {"mse": [-0.25, 0.0, -1.0, 0.0], "mae": [-0.5, 0.0, -1.0, 0.0], "rmse": None, "r2": None}
    for name, wanted in errors.items():
        found = example_scores(name, NUMBERS, NEAR)
        assert (None if found is None else found.tolist()) == wanted, name
    assert correct_scores(NUMBERS, NEAR) is None
    assert example_scores("mse", CLASSES, sure) is None


def test_metric_that_is_not_known_or_not_finite_is_none() -> None:
    flat = Truth(task="regression", values=np.array([2.0, 2.0]))
    assert compute_metric("r2", flat, TaskPredictions(values=np.array([1.0, 2.0]))) is None
    assert compute_metric("mse", flat, TaskPredictions(values=np.array([np.inf, 2.0]))) is None
    sure = replace(SAID, chances=np.full((6, 3), 1 / 3))
    assert compute_metric("brier", CLASSES, sure) is None
    assert compute_metric("auc", CLASSES, SAID) is None
    one = Truth(task="classification", values=np.array([1, 1]), classes=("a", "b"))
    assert compute_metric("auc", one, TaskPredictions(values=one.values, chances=np.eye(2))) is None
    assert known_metrics("generation") == ()
    assert known_metrics("recommendation") == ("ndcg_10", "recall_10")
    assert len(set(judged_metrics())) == len(judged_metrics())
    assert {"f1", "r2", "bleu", "ndcg_10"} <= set(judged_metrics())


def test_area_is_that_of_the_second_class_of_two_and_of_each_that_occurs_of_more() -> None:
    two = Truth(task="classification", values=np.array([0, 0, 1, 1]), classes=("a", "b"))
    second = np.array([[0.0, 0.1], [0.0, 0.6], [0.0, 0.5], [0.0, 0.9]])  # the first's are not given
    assert compute_metric("auc", two, TaskPredictions(values=two.values, chances=second)) == 3 / 4
    chances = np.array([[0.9, 0.1, 0], [0.2, 0.3, 0.5], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7]])
    three = replace(two, classes=THREE)
    found = compute_metric("auc", three, TaskPredictions(values=two.values, chances=chances))
    assert found == pytest.approx((3 / 4 + 3 / 4) / 2)


def test_baseline_is_the_commonest_answer_of_the_task() -> None:
    most = Truth(task="classification", values=np.array([1, 1, 1, 0]), classes=("a", "b"))
    assert baseline_metric(most, "accuracy") == 0.75
    assert baseline_metric(most, "loss") is None
    assert baseline_metric(most, "auc") is None
    assert baseline_metric(NUMBERS, "mse") == pytest.approx(np.var(NUMBERS.values))
    assert baseline_metric(NUMBERS, "r2") == pytest.approx(0.0)
    asked = Truth(task="question-answering", values=["x", "y", "y", "z"])
    assert baseline_metric(asked, "exact_match") == 0.5
    assert baseline_metric(Truth(task="seq2seq", values=["x"]), "bleu") is None


@pytest.mark.parametrize(
    ("name", "said", "verdict", "by"),
    [
        ("mse", NUMBERS.values.mean() + np.zeros(4), "refused", "0"),  # no better than the mean itself
        ("mse", NEAR.values, "passed", "3.19"),
        ("r2", NEAR.values, "passed", "0.911"),
        ("r2", -NEAR.values, "refused", "12.7"),
    ],
)
def test_guess_must_be_beaten_in_the_metric_s_own_direction(
    name: str, said: np.ndarray, verdict: str, by: str
) -> None:
    case = GateInputs(metric=name, truth=NUMBERS, challenger=TaskPredictions(values=said))
    (found,) = check_baseline(Policy(), case)
    assert (found.verdict, found.by) == (verdict, by)
    assert found.value == pytest.approx(compute_metric(name, NUMBERS, case.challenger))
    assert found.bound == pytest.approx(baseline_metric(NUMBERS, name))
    assert list(check_baseline(Policy(), replace(case, truth=CLASSES, metric="auc", challenger=SAID))) == []
    texts = Truth(task="seq2seq", values=["a text"]), TaskPredictions(values=["a text"])
    assert (
        list(check_baseline(Policy(), GateInputs(metric="bleu", truth=texts[0], challenger=texts[1]))) == []
    )


def test_bounds_say_how_much_more_or_less_and_know_metrics_by_their_prefixed_names() -> None:
    case = GateInputs(truth=CLASSES, challenger=SAID)
    bounds = {"val/accuracy": {"at_least": 0.6, "at_most": 0.4}}
    least, most = check_metrics(policy(metrics=bounds), case)
    assert (least.gate, least.limit, least.do) == (
        "metric val/accuracy", "val/accuracy at least 0.6", "0.1 more",
    )  # fmt: skip
    (third,) = check_metrics(policy(metrics={"precision": {"at_least": 0.6}}), case)
    assert (third.by, third.do, third.found) == ("0.0444", "0.0444 more", "0.5556")
    assert (most.limit, most.do, most.value, most.bound) == ("val/accuracy at most 0.4", "0.1 less", 0.5, 0.4)


ROWS = {"one": np.array([1, 1, 1, 0, 0, 0], np.bool_), "two": np.array([0, 0, 0, 1, 1, 1], np.bool_)}
NONE = np.zeros(6, np.bool_)


def test_bound_of_the_gap_is_that_of_the_largest_of_the_sensitive_columns() -> None:
    near = {"x": np.array([1, 0, 0, 1, 0, 0], np.bool_), "y": np.array([0, 1, 1, 0, 1, 1], np.bool_)}
    case = GateInputs(
        truth=CLASSES,
        challenger=SAID,
        sensitive=("sex", "age"),
        groups={"age": near, "sex": {**ROWS, "no": NONE}},
    )
    assert largest_gap(case) == pytest.approx(max(2 / 3 - 1 / 3, 1.0 - 1 / 4))
    (found,) = check_metrics(policy(metrics={"accuracy_gap": {"at_most": 0.5}}), case)
    assert (found.verdict, found.value) == ("refused", 0.75)
    assert largest_gap(replace(case, sensitive=("sex",))) == pytest.approx(1 / 3)
    assert largest_gap(replace(case, sensitive=())) is None
    assert largest_gap(replace(case, truth=NUMBERS, challenger=NEAR)) is None
    texts = Truth(task="seq2seq", values=["a"] * 6)
    assert largest_gap(replace(case, truth=texts, challenger=TaskPredictions(values=["a"] * 6))) is None


def group_case(*rights: int, count: int = 20) -> GateInputs:
    """Groups of so many examples each, of which so many are answered rightly."""
    total = count * len(rights)
    values = np.concatenate([np.arange(count) >= right for right in rights]).astype(np.int64)
    rows = {f"g{i}": np.arange(total) // count == i for i in range(len(rights))}
    truth = Truth(task="classification", values=np.zeros(total, np.int64), classes=("a", "b"))
    return GateInputs(truth=truth, challenger=TaskPredictions(values=values), groups={"x": rows})


def test_groups_of_just_enough_examples_are_judged_once_a_column() -> None:
    asked = policy(groups={"columns": ["x", "x"]})
    (found,) = check_groups(asked, group_case(19, 19))
    assert (found.verdict, found.by) == ("passed", "0.05 within")
    (few,) = check_groups(asked, group_case(19, 19, count=19))
    assert (few.verdict, few.found) == ("not applicable", "0 of 2 groups with 20 examples")
    assert few.limit == "accuracies of groups apart by at most 0.05"


def test_groups_apart_by_just_the_limit_are_within_it() -> None:
    asked = policy(groups={"columns": ["x"], "max_gap": 0.05})
    (found,) = check_groups(asked, group_case(3800, 3600, count=4000))
    assert (found.verdict, found.by, found.value) == ("passed", "0 within", 0.05)
    assert "chance" not in found.found


@pytest.mark.parametrize("rights", [(18, 12), (18, 15, 12), (18, 15, 14, 12)])
def test_groups_are_told_apart_by_the_interval_of_all_their_pairs(rights: tuple[int, ...]) -> None:
    pairs = len(rights) * (len(rights) - 1) / 2
    low, high = newcombe_interval(0.9, 20, 0.6, 20, 1 - 0.2 / pairs)
    (found,) = check_groups(
        policy(groups={"columns": ["x"]}, compare={"confidence": 0.8}), group_case(*rights)
    )
    shown = f"gap 0.3 ({number(low, 3)} to {number(high, 3)} at 80 %)"
    assert found.found.endswith(shown if low > 0 else f"{shown}: cannot be told from chance")
    assert found.verdict == ("refused" if low > 0 else "passed")
    assert (found.value, found.bound, found.by) == (0.3, 0.05, "0.25 over")


# -- data, files, costs, predictions, signatures ------------------------------------------------------------


def test_gates_of_the_data_say_what_is_known() -> None:
    data = JudgedData(count=9, fingerprint="a" * 32, wanted="b" * 32, foreign="")
    (found,) = check_evaluation_data(Policy(), GateInputs(data=data))
    assert (found.limit, found.found) == (f"fingerprint {'b' * 12}", f"fingerprint {'a' * 12}")
    (same,) = check_same_data(Policy(), GateInputs(data=data))
    assert (same.verdict, same.found) == ("passed", "the champion's")
    (rows,) = check_training_rows(Policy(), GateInputs(data=data))
    assert (rows.verdict, rows.found) == ("passed", "known")
    (allowed,) = check_same_data(policy(other_data="judged"), GateInputs(data=data))
    assert allowed.found == "the champion's"


def test_approval_says_how_many_more_must_agree() -> None:
    (found,) = check_approval(policy(approval={"count": 3}), GateInputs(approvers=("joe",), promoter="eve"))
    assert (found.value, found.bound, found.limit) == (1.0, 3.0, "3 of anybody but the promoter")
    assert found.do == "2 more of anybody but the promoter must `velodrome approve` it"
    (named,) = check_approval(policy(approval={"by": ["ann", "joe"]}), GateInputs())
    assert named.limit == "1 of ann or joe"


def test_cost_that_is_not_known_says_what_would_be() -> None:
    (found,) = check_costs(policy(limits={"price": 2.0}), GateInputs())
    assert (found.found, found.bound) == ("not known of this model", 2.0)
    assert found.do == "a model of a sweep that has prices"
    (found,) = check_costs(policy(limits={"latency_ms": 2.0}), GateInputs())
    assert found.do == "a model of which latency_ms can be measured"
    (within,) = check_costs(policy(limits={"latency_ms": 2.0}), GateInputs(facts={"latency_ms": 0.5}))
    assert (within.verdict, within.by, within.found) == ("passed", "1.5 ms", "0.5 ms")


def test_predictions_of_the_first_class_alone_and_of_some_chances_are_read() -> None:
    truth = Truth(task="classification", values=np.array([0, 1]), classes=("a", "b"))
    frame = pd.DataFrame({"label": ["a", "a"], "p_b": [0.25, 0.5]})
    found = parse_predictions(frame, truth)
    assert found.values.tolist() == [0, 0]
    assert found.chances is not None
    assert found.chances.tolist() == [[0.0, 0.25], [0.0, 0.5]]
    assert parse_predictions(pd.DataFrame({"said": ["b", "a"]}), truth).values.tolist() == [1, 0]


def test_predictions_without_a_known_column_are_refused_with_the_first_five() -> None:
    truth = Truth(task="seq2seq", values=["x"])
    frame = pd.DataFrame({name: ["y"] for name in "tuvwxyz"})
    with pytest.raises(UnreadablePredictions) as caught:
        parse_predictions(frame, truth)
    assert str(caught.value) == "columns t, u, v, w, x, and none of prediction, text, output, answer"
    with pytest.raises(UnreadablePredictions, match="1 predictions for 2 examples"):
        parse_predictions(frame, replace(truth, values=["x", "y"]))


@pytest.mark.parametrize(
    ("document", "columns"),
    [
        ({}, None),
        ({"signature": None}, None),
        ({"signature": {"inputs": None}}, None),
        ({"signature": {"inputs": "{}"}}, {}),
        ({"signature": {"inputs": '[{"type": "long"}, {"type": "double"}]'}}, {"0": "long", "1": "double"}),
        ({"signature": {"inputs": '[{"name": "n", "type": "long", "required": false}]'}}, {"n": "long?"}),
    ],
)
def test_columns_of_a_signature_are_named_or_numbered(document: Any, columns: dict[str, str] | None) -> None:
    assert signature_columns(document, "inputs") == columns
