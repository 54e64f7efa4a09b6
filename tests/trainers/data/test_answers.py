"""Questions, contexts and answers: how they are known, and which rows can be learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.trainers.data.conftest import Open
from trainers.data.assembly.answer_places import first_occurrence
from trainers.data_profile import profile_dataset
from trainers.errors import InputError


def rows(count: int = 90) -> dict[str, list[Any]]:
    return {
        "question": [f"What is in box {i}?" for i in range(count)],
        "context": [f"Box {i} is full of things: 7{i} bolts and {i} nuts." for i in range(count)],
        "answer": [f"{i} nuts" for i in range(count)],
    }


def write_csv(path: Path, **columns: Any) -> None:
    pd.DataFrame(columns).to_csv(path, index=False)


def test_answer_columns_are_known_by_their_names(opened: Open, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", **rows(), title=["x"] * 90)
    dataset = opened("csv:a.csv")
    assert (dataset.kind, dataset.task) == ("questions", "question-answering")
    assert list(dataset.columns) == ["question", "context"]
    assert dataset.target is not None
    assert dataset.target.values[3] == "3 nuts"
    assert dataset.answer_starts is not None
    assert dataset.columns["context"].values[3][dataset.answer_starts[3] :] == "3 nuts."
    assert any("not from title" in note for note in dataset.notes)
    guess = profile_dataset(dataset).guess
    assert guess is not None
    assert (guess.metric, guess.value) == ("exact_match", 0.0)


def test_answer_columns_of_other_names_can_be_given(opened: Open, tmp_path: Path) -> None:
    made = rows()
    write_csv(tmp_path / "a.csv", q=made["question"], c=made["context"], answer=made["answer"])
    assert opened("csv:a.csv").kind == "table"
    named = opened("csv:a.csv", columns={"question": "q", "context": "c"})
    assert (named.kind, list(named.columns)) == ("questions", ["question", "context"])
    with pytest.raises(InputError, match="columns of questions, contexts and answers"):
        opened("csv:a.csv", task="question-answering")
    with pytest.raises(InputError, match="must be three columns"):
        opened("csv:a.csv", columns={"question": "q", "context": "c", "answer": "c"})
    with pytest.raises(InputError, match="are for task: question-answering"):
        opened("csv:a.csv", task="seq2seq", columns={"question": "q", "context": "c"})


def test_rows_whose_context_lacks_the_answer_are_left_out(opened: Open, tmp_path: Path) -> None:
    made = rows()
    made["answer"][:5] = ["nowhere", "", "full of", "Full of", "is"]
    write_csv(tmp_path / "a.csv", **made)
    dataset = opened("csv:a.csv")
    assert dataset.rows == 87
    assert any(
        "2 of 89 rows are left out: the answer does not stand in its context" in n for n in dataset.notes
    )
    assert any("1 row without the target" in note for note in dataset.notes)
    write_csv(tmp_path / "b.csv", **{**made, "answer": ["nowhere"] * 90})
    with pytest.raises(InputError, match="must have usable rows"):
        opened("csv:b.csv")


def test_answer_start_decides_which_occurrence_is_meant(opened: Open, tmp_path: Path) -> None:
    made = rows()
    made["context"] = [f"{context} Or {i} nuts." for i, context in enumerate(made["context"])]
    write_csv(tmp_path / "a.csv", **made)
    first = opened("csv:a.csv")
    assert any("90 rows hold their answer more than once" in note for note in first.notes)
    second = [context.rindex(answer) for context, answer in zip(made["context"], made["answer"], strict=True)]
    write_csv(tmp_path / "b.csv", **made, answer_start=[*second[:88], second[88] + 1, None])
    dataset = opened("csv:b.csv")
    assert dataset.answer_starts is not None
    assert first.answer_starts is not None
    assert dataset.answer_starts.tolist() == [*second[:88], int(first.answer_starts[89])]
    assert any("1 of 90 rows are left out: the answer does not stand where answer_start says" in n
               for n in dataset.notes)  # fmt: skip
    np.testing.assert_array_equal(dataset.row_hashes[:88], first.row_hashes[:88])  # the same rows,
    assert dataset.fingerprint != first.fingerprint  # but other data


def test_context_used_as_group_stays_on_one_side(opened: Open, tmp_path: Path) -> None:
    made = rows()
    made["context"] = [f"{' and '.join(made['answer'])} in {i // 3}" for i in range(90)]
    write_csv(tmp_path / "a.csv", **made)
    dataset = opened("csv:a.csv", columns={"group": "context"}, split={"by": "group"})
    parts = [{made["context"][row] for row in rows} for rows in dataset.splits.values()]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]


def test_answer_matches_whole_words_only() -> None:
    assert first_occurrence("17 and 7 boxes", "7") == 7
    assert first_occurrence("17 boxes", "7") == 1
    assert first_occurrence("costs $7 (net)", "$7") == 6
    assert first_occurrence("nothing", "7") == -1
