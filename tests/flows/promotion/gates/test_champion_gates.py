"""Gates against a champion: what each compares, what it says, and where exactly it begins to refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flows.config.policy import Policy
from flows.promotion.gates.champion_gates import check_better, check_smaller
from flows.promotion.gates.findings import GateFinding
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.judging import check_gates, judge
from flows.promotion.gates.paired_comparison import compare_paired, compare_with_champion
from flows.promotion.gates.predictions import TaskPredictions, Truth
from flows.statistics import PairedComparison, examples_needed

KNOWN = Truth(task="classification", values=np.arange(40) % 2, classes=("a", "b"))


def policy(**keys: Any) -> Policy:
    return Policy.model_validate(keys)


def answers(wrong: int, first: int = 0) -> TaskPredictions:
    """To `KNOWN`: so many are wrong, from the first on."""
    return TaskPredictions(
        values=np.where(
            (np.arange(40) >= first) & (np.arange(40) < first + wrong), 1 - KNOWN.values, KNOWN.values
        )
    )


def with_chances(given: TaskPredictions) -> TaskPredictions:
    return replace(given, chances=np.eye(2)[given.values] * 0.6 + 0.2)


# -- which test ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("accuracy", "McNemar, mid-p"),
        ("balanced_accuracy", "paired bootstrap, studentised"),  # whose shares are 0 and 1 in equal classes
        ("loss", "paired bootstrap, studentised"),
        ("f1", "paired bootstrap of the metric"),
        ("precision", "paired bootstrap of the metric"),
        ("auc", "paired bootstrap of the metric"),
    ],
)
def test_metric_of_classes_has_the_test_that_fits_it(name: str, method: str) -> None:
    one, other = with_chances(answers(2)), with_chances(answers(9, 20))
    assert compare_paired(name, KNOWN, one, other, margin=0.0, confidence=0.95).method == method


@pytest.mark.parametrize(
    ("task", "name", "method"),
    [
        ("seq2seq", "exact_match", "McNemar, mid-p"),
        ("seq2seq", "rouge1", "paired bootstrap of the metric"),
        ("question-answering", "exact_match", "McNemar, mid-p"),
        ("question-answering", "f1", "paired bootstrap, studentised"),
    ],
)
def test_metric_of_texts_has_the_test_that_fits_it(task: str, name: str, method: str) -> None:
    words = [f"word{i}" for i in range(20)]
    truth, said = Truth(task=task, values=words), TaskPredictions(values=[*words[:15], *["no"] * 5])
    found = compare_paired(name, truth, TaskPredictions(values=words), said, margin=0.0, confidence=0.9)
    assert (found.method, found.difference, found.confidence) == (method, pytest.approx(0.25), 0.9)
    assert found.better


@pytest.mark.parametrize("place", [0, 39])
@pytest.mark.parametrize("name", ["f1", "precision"])
def test_resampling_for_a_metric_that_is_no_mean_reaches_first_and_last_example(
    name: str, place: int
) -> None:
    found = compare_paired(name, KNOWN, answers(0), answers(1, place), margin=0.0, confidence=0.95)
    assert 0 < found.difference < found.high
    assert found.p_value == 0.5  # of one answer that differs


def test_areas_differ_by_chances_though_all_labels_agree() -> None:
    """Three of forty examples are ranked otherwise: by those swapped, one case in eight is as far apart."""
    one = with_chances(answers(0))
    moved = one.chances.copy()  # type: ignore[union-attr]
    moved[:3] = moved[:3, ::-1]
    found = compare_paired(
        "auc", KNOWN, one, TaskPredictions(values=one.values, chances=moved), margin=0.0, confidence=0.95
    )
    assert (found.p_value, found.better) == (1 / 8, False)
    assert found.difference > 0
    doubtful = replace(answers(3), chances=moved * 0.9 + 0.05)  # of all examples: labels alone count for F1
    found = compare_paired("f1", KNOWN, one, doubtful, margin=0.0, confidence=0.95)
    assert (found.p_value, found.better) == (1 / 8, False)


def test_difference_of_a_metric_that_is_no_mean_is_above_zero_for_the_better() -> None:
    rng = np.random.default_rng(3)
    truth = Truth(task="regression", values=rng.normal(size=50))
    near, far = (TaskPredictions(values=truth.values + rng.normal(0, by, 50)) for by in (0.1, 0.3))
    errors = [float(np.sqrt(np.mean((one.values - truth.values) ** 2))) for one in (near, far)]
    found = compare_paired("rmse", truth, near, far, margin=0.0, confidence=0.95)
    assert (found.difference, found.better) == (pytest.approx(errors[1] - errors[0]), True)
    spread = truth.values.std()
    found = compare_paired("r2", truth, far, near, margin=0.0, confidence=0.95)
    assert found.difference == pytest.approx((errors[0] ** 2 - errors[1] ** 2) / spread**2)
    assert found.high < 0


def test_metric_of_recorded_answers_is_drawn_again_to_the_last_digits() -> None:
    """Written down once: `history --recompute` of later versions must find what is recorded."""
    named, place = (np.arange(60) % 2 == 0).astype(int), np.arange(60)
    known = Truth(task="classification", values=named, classes=("a", "b"))
    said = [TaskPredictions(values=np.where(place % k == r, 1 - named, named)) for k, r in ((7, 0), (4, 1))]
    found = compare_paired("f1", known, *said, margin=0.0, confidence=0.95)
    assert (found.low, found.high) == pytest.approx((-0.029956582661374777, 0.2698561808561808), rel=1e-9)
    words = [f"the {i} words of line {i % 5}" for i in range(30)]
    texts = [
        TaskPredictions(values=[w if i % k else "no words" for i, w in enumerate(words)]) for k in (9, 4)
    ]
    found = compare_paired("bleu", Truth(task="seq2seq", values=words), *texts, margin=0.0, confidence=0.95)
    assert (found.low, found.high) == pytest.approx((-0.057016632564097836, 0.2905317227551486), rel=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.03])
def test_comparison_is_by_the_policy_s_margin_and_confidence(margin: float) -> None:
    case = GateInputs(metric="accuracy", truth=KNOWN, challenger=answers(1), champion=answers(9, 20))
    found = compare_with_champion(policy(compare={"margin": margin, "confidence": 0.8}), case)
    assert found is not None
    assert (found.margin, found.confidence, found.won, found.lost) == (margin, 0.8, 9, 1)
    assert compare_with_champion(Policy(), replace(case, champion=None)) is None
    assert compare_with_champion(Policy(), replace(case, metric="loss")) is None
    half = replace(case, metric="loss", challenger=with_chances(answers(1)))
    assert compare_with_champion(Policy(), half) is None


# -- better -------------------------------------------------------------------------------------------------


def better(**changes: Any) -> GateFinding:
    test = PairedComparison(**{
        "difference": 0.05, "low": -0.01, "high": 0.11, "confidence": 0.95, "p_value": 0.04, "margin": 0.0,
        "examples": 200, "deviation": 0.4, "method": "a test", "won": 15, "lost": 5, **changes,
    })  # fmt: skip
    (found,) = check_better(Policy(), GateInputs(metric="accuracy", comparison=test))
    return found


def test_gate_better_says_what_was_found_and_how_many_examples_would_decide() -> None:
    found = better()
    needed = examples_needed(difference=0.05, discordance=0.1, confidence=0.975)
    assert found.verdict == "refused"
    assert found.limit == "accuracy better than the champion's"
    assert found.found == "+0.05 (-0.01 to +0.11 at 95%, two-sided)"
    assert found.by == "p = 0.04 one-sided (a test, 200 examples)"
    assert (found.value, found.bound, found.needed) == (0.05, 0.0, needed)
    assert needed is not None
    assert needed > 200
    assert found.do == f"about {needed:,} examples instead of 200 if the difference is as large as it looks"
    passed = better(low=0.01)
    assert (passed.verdict, passed.needed, passed.do) == ("passed", None, "")


@pytest.mark.parametrize(
    ("margin", "words"),
    [
        (-0.02, "accuracy not worse than the champion's by 0.02 or more"),
        (0.0, "accuracy better than the champion's"),
        (0.02, "accuracy better than the champion's by more than 0.02"),
    ],
)
def test_gate_better_says_its_margin(margin: float, words: str) -> None:
    assert better(margin=margin).limit == words


def test_gate_better_counts_examples_by_what_it_knows_of_their_spread() -> None:
    even = better(won=10, lost=10)
    assert even.needed == examples_needed(difference=0.05, discordance=0.1, confidence=0.975)
    other = better(won=0, lost=0, margin=0.01, confidence=0.9)
    assert other.needed == examples_needed(difference=0.05, deviation=0.4, margin=0.01, confidence=0.95)
    for nothing in (better(won=0, lost=0, deviation=0.0), better(difference=0.0), better(difference=-0.1)):
        assert nothing.needed is None
        assert nothing.do == "a difference above 0: no number of examples makes this one enough"


def test_gate_better_asks_for_no_examples_where_there_are_as_many_as_it_takes() -> None:
    needed = better(won=0, lost=0).needed
    assert needed is not None
    enough = better(won=0, lost=0, examples=needed)
    assert enough.do == "a larger difference: these examples are as many as this one should need"
    assert better(won=0, lost=0, examples=needed - 1).do.startswith(f"about {needed:,} examples")


def test_gate_better_says_for_whose_answers_a_metric_is_not_defined() -> None:
    case = GateInputs(metric="loss", truth=KNOWN, challenger=answers(0), champion=with_chances(answers(0)))
    (found,) = check_better(Policy(), case)
    assert (found.verdict, found.found) == ("refused", "not defined for the challenger's predictions")
    (found,) = check_better(Policy(), replace(case, champion=answers(0)))
    assert found.found == "not defined for the champion's predictions"
    assert found.limit == "loss of both is known"


# -- smaller ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "verdict", "found", "by"),
    [
        (1000.0, 500.0, "passed", "1000 B → 500 B", "50.0% below"),
        (1000.0, 501.0, "refused", "1000 B → 501 B", "49.9% below"),
        (1000.0, 1000.0, "refused", "1000 B → 1000 B", "0.0% below"),
        (1000.0, 1010.0, "refused", "1000 B → 1010 B", "1.0% above"),
        (1000.0, 0.0, "passed", "1000 B → 0 B", "100.0% below"),
        (0.0, 0.0, "refused", "not known of both", ""),
        (None, 500.0, "refused", "not known of both", ""),
        (1000.0, None, "refused", "not known of both", ""),
    ],
)
def test_cost_must_fall_by_its_share_of_the_champion_s(
    before: float | None, after: float | None, verdict: str, found: str, by: str
) -> None:
    costs = [{} if value is None else {"size_bytes": value} for value in (before, after)]
    case = GateInputs(champion_facts=costs[0], facts=costs[1])
    (said,) = check_smaller(policy(compare={"smaller": {"size_bytes": 0.5}}), case)
    assert (said.gate, said.verdict, said.found, said.by) == ("smaller size_bytes", verdict, found, by)
    assert said.limit == "at least 50% below the champion's"
    if by:
        assert (said.value, said.bound) == (after, 500.0)
        assert said.do == ("" if verdict == "passed" else f"{(after or 0) - 500:g} B less")


# -- which gates are asked ----------------------------------------------------------------------------------


def test_gates_of_costs_and_slices_are_asked_where_the_policy_names_some() -> None:
    case = GateInputs(
        truth=KNOWN, challenger=answers(1), champion=answers(2), metric="accuracy", signature=()
    )
    plain = {found.gate for found in judge(Policy(), case).findings}
    assert plain == {"guess", "better", "class a", "class b", "signature"}
    asked = policy(
        compare={"smaller": {"parameters": 0.1}}, slices={"columns": ["x"]}, groups={"columns": ["x"]}
    )
    rows = {"one": np.arange(40) < 20, "two": np.arange(40) >= 20}
    full = replace(case, slices={"x=1": rows["one"]}, groups={"x": rows})
    more = {found.gate for found in judge(asked, full).findings} - plain
    assert more == {"groups x", "smaller parameters", "slice x=1"}
    alone = check_gates(asked, replace(full, champion=None), "champion")
    assert [found.gate for found in alone] == ["better", "smaller", "classes", "slices", "signature"]
    assert {found.verdict for found in alone} == {"not applicable"}
    numbers = replace(case, truth=Truth(task="regression", values=np.zeros(1)), champion=None)
    assert [found.gate for found in check_gates(Policy(), numbers, "champion")] == ["better", "signature"]
