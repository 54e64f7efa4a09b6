"""Sensitive columns: no model sees them, and their groups are those that the cells say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.trainers.data.conftest import Open
from trainers.data.batches import GROUPS, Batches
from trainers.data.dataset import MISSING_GROUP, Dataset
from trainers.data.examples import example_rows
from trainers.errors import InputError
from trainers.families.logistic_regression import LogisticRegression
from trainers.inputs.encoded_arrays import encode_dataset


def people(rows: int = 400) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "x": draw.normal(size=rows),
            "z": draw.normal(size=rows),
            "gender": draw.choice(["female", "male", ""], rows, p=[0.4, 0.5, 0.1]),
            "region": draw.integers(0, 3, rows),
            "one": ["same"] * rows,
            "bought": draw.choice(["no", "yes"], rows),
        }
    )


def open_people(opened: Open, folder: Path, columns: dict[str, Any], **more: Any) -> Dataset:
    people().to_csv(folder / "people.csv", index=False)
    return opened("csv:people.csv", columns={"target": "bought", "drop": ["one"], **columns}, **more)


def test_sensitive_columns_are_no_features_and_need_not_be_given(opened: Open, tmp_path: Path) -> None:
    dataset = open_people(opened, tmp_path, {"sensitive": ["gender", "region"]})
    assert list(dataset.columns) == ["x", "z"]
    assert list(example_rows(dataset).columns) == ["x", "z"]
    gender, region = dataset.groups["gender"], dataset.groups["region"]
    assert gender.names == ("female", "male", MISSING_GROUP)
    assert region.names == ("0", "1", "2")
    told = people()["gender"].replace("", MISSING_GROUP)
    assert [gender.names[code] for code in gender.codes] == told.tolist()
    assert any("no model sees it" in note and MISSING_GROUP in note for note in dataset.notes)


def test_sensitive_columns_move_no_row_and_are_in_the_fingerprint(opened: Open, tmp_path: Path) -> None:
    plain = open_people(opened, tmp_path, {"drop": ["one", "gender", "region"]})
    dataset = open_people(opened, tmp_path, {"drop": ["one", "region"], "sensitive": "gender"})
    assert (dataset.row_keys() == plain.row_keys()).all()
    frame = people()
    frame.loc[0, "gender"] = "male" if frame.loc[0, "gender"] == "female" else "female"
    frame.to_csv(tmp_path / "people.csv", index=False)
    columns = {"target": "bought", "drop": ["one", "region"], "sensitive": ["gender"]}
    other = opened("csv:people.csv", columns=columns)
    assert len({plain.fingerprint, dataset.fingerprint, other.fingerprint}) == 3


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"sensitive": ["gendr"]}, ("must be in the data", "gender")),
        ({"sensitive": ["bought"]}, ("no other role", "bought")),
        ({"sensitive": ["gender"], "features": ["x", "gender"]}, ("no other role", "features")),
        ({"sensitive": ["one"]}, ("no other role", "drop")),
        ({"drop": [], "sensitive": ["one"]}, ("two groups at least", "same")),
        ({"sensitive": ["x"]}, ("at most 20 groups", "400")),
    ],
    ids=["absent", "target", "feature", "dropped", "constant", "numbers"],
)
def test_sensitive_column_that_makes_no_groups_is_refused(
    opened: Open, tmp_path: Path, columns: dict[str, Any], words: tuple[str, str]
) -> None:
    with pytest.raises(InputError) as refused:
        open_people(opened, tmp_path, columns)
    assert refused.value.key == ("data", "columns", "sensitive")
    assert all(word in f"{refused.value.must} {refused.value.found} {refused.value.do}" for word in words)


def test_target_that_the_source_knows_cannot_be_sensitive(opened: Open) -> None:
    with pytest.raises(InputError, match="must not hold the target"):
        opened("builtin:cancer", columns={"sensitive": ["diagnosis"]})


def test_sensitive_columns_beside_another_task_are_refused(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="classification or regression"):
        open_people(opened, tmp_path, {"sensitive": ["gender"]}, task="reconstruction")


def test_validation_of_one_group_is_refused(opened: Open, tmp_path: Path) -> None:
    columns = {"sensitive": ["gender"], "group": "gender"}
    with pytest.raises(InputError, match="validation part must have two groups"):
        open_people(opened, tmp_path, columns, split={"by": "group"})


def test_batches_of_training_hold_no_groups(opened: Open, tmp_path: Path) -> None:
    dataset = open_people(opened, tmp_path, {"sensitive": ["gender", "region"]})
    encoded = encode_dataset(LogisticRegression(), dataset, {}, tmp_path / "cache")
    assert encoded.state["groups"][0] == ["gender", ["female", "male", MISSING_GROUP]]
    assert GROUPS not in Batches(encoded, "train").gather_all()
    judged = Batches(encoded, "validation").gather_all()
    rows = dataset.splits["validation"]
    assert (judged[GROUPS][:, 0].numpy() == dataset.groups["gender"].codes[rows]).all()
    assert judged["numbers"].shape[1] + judged["categories"].shape[1] == 2
