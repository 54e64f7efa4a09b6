"""Gates that keep a class or a slice from falling: how far, how sure that is, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flows.promotion.gates.champion_gates import check_classes, check_slices, one_sided_level
from flows.promotion.gates.findings import GateFinding
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.predictions import TaskPredictions, Truth
from flows.statistics import compare_f1, examples_needed, mcnemar, paired_bootstrap
from flows.terminal.formatting import number
from tests.flows.promotion.gates.test_champion_gates import KNOWN, answers, policy


@pytest.mark.parametrize(("confidence", "level"), [(0.95, 0.9), (0.75, 0.5), (0.5, 0.01)])
def test_guarding_gates_test_on_one_side_at_the_policy_s_confidence(confidence: float, level: float) -> None:
    assert one_sided_level(policy(compare={"confidence": confidence})) == pytest.approx(level)


def class_findings(most: float, wrong: int) -> dict[str, GateFinding]:
    """Of a challenger that calls so many of 20 `b` by the name of `a`; class `c` does not occur."""
    values = KNOWN.values.copy()
    values[np.flatnonzero(KNOWN.values == 1)[:wrong]] = 0
    case = GateInputs(
        truth=replace(KNOWN, classes=("a", "b", "c")),
        challenger=TaskPredictions(values=values),
        champion=answers(0),
    )
    return {found.gate: found for found in check_classes(policy(classes={"max_drop": most}), case)}


def test_class_that_falls_says_how_far_and_what_is_sure() -> None:
    found = class_findings(0.05, 10)
    assert found.keys() == {"class a", "class b"}
    after = 2 * 10 / (20 + 10)
    known, right, said = KNOWN.values == 1, KNOWN.values == 1, np.arange(40) % 2 == 1
    said[np.flatnonzero(known)[:10]] = False
    test = compare_f1(known, right, said, confidence=0.9)
    assert found["class b"].verdict == "refused"
    assert found["class b"].limit == "falls by at most 0.05"
    assert found["class b"].found == (
        f"F1 1 → {number(after)} of 20, a fall of {number(test.low, 3)} at least at 95%, one-sided"
    )
    assert found["class b"].by == f"{number(1 - after - 0.05, 3)} over"
    assert found["class b"].value == pytest.approx(1 - after)
    assert found["class b"].bound == 0.05
    assert (
        found["class b"].do == f"{number(1 - after - 0.05, 3)} more there: more training examples like these"
    )
    assert found["class b"].needed is None


def test_class_that_falls_no_further_than_it_may_passes() -> None:
    drop = 1 - 2 * 18 / 38  # of b, of which 18 of 20 are found
    held, missed = class_findings(round(drop, 12), 2)["class b"], class_findings(drop - 1e-3, 2)["class b"]
    assert (held.verdict, held.by, held.found) == ("passed", "0 within", "F1 1 → 0.9474 of 20")
    assert missed.by == "1e-3 over"
    assert missed.verdict == "passed"  # two of twenty: it cannot be told from chance
    assert "cannot be told from chance" in missed.found


def slice_finding(wrong: int, rows: int = 20, **slices: Any) -> list[GateFinding]:
    """Of a challenger with so many wrong answers among the first `rows`, which are the slice `x=1`."""
    case = GateInputs(
        truth=KNOWN, challenger=answers(wrong), champion=answers(0), slices={"x=1": np.arange(40) < rows}
    )
    return list(check_slices(policy(slices={"columns": ["x"], **slices}), case))


def test_slice_of_just_enough_examples_is_judged() -> None:
    assert [found.gate for found in slice_finding(0, rows=10)] == ["slice x=1"]
    assert slice_finding(0, rows=9) == []
    assert len(slice_finding(0, rows=9, min_examples=9)) == 1
    assert slice_finding(0, rows=10, min_examples=11) == []


def test_slice_that_falls_is_refused_or_said_to_be_chance_with_the_examples_that_would_tell() -> None:
    right, wrong = [1.0] * 20, [0.0] * 8 + [1.0] * 12
    sure = mcnemar(right, wrong, confidence=0.9)
    (fallen,) = slice_finding(8)
    assert fallen.verdict == "refused"
    assert fallen.found == f"1 → 0.6 of 20, a fall of {number(sure.low, 3)} at least at 95%, one-sided"
    assert (fallen.value, fallen.bound, fallen.by, fallen.needed) == (0.4, 0.05, "0.35 over", None)
    chance = mcnemar(right, [0.0] * 2 + [1.0] * 18, confidence=0.9)
    (wobble,) = slice_finding(2)
    assert (wobble.verdict, wobble.do) == ("passed", "")
    p_value = number(chance.p_value, 2)
    assert wobble.found == f"1 → 0.9 of 20 (p = {p_value} one-sided: cannot be told from chance)"
    assert wobble.needed == examples_needed(difference=0.1, deviation=chance.deviation, confidence=0.95)
    (held,) = slice_finding(1)
    assert (held.verdict, held.found, held.by) == ("passed", "1 → 0.95 of 20", "0 within")
    assert held.needed is None


def test_fall_whose_interval_ends_at_none_is_chance() -> None:
    """Three lost and none won have a mid-p of 1/16, above the one-sided 5 %: the interval ends at 0."""
    test = mcnemar([1.0] * 20, [0.0] * 3 + [1.0] * 17, confidence=0.9)
    assert (test.low, test.p_value) == (0.0, 1 / 16)
    (found,) = slice_finding(3)
    assert found.verdict == "passed"


def number_slices(challenger: float, champion: float) -> GateFinding:
    """Of numbers that are missed by about so much."""
    rng = np.random.default_rng(5)
    truth = Truth(task="regression", values=rng.normal(size=60))
    said = [
        TaskPredictions(values=truth.values + by * rng.uniform(0.9, 1.1, 60)) for by in (challenger, champion)
    ]
    case = GateInputs(truth=truth, challenger=said[0], champion=said[1], slices={"x=1": np.arange(60) < 50})
    (found,) = check_slices(policy(slices={"columns": ["x"], "max_drop": 0.5}), case)
    errors = [((one.values - truth.values) ** 2)[:50] for one in said]
    before, after = errors[1].mean(), errors[0].mean()
    unit = before or 1.0
    assert found.value == pytest.approx((after - before) / unit)
    words = f"squared error {number(float(before))} → {number(float(after))} of 50"
    if found.verdict == "refused":
        test = paired_bootstrap(-errors[1], -errors[0], confidence=0.9)
        words += f", a fall of {number(test.low / unit, 3)} at least at 95%, one-sided"
    assert found.found == words
    return found


def test_slice_of_numbers_falls_by_a_share_of_the_champion_s_error() -> None:
    assert number_slices(0.2, 0.1).verdict == "refused"  # four times the error
    assert number_slices(0.11, 0.1).verdict == "passed"  # a fifth more
    assert number_slices(0.05, 0.1).verdict == "passed"
    assert number_slices(1.0, 0.0).verdict == "refused"  # a champion without an error: by the error itself
    assert number_slices(0.5, 0.0).verdict == "passed"
