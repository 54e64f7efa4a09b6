"""Interactions from tables: which rows are learned from, and how they are split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.data.dataset import Dataset
from trainers.data.sources.opening import open_dataset
from trainers.data_profile import profile_dataset
from trainers.errors import InputError

HEADER = "user_id,item_id,rating,timestamp"


def read(tmp_path: Path, lines: list[str], header: str = HEADER, **spec: Any) -> Dataset:
    (tmp_path / "made.csv").write_text("\n".join([header, *lines]) + "\n")
    return open_dataset({"source": "csv:made.csv", **spec}, base=tmp_path, cache=tmp_path / "cache")


def names(dataset: Dataset, part: str) -> list[tuple[str, str]]:
    user, item = (dataset.columns[name].values for name in ("user", "item"))
    return [(str(user[row]), str(item[row])) for row in dataset.splits[part]]  # type: ignore[index]


def many(users: int = 10, items: int = 10) -> list[str]:
    return [f"{u},{i},{1 + (u + i) % 5},{1000 * i + u}" for u in range(users) for i in range(items)]


def test_table_of_users_and_items_is_recommendation_by_its_names(tmp_path: Path) -> None:
    found = read(tmp_path, many())
    assert (found.kind, found.task, found.target) == ("interactions", "recommendation", None)
    assert list(found.columns) == ["user", "item"]
    assert found.rows == 60  # ratings 3, 4 and 5
    assert any("40 interactions rated below 3" in note for note in found.notes)


def test_tables_with_another_column_or_a_target_stay_tables(tmp_path: Path) -> None:
    lines = [f"{u},{i},{(u * i) % 7},{u + i},{u % 3}" for u in range(10) for i in range(10)]
    assert read(tmp_path, lines, f"{HEADER},shop").task == "reconstruction"
    assert read(tmp_path, many(), columns={"target": "rating"}).kind == "table"
    named = read(tmp_path, lines, f"{HEADER},shop", columns={"user": "shop", "item": "item_id"})
    assert named.kind == "interactions"
    assert any("not by user_id" in note for note in named.notes)


def test_split_by_time_puts_what_came_last_into_test(tmp_path: Path) -> None:
    found = read(tmp_path, [line.replace(",1,", ",5,") for line in many()])
    assert {item for _, item in names(found, "test")} == {"9"}
    assert max(int(item) for _, item in names(found, "train")) < 9


def test_split_by_user_leaves_each_users_last_interactions(tmp_path: Path) -> None:
    lines = [f"{u},{i},5,{100 * u + i}" for u in range(10) for i in range(10)]
    found = read(tmp_path, lines, split={"by": "user"})
    assert names(found, "test") == [(str(u), "9") for u in range(10)]
    assert names(found, "validation") == [(str(u), "8") for u in range(10)]
    without = [line.rpartition(",")[0] for line in lines]
    with pytest.raises(InputError, match="interactions of users at their times") as error:
        read(tmp_path, without, "user,item,rating", split={"by": "user"})
    assert error.value.key == ("data", "split", "by")


def test_first_interaction_of_a_user_with_an_item_counts(tmp_path: Path) -> None:
    lines = [f"{u},{i},5,{100 + u + i}" for u in range(8) for i in range(8)]
    found = read(tmp_path, [*lines, "0,0,5,999", "0,0,5,1"])
    assert found.rows == 64
    assert any("2 interactions repeat" in note for note in found.notes)
    assert ("0", "0") in names(found, "train")


def test_new_users_and_items_are_said_with_their_number(tmp_path: Path) -> None:
    lines = [f"{u},{i},5,{100 * u + i}" for u in range(10) for i in range(10)]
    found = read(tmp_path, [*lines, "9,new,5,9999"])
    assert any("test: 1 of 1 users are new after training" in note for note in found.notes)
    assert any("items are new" in note for note in found.notes)
    assert len(found.splits["train"]) > 70


def test_popularity_is_the_trivial_answer(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    lines = [
        f"{u},{int(i)},{n}"
        for n, (u, i) in enumerate(zip(draw.integers(0, 9, 400), draw.integers(0, 60, 400), strict=True))
    ]
    guess = profile_dataset(read(tmp_path, lines, "user,item,time", split={"by": "user"})).guess
    assert guess is not None
    assert guess.metric == "ndcg_10"
    assert 0.0 < guess.value < 1.0
    assert set(guess.scores) == {"ndcg_10", "recall_10"}


@pytest.mark.parametrize(
    ("spec", "must"),
    [
        ({"task": "recommendation", "columns": {"drop": ["item_id"]}}, "a column of users and one of items"),
        ({"columns": {"user": "user_id", "item": "user_id"}}, "must be different columns"),
        ({"task": "regression", "columns": {"user": "user_id"}}, "are for task: recommendation"),
    ],
)
def test_columns_that_make_no_interactions_are_refused(tmp_path: Path, spec: Any, must: str) -> None:
    with pytest.raises(InputError, match=must):
        read(tmp_path, many(), **spec)


def test_ratings_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ratings must be numbers"):
        read(tmp_path, ["a,b,good,1", "a,c,bad,2", "b,c,good,3"])
