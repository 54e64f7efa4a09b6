"""`velodrome inspect`: flipped labels are found, and left out without a row changing sides."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from flows.cli.app import app
from flows.config.lookup import open_sweep
from flows.inspection.folds import find_unjudged, fold_of_rows
from flows.inspection.inspect import are_informed, inspect
from flows.inspection.result import Inspection
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from tests.flows.real_trials import train_and_write
from trainers.data.dataset import Dataset
from trainers.data.sources.listed_rows import spell_row
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError

FILE = """
name: flipped
data: {source: npz:digits.npz}
budget: {trials: 1, epochs: 6}
families: {image_cnn: {space: {learning_rate: 0.002}}}
"""


def write_flipped(folder: Path, seed: int = 1) -> np.ndarray:
    """Digits of which one label in twenty is another one; the images' places."""
    digits, chance = load_digits(), np.random.default_rng(seed)
    labels = digits.target.copy()
    flipped = chance.choice(len(labels), len(labels) // 20, replace=False)
    labels[flipped] = (labels[flipped] + chance.integers(1, 10, len(flipped))) % 10
    images = (digits.images * 255 / 16).round().astype(np.uint8)
    np.savez(folder / "digits.npz", images=images, labels=labels)
    return flipped


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A finished sweep of one trial over flipped digits, and which they are."""
    folder = tmp_path_factory.mktemp("flipped")
    flipped = write_flipped(folder)
    (folder / "flipped.yaml").write_text(FILE)
    train_and_write(Home(folder / "home"), folder / "flipped.yaml", {"learning_rate": 0.002})
    return folder, flipped


@pytest.fixture(scope="module")
def found(place: tuple[Path, np.ndarray]) -> Inspection:
    """What an inspection by three models finds."""
    folder, _ = place
    return inspect("flipped", folds=3, out=folder / "suspects", home=Home(folder / "home"))


def open_digits(folder: Path, **more: str) -> Dataset:
    return open_dataset({"source": "npz:digits.npz", **more}, base=folder, cache=folder / "home" / "cache")


def test_inspect_flipped_digits_finds_most_of_them(place: tuple[Path, np.ndarray], found: Inspection) -> None:
    folder, flipped = place
    dataset = open_digits(folder)
    looked_at = np.concatenate([dataset.splits["train"], dataset.splits["validation"]])
    wrong = {spell_row(int(dataset.row_hashes[row])) for row in np.intersect1d(flipped, looked_at)}
    suspect = {row.row for row in found.suspects}
    right = len(wrong & suspect)
    assert right / len(wrong) >= 0.8
    assert right / len(suspect) >= 0.7
    assert found.rows == len(looked_at)
    tested = {spell_row(int(dataset.row_hashes[row])) for row in dataset.splits["test"]}
    assert not tested & suspect


def test_inspect_writes_a_table_a_page_and_a_picture_each(
    place: tuple[Path, np.ndarray], found: Inspection
) -> None:
    folder = place[0] / "suspects"
    with (folder / "suspects.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == [row.row for row in found.suspects]
    assert lines[0]["reason"].startswith(f"labelled {found.suspects[0].given}, ")
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert pictures == {f"{row.row}.png" for row in found.suspects}
    page = (folder / "index.html").read_text()
    assert page.count("<img ") == len(found.suspects)
    assert float(lines[0]["p_given"]) <= float(lines[-1]["p_given"])


def test_dropped_rows_leave_all_others_where_they_were(
    place: tuple[Path, np.ndarray], found: Inspection
) -> None:
    folder, _ = place
    before, after = open_digits(folder), open_digits(folder, drop_rows="suspects/suspects.csv")
    gone = {int(row.row, 16) for row in found.suspects}
    for part, rows in before.splits.items():
        kept = [row for row in rows if int(before.row_hashes[row]) not in gone]
        assert after.splits[part].tolist() == kept
    assert after.fingerprint != before.fingerprint
    assert any(note.startswith(f"drop_rows leaves out {len(gone)} rows: ") for note in after.notes)


def test_drop_rows_of_other_data_or_shape_are_refused(place: tuple[Path, np.ndarray]) -> None:
    folder, _ = place
    cases = {
        "row\n0123456789abcdef\n": "must list rows of the data",
        "row\n1.23E+15\n": "16 hex digits",
        "id\n0123456789abcdef\n": "must have a column row",
    }
    for text, message in cases.items():
        (folder / "drop.csv").write_text(text)
        with pytest.raises(InputError, match=message):
            open_digits(folder, drop_rows="drop.csv")
    with pytest.raises(InputError, match="readable CSV"):
        open_digits(folder, drop_rows="absent.csv")
    every = "".join(f"{spell_row(int(row))}\n" for row in open_digits(folder).row_hashes)
    (folder / "drop.csv").write_text(f"row\n{every}")
    with pytest.raises(InputError, match="train part must have rows"):
        open_digits(folder, drop_rows="drop.csv")


def test_folds_keep_copies_together_and_deal_each_class_evenly(place: tuple[Path, np.ndarray]) -> None:
    dataset = open_digits(place[0])
    rows = np.concatenate([dataset.splits["train"], dataset.splits["train"][:50]])
    fold_of = fold_of_rows(dataset, rows, 4)
    assert (fold_of[-50:] == fold_of[:50]).all()
    labels = dataset.labels()[rows[:-50]]
    for label in range(10):
        counts = np.bincount(fold_of[:-50][labels == label], minlength=4)
        assert counts.max() - counts.min() <= 1


def test_folds_keep_groups_together_where_sides_are_theirs(tmp_path: Path) -> None:
    rows = [f"{place / 7:.3f},{place // 4},{'xy'[place % 2]}" for place in range(200)]
    (tmp_path / "visits.csv").write_text("a,who,b\n" + "\n".join(rows) + "\n")
    spec = {"source": "csv:visits.csv", "columns": {"target": "b", "group": "who"}}
    told = {}
    for by in ("content", "group"):
        dataset = open_dataset({**spec, "split": {"by": by}}, base=tmp_path, cache=tmp_path / "cache")
        looked_at = np.concatenate([dataset.splits["train"], dataset.splits["validation"]])
        fold_of = fold_of_rows(dataset, looked_at, 4)
        told[by] = max(len(np.unique(fold_of[looked_at // 4 == who])) for who in np.unique(looked_at // 4))
        assert set(fold_of) == {0, 1, 2, 3}
    assert told["group"] == 1
    assert told["content"] > 1


def test_row_whose_label_no_other_fold_has_is_not_judged(tmp_path: Path) -> None:
    lines = [f"{place - 30}.5,{'ab'[place > 30]}" for place in range(60)]
    lines += ["1000,once"] * 3
    lines += [f"{-1000 - place},twice" for place in range(2)]
    (tmp_path / "rare.csv").write_text("x,kind\n" + "\n".join(lines) + "\n")
    spec = {"source": "csv:rare.csv", "columns": {"target": "kind"}, "split": {"test": 0.0}}
    dataset = open_dataset(spec, base=tmp_path, cache=tmp_path / "cache")
    looked_at = np.arange(dataset.rows)
    unjudged = find_unjudged(dataset, looked_at, 3)
    assert {dataset.classes[label] for label in dataset.labels()[looked_at[unjudged]]} == {"once"}
    assert unjudged.sum() == 3
    home = Home(tmp_path / "home")
    (tmp_path / "rare.yaml").write_text(
        "name: rare\ndata: {source: csv:rare.csv, columns: {target: kind}, split: {test: 0.0}}\n"
        "budget: {trials: 1, epochs: 2}\nfamilies: {logistic_regression: {space: {learning_rate: 0.05}}}\n"
    )
    train_and_write(home, tmp_path / "rare.yaml", {"learning_rate": 0.05})
    found = inspect("rare", folds=3, home=home, out=tmp_path / "found")
    assert found.unjudged == 3
    assert "once" not in {suspect.given for suspect in found.suspects}
    assert "3 rows are not judged" in (tmp_path / "found" / "index.html").read_text()


def test_inspect_of_a_series_is_refused_before_it_trains(tmp_path: Path) -> None:
    lines = [f"{place},{np.sin(place):.3f},{'du'[int(np.sin(place) > 0)]}" for place in range(120)]
    (tmp_path / "series.csv").write_text("t,v,up\n" + "\n".join(lines) + "\n")
    home = Home(tmp_path / "home")
    (tmp_path / "series.yaml").write_text(
        "name: series\ndata: {source: csv:series.csv, columns: {target: up, time: t, types: {t: number}}, "
        "split: {by: time}}\nbudget: {trials: 1, epochs: 1}\n"
        "families: {rnn: {options: {window: 4}, space: {learning_rate: 0.01}}}\n"
    )
    train_and_write(home, tmp_path / "series.yaml", {"learning_rate": 0.01})
    with pytest.raises(WrongInput, match="rows that stand alone") as caught:
        inspect("series", home=home, out=tmp_path / "found")
    assert caught.value.found == "rnn reads the rows before each"


def test_inspect_refuses_wrong_input_before_it_trains(place: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    home = Home(place[0] / "home")
    with pytest.raises(WrongInput, match="--folds"):
        inspect("flipped", folds=1, home=home)
    with pytest.raises(WrongInput, match="none for #7"):
        inspect("flipped", trial=7, home=home)
    with pytest.raises(WrongInput, match="must be a new folder"):
        inspect("flipped", out=place[0], home=home)
    file = tmp_path / "line.yaml"
    file.write_text(
        "name: line\ndata: {source: builtin:diabetes}\nbudget: {trials: 1, epochs: 1}\n"
        "families: {linear_regression: {space: {learning_rate: 0.01}}}\n"
    )
    train_and_write(Home(tmp_path / "home"), file, {"learning_rate": 0.01})
    with pytest.raises(WrongInput, match="where classes are learned"):
        inspect("line", home=Home(tmp_path / "home"))


def test_models_that_learned_nothing_are_told_from_those_that_did() -> None:
    chance = np.random.default_rng(0)
    labels = (chance.random(1000) < 0.02).astype(np.int64)  # rare: no model is better by accuracy
    for seed in range(20):
        guessed = np.random.default_rng(seed).beta(2, 50, 1000)
        assert not are_informed(labels, np.stack([1 - guessed, guessed], 1))
    hinted = guessed + 0.1 * labels
    assert are_informed(labels, np.stack([1 - hinted, hinted], 1))


def test_suspects_of_models_that_learned_nothing_are_warned_of_and_not_proposed_to_drop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(1)
    rows = [
        f"{a:.4f},{'yes' if c else 'no'}"
        for a, c in zip(chance.normal(size=300), chance.random(300) < 0.5, strict=True)
    ]
    (tmp_path / "noise.csv").write_text("a,b\n" + "\n".join(rows) + "\n")
    (tmp_path / "noise.yaml").write_text(
        "name: noise\ndata: {source: csv:noise.csv, columns: {target: b}}\nbudget: {trials: 1, epochs: 2}\n"
        "families: {logistic_regression: {space: {learning_rate: 0.01}}}\n"
    )
    train_and_write(Home(tmp_path / "home"), tmp_path / "noise.yaml", {"learning_rate": 0.01})
    done = CliRunner().invoke(app, ["inspect", "noise", "--folds", "2"])
    assert done.exit_code == 0, done.output
    assert "says nothing of the labels" in done.stdout
    assert "drop_rows" not in done.stdout
    assert "says nothing of the labels" in (tmp_path / "noise-suspects" / "index.html").read_text()


def test_inspect_of_a_smaller_version_names_the_trial_that_it_is_made_of(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (tmp_path / "cancer.yaml").write_text(
        "name: cancer\ndata: {source: builtin:cancer}\nbudget: {trials: 1, epochs: 1}\n"
        "families: {logistic_regression: {space: {learning_rate: 0.01}}}\n"
    )
    train_and_write(home, tmp_path / "cancer.yaml", {"learning_rate": 0.01})
    ledger, row = open_sweep("cancer", home)
    smaller = replace(
        views.trials(ledger, row.id)[0], number=1, origin={"compressed": {"number": 0, "how": "int8"}}
    )
    batch = WriteBatch()
    batch.add_event("asked", 1.0, {"params": smaller.params, "origin": smaller.origin}, smaller)
    ledger.add_events(row.id, batch)
    ledger.close()
    with pytest.raises(WrongInput, match="name #0") as caught:
        inspect("cancer", trial=1, home=home)
    assert caught.value.found == "#1 of cancer, a smaller version of #0"


def test_inspect_command_prints_one_document_of_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cancer.yaml").write_text(
        "name: cancer\ndata: {source: builtin:cancer}\nbudget: {trials: 1, epochs: 2}\n"
        "families: {logistic_regression: {space: {learning_rate: 0.01}}}\n"
    )
    train_and_write(Home(tmp_path / "home"), tmp_path / "cancer.yaml", {"learning_rate": 0.01})
    done = CliRunner().invoke(app, ["inspect", "cancer", "--folds", "2", "--json"])
    assert done.exit_code == 0, done.output
    document: Any = json.loads(done.stdout)
    assert len(document["accuracy"]) == 2
    first = document["suspects"][0]
    assert {"malignant", "benign"} == {first["given"], first["suggested"]}
    assert first["content"].startswith("mean_radius = ")
    assert (tmp_path / "cancer-suspects" / "suspects.csv").exists()
    again = CliRunner().invoke(app, ["inspect", "cancer", "--folds", "2"])
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    shown = CliRunner().invoke(app, ["inspect", "cancer", "--folds", "2", "--overwrite"])
    assert "data: {drop_rows: cancer-suspects/suspects.csv}" in shown.stdout
