from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.data.mixing import mix_hashes, number_copies
from trainers.data.split import PARTS, RowFacts, SplitRule, split_rows
from trainers.errors import InputError

HASHES = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200)


def sides(rule: SplitRule, facts: RowFacts) -> list[str]:
    splits, _ = split_rows(rule, facts)
    side = [""] * len(facts.key)
    for part, rows in splits.items():
        for row in rows:
            assert side[row] == ""
            side[row] = part
    assert "" not in side
    return side


def content(values: Any) -> RowFacts:
    return RowFacts(key=np.array(values, np.uint64))


@given(HASHES, HASHES, st.integers())
def test_a_row_keeps_its_side_when_the_file_grows(old: list[int], new: list[int], salt: int) -> None:
    rule = SplitRule(salt=salt)
    before, after = sides(rule, content(old)), sides(rule, content(new + old))
    assert after[len(new) :] == before


@given(HASHES)
def test_identical_rows_are_on_one_side(hashes: list[int]) -> None:
    doubled = sides(SplitRule(), content(hashes + hashes))
    assert doubled[: len(hashes)] == doubled[len(hashes) :]


def test_split_meets_its_shares_and_depends_on_the_salt() -> None:
    facts = content(mix_hashes(np.arange(20_000, dtype=np.uint64)))
    splits, _ = split_rows(SplitRule(train=0.7, validation=0.2, test=0.1), facts)
    assert [round(len(splits[part]) / 20_000, 1) for part in PARTS] == [0.7, 0.2, 0.1]
    other, _ = split_rows(SplitRule(train=0.7, validation=0.2, test=0.1, salt=1), facts)
    both = len(np.intersect1d(splits["test"], other["test"]))
    assert both < 400  # 200 by chance, 2,000 if the salt did nothing


def test_split_keeps_test_part_when_validation_grows() -> None:
    facts = content(mix_hashes(np.arange(1000, dtype=np.uint64)))
    small, _ = split_rows(SplitRule(train=0.8, validation=0.1, test=0.1), facts)
    large, _ = split_rows(SplitRule(train=0.5, validation=0.4, test=0.1), facts)
    assert (small["test"] == large["test"]).all()


@given(st.lists(st.integers(0, 20), min_size=3, max_size=100))
def test_split_by_group_never_parts_a_group(groups: list[int]) -> None:
    facts = RowFacts(
        key=np.arange(len(groups), dtype=np.uint64), group=mix_hashes(np.array(groups, np.uint64))
    )
    side = sides(SplitRule(by="group"), facts)
    assert len(set(zip(groups, side, strict=True))) == len(set(groups))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=100))
def test_split_by_time_puts_the_last_rows_into_test(moments: list[int]) -> None:
    time = np.array(moments, np.float64)
    splits, _ = split_rows(SplitRule(by="time"), RowFacts(key=np.zeros(len(time), np.uint64), time=time))
    order = [time[splits[part]] for part in PARTS if len(splits[part])]
    for earlier, later in pairwise(order):
        assert earlier.max() < later.min()


def test_split_keeps_given_parts_and_takes_missing_from_train() -> None:
    part = np.array([0] * 1000 + [2] * 100, np.int8)
    facts = RowFacts(key=mix_hashes(np.arange(1100, dtype=np.uint64)), part=part)
    splits, notes = split_rows(SplitRule(), facts)
    assert splits["test"].tolist() == list(range(1000, 1100))
    assert 60 < len(splits["validation"]) < 140
    assert splits["validation"].max() < 1000
    assert "no validation part: 10% of train by content" in notes


def test_split_counts_content_in_both_train_and_test() -> None:
    part = np.array([0] * 10 + [1] + [2] * 3, np.int8)
    hashes = np.array([*range(10), 77, 3, 4, 99], np.uint64)
    _, notes = split_rows(SplitRule(), RowFacts(key=hashes, part=part))
    assert "2 rows of test in train too: a model has seen the inputs" in notes


@pytest.mark.parametrize(
    ("given_split", "key", "says"),
    [
        ({"train": 0.8, "validation": 0.3, "test": 0.1}, ("data", "split"), "come to 1"),
        ({"train": -0.1}, ("data", "split", "train"), "from 0 to 1"),
        ({"train": float("nan")}, ("data", "split", "train"), "from 0 to 1"),
        ({"train": "most"}, ("data", "split", "train"), "from 0 to 1"),
        ({"train": True}, ("data", "split", "train"), "from 0 to 1"),
        ({"validaton": 0.1}, ("data", "split", "validaton"), "did you mean 'validation'"),
        ({"by": "luck"}, ("data", "split", "by"), "content, row, group, time, user, files"),
        ({"by": ["content"]}, ("data", "split", "by"), "content, row, group, time, user, files"),
        ({"salt": [1]}, ("data", "split", "salt"), "a number or text"),
        ({"validation": 0.0}, ("data", "split"), "train and validation"),
    ],
)
def test_a_wrong_split_is_refused(given_split: dict[str, Any], key: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        SplitRule.read(given_split)
    assert caught.value.key == key


def test_split_shares_left_out_get_the_rest() -> None:
    rule = SplitRule.read({"train": 0.6})
    assert (rule.train, rule.validation, rule.test) == pytest.approx((0.6, 0.2, 0.2))


@pytest.mark.parametrize("by", ["group", "time", "files"])
def test_split_without_its_column_is_refused(by: Any) -> None:
    with pytest.raises(InputError, match=by) as caught:
        split_rows(SplitRule(by=by), content([1, 2, 3]))
    assert caught.value.key == ("data", "split", "by")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=100))
def test_numbered_copies_differ_and_keep_their_numbers_in_a_grown_file(rows: list[int]) -> None:
    hashes = mix_hashes(np.array(rows, np.uint64))
    numbered = number_copies(hashes)
    assert len(np.unique(numbered)) == len(rows)
    grown = number_copies(np.concatenate([hashes, hashes[::-1]]))
    assert (grown[: len(rows)] == numbered).all()
