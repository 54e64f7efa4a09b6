"""Gates over answers that are written out: each limit from both sides."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from benchmarks.promotions import simulate
from flows.config.policy import Policy
from flows.promotion.gates.answer_gates import check_costs
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.judging import GATES, judge
from flows.promotion.gates.paired_comparison import compare_paired
from flows.promotion.gates.predictions import TaskPredictions, Truth, UnreadablePredictions, parse_predictions
from flows.promotion.gates.scoring import baseline_metric, compute_metric, compute_metrics
from flows.promotion.gates.signatures import signature_differences

CLASSES = ("a", "b")


def make_truth(count: int = 200) -> Truth:
    """Half a, half b."""
    return Truth(task="classification", values=np.arange(count) % 2, classes=CLASSES)


def answers_of(known: Truth, share: float, *, spared: int | None = None) -> TaskPredictions:
    """The first so many answers of each class are right; those of a spared class all."""
    values = known.values.copy()
    for index in range(len(known.classes)):
        rows = np.flatnonzero(known.values == index)
        if index != spared:
            values[rows[int(share * len(rows)) :]] = 1 - index
    return TaskPredictions(values=values)


def verdicts(policy: Policy, case: GateInputs) -> dict[str, str]:
    """Each gate's verdict."""
    return {finding.gate: finding.verdict for finding in judge(policy, case).findings}


@pytest.mark.slow
def test_gates_over_400_promotions_keep_error_rate_and_power() -> None:
    found = simulate(promotions=400, examples=2_000, gain=0.03)
    assert found.false_moves <= 0.05
    assert found.true_moves >= 0.80


def test_class_gate_refuses_fallen_class_but_not_chance_wobble() -> None:
    known = make_truth(400)
    champion = answers_of(known, 0.9)
    fallen = TaskPredictions(values=np.where(known.values == 0, 0, answers_of(known, 0.7).values))
    case = GateInputs(metric="accuracy", truth=known, challenger=fallen, champion=champion, signature=())
    assert verdicts(Policy(), case)["class b"] == "refused"
    assert verdicts(Policy(), case)["class a"] == "passed"
    few = make_truth(20)
    wobble = GateInputs(
        metric="accuracy",
        truth=few,
        challenger=answers_of(few, 0.8),
        champion=answers_of(few, 0.9),
        signature=(),
    )
    (found,) = [f for f in judge(Policy(), wobble).findings if f.gate == "class a"]
    assert found.verdict == "passed"
    assert "cannot be told from chance" in found.found
    assert found.needed is not None
    assert found.needed > 10


def test_metric_gate_resamples_metric_that_is_no_mean() -> None:
    known = make_truth(400)
    good, bad = answers_of(known, 0.9), answers_of(known, 0.7)
    for name in ("f1", "balanced_accuracy", "accuracy"):
        assert compare_paired(name, known, good, bad, margin=0.0, confidence=0.95).better, name
        assert not compare_paired(name, known, good, good, margin=0.0, confidence=0.95).better, name
        assert not compare_paired(name, known, good, bad, margin=0.3, confidence=0.95).better, name


def test_metric_gate_compares_regressions_by_their_errors() -> None:
    generator = np.random.default_rng(0)
    known = Truth(task="regression", values=generator.normal(size=300))
    close, far = (TaskPredictions(values=known.values + generator.normal(size=300) * s) for s in (0.2, 0.5))
    for name in ("mse", "rmse", "mae", "r2"):
        assert compare_paired(name, known, close, far, margin=0.0, confidence=0.95).better, name
        assert not compare_paired(name, known, far, close, margin=0.0, confidence=0.95).better, name
    case = GateInputs(metric="mse", truth=known, challenger=far, champion=close, signature=())
    assert verdicts(Policy(), case)["better"] == "refused"
    policy = Policy.model_validate({"slices": {"columns": ["x"]}})
    half = {"x=1": np.arange(300) < 150, "x=2": np.arange(300) < 5}
    sliced = verdicts(
        policy, GateInputs(metric="mse", truth=known, challenger=far, champion=close, slices=half)
    )
    assert sliced["slice x=1"] == "refused"
    assert "slice x=2" not in sliced


def test_gate_metrics_equal_scikit_learn() -> None:
    from sklearn import metrics

    generator = np.random.default_rng(1)
    chances = generator.dirichlet(np.ones(3), size=100)
    known = Truth(task="classification", values=generator.integers(0, 3, 100), classes=("a", "b", "c"))
    answers = TaskPredictions(values=chances.argmax(1), chances=chances)
    found = compute_metrics(known, answers)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(known.values, answers.values))
    assert found["f1"] == pytest.approx(metrics.f1_score(known.values, answers.values, average="macro"))
    assert found["loss"] == pytest.approx(metrics.log_loss(known.values, chances))
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(known.values, chances, multi_class="ovr"))


def test_gates_refuse_a_trivial_guess() -> None:
    known = Truth(task="classification", values=np.arange(100) % 10 == 0, classes=CLASSES)
    known = Truth(task="classification", values=known.values.astype(np.int64), classes=CLASSES)
    always = TaskPredictions(values=np.zeros(100, np.int64))
    assert verdicts(
        Policy(), GateInputs(metric="accuracy", truth=known, challenger=always, champion=None)
    ) == {
        "guess": "refused",
        "better": "not applicable",
        "classes": "not applicable",
        "signature": "not applicable",
    }


def test_gates_refuse_model_whose_metric_is_undefined() -> None:
    known = make_truth()
    case = GateInputs(
        metric="loss", truth=known, challenger=answers_of(known, 1.0), champion=answers_of(known, 0.5)
    )
    assert verdicts(Policy(), case)["better"] == "refused"


@pytest.mark.parametrize(
    ("limits", "facts", "wanted"),
    [
        ({"latency_ms": 5.0}, {"latency_ms": 5.0}, "passed"),
        ({"latency_ms": 5.0}, {"latency_ms": 5.1}, "refused"),
        ({"latency_ms": 5.0}, {}, "refused"),
        ({"size_bytes": "1KiB"}, {"size_bytes": 1024.0}, "passed"),
        ({"size_bytes": "1KiB"}, {"size_bytes": 1025.0}, "refused"),
        ({"parameters": 10}, {"parameters": 11.0}, "refused"),
        ({"epsilon": 8}, {"epsilon": 7.9}, "passed"),
        ({"epsilon": 8}, {"epsilon": 8.1}, "refused"),
        ({"epsilon": 8}, {}, "refused"),
        ({"price": 0.5}, {"price": 0.5}, "passed"),
        ({"price": 0.5}, {"price": 0.6}, "refused"),
        ({"price": 0.5}, {}, "refused"),
        ({"energy_joules": 1000}, {"energy_joules": 900.0}, "passed"),
        ({"energy_joules": 1000}, {"energy_joules": 1100.0}, "refused"),
        ({"cpu_seconds": 60}, {"cpu_seconds": 61.0}, "refused"),
        ({"gpu_seconds": 0}, {"gpu_seconds": 0.0}, "passed"),
        ({"train_flops": 10**9}, {"train_flops": 2e9}, "refused"),
        ({"train_seconds": 60}, {"train_seconds": 59.0}, "passed"),
    ],
)
def test_cost_gate_verdict_follows_its_limits(
    limits: dict[str, Any], facts: dict[str, float], wanted: str
) -> None:
    (found,) = check_costs(Policy.model_validate({"limits": limits}), GateInputs(facts=facts))
    assert found.verdict == wanted


def test_gate_answers_are_read_by_name_or_refused() -> None:
    known = Truth(task="classification", values=np.array([0, 1]), classes=("3", "4"))
    assert parse_predictions(pd.DataFrame({"prediction": [3.0, 4.0]}), known).values.tolist() == [0, 1]
    named = pd.DataFrame({"label": ["3", "9"], "p_4": [0.1, 0.7], "p_3": [0.9, 0.3]})
    found = parse_predictions(named, known)
    assert found.values.tolist() == [0, -1]
    assert compute_metric("loss", known, found) == pytest.approx(-np.log([0.9, 0.7]).mean())
    for bad in (named[:1], pd.DataFrame({"x": [1, 2], "y": [1, 2]}), pd.DataFrame({"label": ["u", "v"]})):
        with pytest.raises(UnreadablePredictions):
            parse_predictions(bad, known)
    numbers = Truth(task="regression", values=np.array([0.0, 1.0]))
    with pytest.raises(UnreadablePredictions, match="finite"):
        parse_predictions(pd.DataFrame({"prediction": [np.nan, 1.0]}), numbers)


def test_signature_gate_names_each_difference() -> None:
    def model(inputs: str, outputs: str = '[{"name": "label", "type": "string"}]') -> dict[str, Any]:
        return {"signature": {"inputs": inputs, "outputs": outputs}}

    text = model('[{"name": "text", "type": "string", "required": true}]')
    both = model('[{"name": "text", "type": "string"}, {"name": "n", "type": "double"}]')
    optional = model(
        '[{"name": "text", "type": "string"}, {"name": "n", "type": "double", "required": false}]'
    )
    number = model('[{"name": "text", "type": "double"}]')
    assert (
        signature_differences(text, text)
        == signature_differences(optional, text)
        == signature_differences(text, both)
        == []
    )
    assert signature_differences(both, text) == ["needs n (double)"]
    assert signature_differences(number, text) == ["takes text as double, not string"]
    assert signature_differences(model(text["signature"]["inputs"], "[]"), text) == ["no longer gives label"]
    assert signature_differences({}, text) == ["the challenger has no signature"]


@pytest.mark.parametrize("name", ["exact_match", "f1"])
def test_gate_scores_of_answers_equal_squad(name: str) -> None:
    known = Truth(task="question-answering", values=["the red box", "Anna", "17", "17"] * 50)
    frame = pd.DataFrame({"answer": ["Red box.", "Anna Berg", "7", "17"] * 50, "score": 0.5})
    challenger = parse_predictions(frame, known)
    assert compute_metrics(known, challenger) == pytest.approx({"exact_match": 0.5, "f1": 2 / 3})
    assert baseline_metric(known, "exact_match") == 0.5
    worse = parse_predictions(frame.assign(answer=["Red box.", "", "", ""] * 50), known)
    for one, other, verdict in ((challenger, worse, "passed"), (worse, challenger, "refused")):
        case = GateInputs(metric=name, truth=known, challenger=one, champion=other, signature=())
        (found,) = [f for f in judge(Policy(), case).findings if f.gate == "better"]
        assert found.verdict == verdict


def test_gates_stand_in_one_order_under_names_of_their_own() -> None:
    names = [gate.name for gate in GATES]
    assert len(set(names)) == len(names)
    order = ["files", "data", "loaded", "answers", "champion", "approvals"]
    needs = [order.index(gate.needs) for gate in GATES if gate.name != "limits"]
    assert needs == sorted(needs)


def test_class_that_a_champion_names_for_everything_keeps_no_better_model_out() -> None:
    """71 of 100 rows are `up`: naming nothing else has all of their recall, and is right in 71."""
    known = Truth(
        task="classification", values=(np.arange(100) < 71).astype(np.int64), classes=("down", "up")
    )
    always = TaskPredictions(values=np.ones(100, np.int64))
    skilled = TaskPredictions(values=np.where(np.arange(100) % 14 == 1, 1 - known.values, known.values))
    case = GateInputs(metric="accuracy", truth=known, challenger=skilled, champion=always, signature=())
    assert set(verdicts(Policy(), case).values()) == {"passed"}


def test_margin_below_zero_needs_a_cost_that_falls() -> None:
    with pytest.raises(ValidationError, match="smaller"):
        Policy.model_validate({"compare": {"margin": -0.02}})
    policy = Policy.model_validate({"compare": {"margin": -0.02, "smaller": {"size_bytes": 0.5}}})
    known = make_truth(2_000)
    same = answers_of(known, 0.9)
    for size, verdict in ((400.0, "passed"), (600.0, "refused")):
        case = GateInputs(
            metric="accuracy", truth=known, challenger=same, champion=same, signature=(),
            facts={"size_bytes": size}, champion_facts={"size_bytes": 1_000.0},
        )  # fmt: skip
        found = verdicts(policy, case)
        assert (found["better"], found["smaller size_bytes"]) == ("passed", verdict)
    worse = GateInputs(
        metric="accuracy", truth=known, challenger=answers_of(known, 0.87), champion=same, signature=(),
        facts={"size_bytes": 400.0}, champion_facts={"size_bytes": 1_000.0},
    )  # fmt: skip
    assert verdicts(policy, worse)["better"] == "refused"


def test_refusal_of_any_gate_says_what_would_help() -> None:
    known = make_truth(200)
    policy = Policy.model_validate(
        {"limits": {"latency_ms": 1.0}, "metrics": {"accuracy": {"at_least": 0.99}, "loss": {"at_most": 1}}}
    )
    case = GateInputs(
        metric="accuracy", truth=known, challenger=answers_of(known, 0.4), champion=answers_of(known, 0.9),
        facts={"latency_ms": 2.0}, signature=("no longer gives label",),
    )  # fmt: skip
    refused = [finding for finding in judge(policy, case).findings if finding.is_refused]
    assert {f.gate for f in refused} >= {
        "guess",
        "better",
        "class a",
        "latency_ms",
        "metric loss",
        "signature",
    }
    assert all(finding.do for finding in refused)
    close = GateInputs(
        metric="accuracy", truth=known, challenger=answers_of(known, 0.92), champion=answers_of(known, 0.9),
        signature=(),
    )  # fmt: skip
    (better,) = [finding for finding in judge(Policy(), close).findings if finding.gate == "better"]
    assert better.is_refused
    assert (
        better.do
        == f"about {better.needed:,} examples instead of 200 if the difference is as large as it looks"
    )


@pytest.mark.parametrize("name", ["bleu", "chrf", "rougeL"])
def test_text_metrics_are_resampled_from_counts_of_each_text_in_seconds(name: str) -> None:
    generator = np.random.default_rng(4)
    words = np.array([f"word{i}" for i in range(200)])
    wanted = [" ".join(generator.choice(words, 20)) for _ in range(1_000)]
    known = Truth(task="seq2seq", values=wanted)

    def answers(share: float) -> TaskPredictions:
        kept = [[w if generator.random() < share else "x" for w in text.split()] for text in wanted]
        return TaskPredictions(values=[" ".join(text) for text in kept])

    good, bad = answers(0.85), answers(0.8)
    started = time.process_time()
    found = compare_paired(name, known, good, bad, margin=0.0, confidence=0.95)
    assert time.process_time() - started < 10
    assert found.better
    gap = (compute_metric(name, known, good) or 0) - (compute_metric(name, known, bad) or 0)
    assert found.difference == pytest.approx(gap)


@pytest.mark.parametrize("name", ["f1", "recall", "auc", "balanced_accuracy", "bleu", "chrf"])
def test_metric_of_a_handful_of_examples_claims_no_certainty(name: str) -> None:
    """All right against all right, and against all wrong: every resample says the same."""
    for count in (4, 12):
        known, right, wrong = answers_of_extremes(name, count)
        same = compare_paired(name, known, right, right, margin=-0.05, confidence=0.95)
        assert same.low < 0 < same.high
        assert not same.better  # nor as good but for 0.05, for all that is known
        apart = compare_paired(name, known, right, wrong, margin=0.0, confidence=0.95)
        assert apart.low < apart.high
        assert apart.better == (count == 12)
        assert (apart.p_value < 0.025) == (count == 12)
    known, right, _ = answers_of_extremes(name, 1_000)
    assert compare_paired(name, known, right, right, margin=-0.05, confidence=0.95).better


def answers_of_extremes(name: str, count: int) -> tuple[Truth, TaskPredictions, TaskPredictions]:
    """All right and all wrong."""
    if name in ("bleu", "chrf"):
        texts = ["these are the words that are wanted"] * count
        known = Truth(task="seq2seq", values=texts)
        return known, TaskPredictions(values=texts), TaskPredictions(values=["no"] * count)
    values = np.arange(count) % 2
    known = Truth(task="classification", values=values, classes=CLASSES)
    right, wrong = (
        TaskPredictions(values=said, chances=np.eye(2)[said] * 0.8 + 0.1) for said in (values, 1 - values)
    )
    return known, right, wrong


def test_metric_that_most_of_a_handful_agree_on_is_not_better() -> None:
    """Three of four examples: by the answers swapped among them, one case in eight is as far apart."""
    known, right, wrong = answers_of_extremes("f1", 4)
    values = np.where(np.arange(4) > 0, wrong.values, right.values)
    found = compare_paired("f1", known, right, TaskPredictions(values=values), margin=0.0, confidence=0.95)
    assert (found.better, found.p_value) == (False, 0.125)


def test_gate_metrics_equal_those_of_before_the_code_was_shared() -> None:
    """Written down from the gates' own formulas, which had no line in common with training's."""
    generator = np.random.default_rng(3)
    chances = generator.dirichlet(np.ones(2), size=80).round(2)
    known = Truth(task="classification", values=generator.integers(0, 2, 80), classes=CLASSES)
    two = compute_metrics(known, TaskPredictions(values=chances.argmax(1), chances=chances))
    three = Truth(task="classification", values=generator.integers(0, 3, 80), classes=("a", "b", "c"))
    chances = generator.dirichlet(np.ones(3), size=80)
    many = compute_metrics(three, TaskPredictions(values=chances.argmax(1), chances=chances))
    values = Truth(task="regression", values=generator.normal(3.0, 2.0, 80))
    guess = TaskPredictions(values=values.values + generator.normal(size=80))
    found = {f"two {k}": v for k, v in two.items()} | {f"three {k}": v for k, v in many.items()}
    found |= compute_metrics(values, guess)
    assert found == pytest.approx(BEFORE, abs=1e-12, rel=1e-12)


BEFORE: dict[str, float] = {
    "two accuracy": 0.5625,
    "two balanced_accuracy": 0.5609679446888749,
    "two precision": 0.5607769423558897,
    "two recall": 0.5609679446888749,
    "two f1": 0.5607843137254902,
    "two auc": 0.5389692017598995,
    "two loss": 1.3118202762267905,
    "three accuracy": 0.3375,
    "three balanced_accuracy": 0.33385829622388763,
    "three precision": 0.3666666666666667,
    "three recall": 0.33385829622388763,
    "three f1": 0.3405915586573613,
    "three auc": 0.4964656760190282,
    "three loss": 1.48671449289618,
    "mse": 1.1119378763446581,
    "rmse": 1.0544846496486604,
    "mae": 0.8390278891836529,
    "r2": 0.6318320706624964,
}
