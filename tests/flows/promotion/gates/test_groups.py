"""The gate of groups: a gap that is real is refused, one that chance explains is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.judging import check_gates
from flows.promotion.gates.predictions import TaskPredictions, Truth
from flows.promotion.judging.answer_record import read_case, record_answers
from flows.statistics.shares import newcombe_interval

POLICY = Policy.model_validate({"groups": {"columns": ["gender"], "max_gap": 0.05}})


def a_case(groups: Sequence[tuple[int, int]], task: str = "classification") -> GateInputs:
    """Groups of so many examples, of which so many are answered rightly."""
    total = sum(count for count, _ in groups)
    rows, answers = {}, np.zeros(total, np.int64)
    begin = 0
    for name, (count, right) in zip("abcdefgh", groups, strict=False):
        place = np.arange(total)
        rows[name] = (place >= begin) & (place < begin + count)
        answers[begin + right : begin + count] = 1
        begin += count
    truth = Truth(task=task, values=np.zeros(total, np.int64), classes=("x", "y"))
    return GateInputs(
        metric="accuracy", truth=truth, challenger=TaskPredictions(values=answers), groups={"gender": rows}
    )


def finding_of(case: GateInputs) -> GateFinding:
    (found,) = [one for one in check_gates(POLICY, case, "answers") if one.gate == "groups gender"]
    return found


@pytest.mark.parametrize(
    ("groups", "verdict"),
    [
        ([(300, 285), (300, 282)], "passed"),  # 0.95 and 0.94
        ([(300, 285), (300, 240)], "refused"),  # 0.95 and 0.80
        ([(3_000, 2_850), (3_000, 2_700)], "passed"),  # 0.95 and 0.90: as far apart as they may be
        ([(3_000, 2_850), (3_000, 2_699)], "refused"),  # one answer further
        ([(30, 28), (30, 25)], "passed"),  # 0.93 and 0.83 of few
        ([(300, 285), (19, 0)], "not applicable"),  # too few to say
        ([(100, 84), (100, 74)] + [(100, 79)] * 6, "passed"),  # the extremes of eight like ones
    ],
)
def test_gap_between_groups_is_refused_where_it_is_real(groups: list[tuple[int, int]], verdict: str) -> None:
    assert finding_of(a_case(groups)).verdict == verdict


def test_gap_says_each_group_and_its_interval() -> None:
    found = finding_of(a_case([(300, 285), (300, 240)]))
    low, high = newcombe_interval(0.95, 300, 0.8, 300)
    assert found.value == pytest.approx(0.15)
    assert found.found == (
        f"accuracy a 0.95 of 300, b 0.8 of 300; gap 0.15 ({low:.3g} to {high:.3g} at 95 %)"
    )
    assert found.do == "more training examples like those of b"


@pytest.mark.parametrize(("right", "is_chance"), [(90, False), (89, True)])
def test_gap_beyond_the_limit_alone_is_said_to_be_chance(right: int, is_chance: bool) -> None:
    found = finding_of(a_case([(100, 95), (100, right)]))
    assert found.verdict == "passed"
    assert ("cannot be told from chance" in found.found) is is_chance
    assert ("within" in found.by) is not is_chance


def test_groups_of_many_are_told_from_chance_as_all_their_pairs() -> None:
    two, three = [(200, 170), (200, 154)], [(200, 170), (200, 154), (200, 162)]
    narrow, wide = (finding_of(a_case(groups)).found for groups in (two, three))
    assert "gap 0.08 (" in narrow
    assert "gap 0.08 (" in wide
    assert narrow.partition("gap")[2] != wide.partition("gap")[2]


def test_groups_of_numbers_are_refused_with_what_to_do() -> None:
    found = finding_of(a_case([(300, 285), (300, 240)], task="regression"))
    assert (found.verdict, found.do) == ("refused", "leave groups out of this model's policy")


def test_recorded_groups_come_to_the_same_finding() -> None:
    case = a_case([(300, 285), (300, 240)])
    record = record_answers(case, np.arange(600).astype(np.uint64))
    assert finding_of(read_case(record)) == finding_of(case)
    del record["groups"]  # as records of before
    assert read_case(record).groups == {}


def test_newcombe_interval_is_that_of_his_paper() -> None:
    assert newcombe_interval(56 / 70, 70, 48 / 80, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
