"""Sides by what a model sees: labels move no row, copies stay together or are parted on request, and sweeps
of before keep the sides that they had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.trainers.data.conftest import Open, former_fingerprint
from trainers.data.dataset import Dataset
from trainers.data.split import PARTS, RowFacts, SplitRule, has_few_different, split_rows
from trainers.errors import InputError


def side_of_each(dataset: Dataset) -> list[str]:
    side = [""] * dataset.rows
    for part, rows in dataset.splits.items():
        for row in rows:
            side[row] = part
    return side


def churn(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"x": rng.normal(size=rows), "z": rng.normal(size=rows), "label": ["a", "b"] * (rows // 2)}
    )


def survey(rows: int = 5000) -> pd.DataFrame:
    """Three questions with three answers each: 27 different rows, by nature."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"q{i}": rng.choice(["no", "some", "yes"], rows) for i in (1, 2, 3)})
    return frame.assign(label=np.where(rng.random(rows) < 0.8, frame["q1"] == "yes", rng.random(rows) < 0.5))


def test_corrected_label_moves_no_row(opened: Open, tmp_path: Path) -> None:
    frame = churn()
    frame.to_csv(tmp_path / "a.csv", index=False)
    before = opened("csv:a.csv")
    frame.loc[::3, "label"] = "b"
    frame.to_csv(tmp_path / "a.csv", index=False)
    after = opened("csv:a.csv")
    assert side_of_each(before) == side_of_each(after)
    assert (before.row_keys() == after.row_keys()).all()
    assert before.fingerprint != after.fingerprint


def test_same_inputs_with_other_targets_are_on_one_side(opened: Open, tmp_path: Path) -> None:
    pd.concat([churn(), churn().assign(label="c")]).to_csv(tmp_path / "a.csv", index=False)
    side = side_of_each(opened("csv:a.csv"))
    assert side[:400] == side[400:]


def test_images_of_two_classes_with_one_content_are_on_one_side(opened: Open, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (60, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", images=np.concatenate([images, images]), labels=np.repeat([0, 1], 60))
    side = side_of_each(opened("npz:a.npz"))
    assert side[:60] == side[60:]


def test_few_different_rows_of_a_part_are_said(opened: Open, tmp_path: Path) -> None:
    survey().to_csv(tmp_path / "a.csv", index=False)
    found = opened("csv:a.csv")
    different = len({tuple(row) for row in survey().iloc[found.splits["test"], :3].to_numpy()})
    said = f"test: {len(found.splits['test']):,} rows, {different} different as a model sees them"
    assert said in found.notes
    assert has_few_different(found.splits, found.input_hashes)


def test_split_by_row_parts_copies_by_its_shares(opened: Open, tmp_path: Path) -> None:
    survey().to_csv(tmp_path / "a.csv", index=False)
    found = opened("csv:a.csv", split={"by": "row"})
    assert [round(len(found.splits[part]) / 500) for part in PARTS] == [8, 1, 1]
    assert len(np.unique(found.input_hashes[found.splits["test"]])) > 20
    assert len(np.unique(found.row_keys())) == 5000
    assert (
        "split by row: each copy has a side of its own (5,000 rows, 27 different as a model sees them)"
        in found.notes
    )


def test_split_by_row_keeps_sides_when_rows_are_added_and_labels_corrected(
    opened: Open, tmp_path: Path
) -> None:
    survey(1000).to_csv(tmp_path / "a.csv", index=False)
    before = side_of_each(opened("csv:a.csv", split={"by": "row"}))
    pd.concat([survey(1000).assign(label=True), survey(500)]).to_csv(tmp_path / "a.csv", index=False)
    assert side_of_each(opened("csv:a.csv", split={"by": "row"}))[:1000] == before


def test_part_without_rows_names_the_split_by_row(opened: Open, tmp_path: Path) -> None:
    pd.DataFrame({"country": ["NA", "DE", "FR"] * 30, "label": ["a", "b", "b"] * 30}).to_csv(
        tmp_path / "a.csv", index=False
    )
    with pytest.raises(InputError, match=r"3 different; .*write data.split: \{by: row\}"):
        opened("csv:a.csv")
    assert sorted(map(len, opened("csv:a.csv", split={"by": "row"}).splits.values()))[0] > 0


def test_data_of_a_former_sweep_keeps_the_sides_that_it_had(opened: Open, tmp_path: Path) -> None:
    churn().to_csv(tmp_path / "a.csv", index=False)
    now = opened("csv:a.csv")
    then = opened("csv:a.csv", recorded=former_fingerprint(now))
    former, _ = split_rows(SplitRule(), RowFacts(key=now.row_hashes))
    assert then.fingerprint == former_fingerprint(now) != now.fingerprint
    assert all((then.splits[part] == rows).all() for part, rows in former.items())
    assert (then.row_keys() == now.row_hashes).all()
    assert side_of_each(then) != side_of_each(now)
    assert side_of_each(opened("csv:a.csv", recorded=now.fingerprint)) == side_of_each(now)


def test_data_of_a_former_sweep_is_read_as_it_was(opened: Open, tmp_path: Path) -> None:
    commas = churn()["x"].map("{:.3f}".format).str.replace(".", ",")
    churn().assign(x=commas).to_csv(tmp_path / "a.csv", index=False)
    now = opened("csv:a.csv")
    then = opened("csv:a.csv", recorded=former_fingerprint(now))
    assert (now.columns["x"].kind, then.columns["x"].kind) == ("number", "category")
    assert opened("csv:a.csv", recorded="f" * 32).fingerprint == now.fingerprint


def test_rows_of_a_series_without_features_differ_by_their_times(opened: Open, tmp_path: Path) -> None:
    rows = [f"2024-01-{n // 24 + 1:02d}T{n % 24:02d}:00:00,{n % 5}.5" for n in range(240)]
    (tmp_path / "a.csv").write_text("\n".join(["hour,load", *rows]))
    columns = {"target": "load", "time": "hour"}
    found = opened("csv:a.csv", task="regression", columns=columns, split={"by": "time"})
    assert len(set(found.input_hashes)) == 240
    assert not any("different as a model sees them" in note for note in found.notes)
    assert len(set(found.row_hashes)) == 5, "the fingerprint of data is what it was"
