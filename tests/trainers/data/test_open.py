"""Every source small: what its rows come to, and what is said when they cannot be used."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.trainers.data.conftest import Open
from trainers.data.dataset import Dataset
from trainers.data.sources import arrays, files
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError

WORDS = ["red", "green", "blue", "small", "large", "quick", "slow", "old", "new", "warm", "cold"]


def frame(rows: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": random.integers(18, 80, rows),
            "income": random.normal(50, 9, rows).round(3),
            "city": random.choice(["Oslo", "Rome", "Bern"], rows),
            "churned": random.choice(["yes", "no"], rows),
        }
    )


def sentences(rows: int) -> list[str]:
    random = np.random.default_rng(1)
    return [f"{' '.join(random.choice(WORDS, 6))} {row}" for row in range(rows)]


def check_parts(dataset: Dataset) -> None:
    everything = np.sort(np.concatenate(list(dataset.splits.values())))
    assert everything.tolist() == list(range(dataset.rows))
    assert len(dataset.fingerprint) == 32
    for column in dataset.columns.values():
        assert len(column.values) == dataset.rows


# -- sources ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind", "task", "rows"),
    [
        ("builtin:digits", "image", "classification", 1797),
        ("builtin:diabetes", "table", "regression", 442),
        ("builtin:cancer", "table", "classification", 569),
        ("builtin:photos", "image", "classification", 520),
    ],
)
def test_builtin_source_has_its_kind_task_and_rows(
    opened: Open, source: str, kind: str, task: str, rows: int
) -> None:
    dataset = opened(source)
    check_parts(dataset)
    assert (dataset.kind, dataset.task, dataset.rows) == (kind, task, rows)


def test_builtin_data_are_those_of_scikit_learn(opened: Open) -> None:
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

    digits = opened("builtin:digits")
    images = np.asarray(digits.columns["image"].values)
    assert (np.round(images[..., 0] / (255 / 16)) == load_digits().images).all()
    assert (digits.labels() == load_digits().target).all()
    diabetes = opened("builtin:diabetes")
    expected = load_diabetes(scaled=False)
    found = np.stack([np.asarray(column.values) for column in diabetes.columns.values()], axis=1)
    assert (found == expected.data).all()
    assert list(diabetes.columns) == expected.feature_names
    assert diabetes.target is not None
    assert (np.asarray(diabetes.target.values) == expected.target).all()
    cancer = load_breast_cancer()
    assert [cancer.target_names[i] for i in cancer.target] == list(opened("builtin:cancer").target.values)  # type: ignore[union-attr]


def test_builtin_docstrings_open_for_three_tasks(opened: Open) -> None:
    texts = opened("builtin:docstrings")
    assert (texts.kind, texts.task) == ("text", "classification")
    assert texts.rows > 500
    assert "asyncio" in texts.classes
    pairs = opened("builtin:docstrings", task="seq2seq")
    assert (pairs.kind, list(pairs.columns)) == ("pairs", ["input"])
    corpus = opened("builtin:docstrings", task="language-model")
    assert (corpus.kind, corpus.target) == ("corpus", None)
    for dataset in (texts, pairs, corpus):
        check_parts(dataset)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_table_is_the_same_in_every_format(opened: Open, tmp_path: Path, form: str) -> None:
    table = frame()
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    table.to_parquet(tmp_path / "a.parquet")
    dataset = opened(f"{form}:a.{form}", columns={"target": "churned"})
    check_parts(dataset)
    assert (dataset.kind, dataset.task, dataset.classes) == ("table", "classification", ("no", "yes"))
    kinds = {name: column.kind for name, column in dataset.columns.items()}
    assert kinds == {"age": "number", "income": "number", "city": "category"}
    assert np.allclose(np.asarray(dataset.columns["income"].values), table["income"])
    assert dataset.fingerprint == opened("csv:a.csv", columns={"target": "churned"}).fingerprint


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_large_table_streams_to_the_same_data(
    opened: Open, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = frame()
    table.loc[::7, "churned"] = None
    table.loc[::5, "income"] = None
    getattr(table, {"csv": "to_csv", "jsonl": "to_json", "parquet": "to_parquet"}[form])(
        tmp_path / f"a.{form}",
        **{"csv": {"index": False}, "jsonl": {"orient": "records", "lines": True}, "parquet": {}}[form],
    )
    small = opened(f"{form}:a.{form}", columns={"target": "churned"})
    monkeypatch.setattr(files, "LARGE_BYTES", 1)
    large = opened(f"{form}:a.{form}", columns={"target": "churned"})
    assert isinstance(large.columns["income"].values, np.memmap)
    assert large.fingerprint == small.fingerprint
    assert (large.row_hashes == small.row_hashes).all()
    for name, column in small.columns.items():
        assert np.array_equal(
            np.array(column.values, object), np.array(large.columns[name].values, object)
        ) or np.array_equal(np.asarray(column.values), np.asarray(large.columns[name].values), equal_nan=True)


def test_folder_with_train_and_test_files_keeps_its_parts(opened: Open, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    frame(300).to_csv(folder / "train.csv", index=False)
    frame(300).tail(10).to_csv(folder / "test.csv", index=False)
    dataset = opened("csv:parts", columns={"target": "churned"})
    assert dataset.splits["test"].tolist() == list(range(300, 310))
    assert dataset.splits["validation"].max() < 300
    assert any("in train too" in note for note in dataset.notes)


def test_image_folder_opens_with_its_classes(opened: Open, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 5)):
        for label in ("ant", "bee"):
            (tmp_path / "pictures" / part / label).mkdir(parents=True)
            for at in range(count):
                shape = (10 + at, 12, 3)
                picture = Image.fromarray(random.integers(0, 255, shape, np.uint8))
                picture.save(tmp_path / "pictures" / part / label / f"{at}.png")
    dataset = opened("images:pictures", split={"test": 0.3, "validation": 0.1, "train": 0.6})
    check_parts(dataset)
    assert (dataset.kind, dataset.rows, dataset.classes) == ("image", 50, ("ant", "bee"))
    assert len(dataset.splits["validation"]) == 10
    assert str(dataset.columns["image"].values[0]).endswith("train/ant/0.png")
    before = dataset.fingerprint
    Image.fromarray(random.integers(0, 255, (10, 12, 3), np.uint8)).save(
        tmp_path / "pictures/train/ant/0.png"
    )
    assert opened("images:pictures").fingerprint != before


IMAGES = np.arange(90 * 16).reshape(90, 4, 4)


@pytest.mark.parametrize(
    ("arrays", "found", "do"),
    [
        ({"x": np.zeros(90, [("a", "f4"), ("b", "i4")])}, "'a'", "an array for each field"),
        ({"x": IMAGES * 1j}, "complex128", "an array for each"),
        ({"x": np.where(IMAGES == 17, np.nan, 0.5)}, "NaN or infinite, first in image 1", "nan_to_num"),
        ({"x": IMAGES - 100}, "-100 to 1339", "(x - -100) / 1439"),
        ({"x": IMAGES.astype("M8[D]")}, "datetime64[D]", "uint8"),
        ({"x": IMAGES % 255, "y": np.eye(90)}, "90x90 for 90 rows", "y.argmax(1)"),
        ({"x": IMAGES % 255, "y": np.arange(89)}, "89 for 90 rows", ""),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_read_are_refused_with_what_to_do(
    opened: Open, tmp_path: Path, arrays: dict[str, Any], found: str, do: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError) as refused:
        opened("npz:a.npz")
    assert found in refused.value.found
    assert do in refused.value.do


@pytest.mark.parametrize("large", [False, True])
def test_npz_arrays_open_as_images_or_table(
    opened: Open, tmp_path: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(arrays, "LARGE_BYTES", 1)
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (90, 3, 8, 9), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", images=images, labels=np.arange(90) % 3)
    dataset = opened("npz:a.npz")
    check_parts(dataset)
    assert (dataset.kind, dataset.classes) == ("image", ("0", "1", "2"))
    assert np.asarray(dataset.columns["image"].values).shape == (90, 8, 9, 3)
    rows = {"x_train": random.normal(size=(80, 4)), "y_train": random.normal(size=80)}
    np.savez(tmp_path / "b.npz", **rows, x_test=random.normal(size=(9, 4)), y_test=random.normal(size=9))
    table = opened("npz:b.npz")
    assert (table.kind, table.task, list(table.columns)) == ("table", "regression", ["x0", "x1", "x2", "x3"])
    assert table.splits["test"].tolist() == list(range(80, 89))


@pytest.mark.parametrize("kind", ["csv", "images", "npz"])
def test_other_content_of_the_same_size_and_time_is_other_data(
    opened: Open, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an archive without times leaves it, or a copy that keeps them: what was read before is not taken."""
    for module in (files, arrays):
        monkeypatch.setattr(module, "LARGE_BYTES", 1)

    def write(seed: int) -> Path:
        random = np.random.default_rng(seed)
        if kind == "csv":
            rows = "\n".join(f"{value:.6f},{value > 0.5:d}" for value in random.random(100))
            (tmp_path / "a.csv").write_text(f"x,label\n{rows}\n")
            return tmp_path / "a.csv"
        if kind == "npz":
            inputs, labels = random.random((90, 4)), np.arange(90) % 3
            np.savez(tmp_path / "a.npz", x=inputs, y=labels)
            return tmp_path / "a.npz"
        for number in range(60):
            place = tmp_path / "a" / str(number % 2) / f"{number}.bmp"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (4, 4, 3), np.uint8)).save(place)
            os.utime(place, (1e9, 1e9))
        return place

    def read() -> str:
        source = {"csv": "csv:a.csv", "npz": "npz:a.npz", "images": "images:a"}[kind]
        return opened(source).fingerprint

    first = write(1)
    os.utime(first, (1e9, 1e9))
    size, before = first.stat().st_size, read()
    assert read() == before
    os.utime(write(2), (1e9, 1e9))
    assert (first.stat().st_size, first.stat().st_mtime) == (size, 1e9)
    assert read() != before


def test_text_is_cut_into_blocks_that_a_longer_text_keeps(opened: Open, tmp_path: Path) -> None:
    text = "\n\n".join(" ".join(sentences(3)) + f" {i}" for i in range(300))
    (tmp_path / "a.txt").write_text(text)
    before = opened("text:a.txt")
    assert "".join(before.columns["text"].values) == text
    assert (before.kind, before.task) == ("corpus", "language-model")
    (tmp_path / "a.txt").write_text(text + "\n\nAnd more.\n\n" * 200)
    after = opened("text:a.txt")
    assert (after.row_hashes[: before.rows - 1] == before.row_hashes[:-1]).all()


def test_text_split_by_time_holds_out_the_end(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(" ".join(sentences(3)) + f" {i}" for i in range(300)))
    found = opened("text:a.txt", split={"train": 0.8, "validation": 0.1, "test": 0.1, "by": "time"})
    order = np.concatenate([found.splits[part] for part in ("train", "validation", "test")])
    assert order.tolist() == list(range(found.rows))
    assert len(found.splits["test"]) == round(found.rows * 0.1)


def test_hub_folder_opens_with_its_splits_and_class_names(opened: Open, tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = {"text": sentences(100), "label": [0, 1] * 50}
    train = datasets.Dataset.from_dict(rows, features=features).shuffle(seed=0)
    test = datasets.Dataset.from_dict({"text": ["a b c d"], "label": [1]}, features=features)
    datasets.DatasetDict(train=train, test=test, unsupervised=test).save_to_disk(tmp_path / "kept")
    dataset = opened("hf:kept")
    assert "splits of kept that are left out: unsupervised (1 rows)" in dataset.notes
    check_parts(dataset)
    assert (dataset.kind, dataset.classes) == ("text", ("bad", "good"))
    assert dataset.splits["test"].tolist() == [100]
    assert dataset.target is not None
    assert list(dataset.target.values)[:100] == [["bad", "good"][i] for i in train["label"]]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda folder: (folder / "state.json").write_text("{"),
            "JSONDecodeError",
        ),
        (
            lambda folder: next(folder.glob("*.arrow")).unlink(),
            "FileNotFoundError",
        ),
        (lambda folder: next(folder.glob("*.arrow")).write_bytes(b"x"), "Arrow"),
    ],
)
def test_damaged_hub_folder_is_no_matter_of_the_hub(
    damage: Callable[[Path], object], says: str, opened: Open, tmp_path: Path
) -> None:
    """It was to be `on the hub or in its cache`, and to be fetched on a machine with a network."""
    import datasets

    datasets.Dataset.from_dict({"text": sentences(9)}).save_to_disk(tmp_path / "kept")
    damage(tmp_path / "kept")
    with pytest.raises(InputError, match=f"must be a whole folder of save_to_disk; but got {says}"):
        opened("hf:kept")


def test_hub_folder_without_rows_is_refused_as_empty(opened: Open, tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"text": sentences(9)})
    rows.select([]).save_to_disk(tmp_path / "kept")
    with pytest.raises(InputError, match="every part must have rows"):
        opened("hf:kept")


def test_hub_parts_of_other_types_and_columns_are_joined_as_files_are(opened: Open, tmp_path: Path) -> None:
    """Numbers in one part, words in another: ArrowTypeError; a column that one lacks was silent."""
    import datasets

    labels = ["a", "b"] * 30
    train = datasets.Dataset.from_dict({"x": [float(n) for n in range(60)], "z": [1.5] * 60, "label": labels})
    test = datasets.Dataset.from_dict({"x": [str(n) for n in range(60)], "label": labels})
    datasets.DatasetDict(train=train, test=test).save_to_disk(tmp_path / "kept")
    found = opened("hf:kept")
    assert found.columns["x"].kind == "number"
    assert "column 'z' is not in test: missing in all rows there" in found.notes


def test_sound_in_a_column_is_not_taken_for_pictures(opened: Open, tmp_path: Path) -> None:
    sound = {"bytes": b"RIFF0000WAVEfmt ", "path": None}
    pd.DataFrame({"audio": [sound] * 60, "label": ["a", "b"] * 30}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="sound in column 'audio'; write the clips as files"):
        opened("parquet:a.parquet")


def test_hub_parts_are_known_in_any_letters(opened: Open, tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"text": sentences(100), "label": ["a", "b"] * 50})
    datasets.DatasetDict(Train=rows, TEST=rows.select(range(10))).save_to_disk(tmp_path / "kept")
    assert len(opened("hf:kept").splits["test"]) == 10


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("hf:set", r"write parquet:set/data"),
        ("hf:set#default", r"a folder has no configurations: write hf:set"),
        ("hf:https://huggingface.co/datasets/owner/name", r"write hf:owner/name"),
    ],
)
def test_plain_files_as_hub_data_are_refused_with_the_source_to_write(
    source: str, says: str, opened: Open, tmp_path: Path
) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "README.md").write_text("x")
    (tmp_path / "set" / "data" / "train-00000-of-00001.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match=says):
        opened(source)


def test_hub_offline_says_how_to_bring_the_data(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def offline(*_: object) -> None:
        raise ConnectionError("Couldn't reach 'nobody/nothing' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(InputError, match="save_to_disk") as caught:
        opened("hf:nobody/nothing")
    assert "OfflineModeIsEnabled" in caught.value.found


def test_source_none_opens_without_rows_or_task(opened: Open) -> None:
    dataset = opened("none")
    assert (dataset.kind, dataset.rows, dataset.task) == ("none", 0, None)


# -- kinds, roles and tasks --------------------------------------------------------------------------------


def write_csv(path: Path, **columns: Any) -> None:
    pd.DataFrame(columns).to_csv(path, index=False)


def test_csv_columns_get_their_kinds(opened: Open, tmp_path: Path) -> None:
    write_csv(
        tmp_path / "a.csv",
        size=["1", "", "2.5", "NA", "1e3"] * 20,
        postcode=["01234", "99999", "00001", "12345", "54321"] * 20,
        when=["2024-01-31", "2024-02-01T10:00:00Z", "", "2023-05-05", "2024-01-01"] * 20,
        about=sentences(100),
        word=[*WORDS[:5]] * 20,
        label=["a", "b"] * 50,
    )
    dataset = opened("csv:a.csv")
    kinds = {name: column.kind for name, column in dataset.columns.items()}
    assert kinds == {
        "size": "number",
        "postcode": "category",
        "when": "time",
        "about": "text",
        "word": "category",
    }
    assert np.isnan(np.asarray(dataset.columns["size"].values)[[1, 3]]).all()
    assert np.asarray(dataset.columns["when"].values)[1] == pd.Timestamp("2024-02-01T10:00:00Z").timestamp()
    assert "the target is column 'label', by its name" in dataset.notes


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        (["no", "yes"], "classification", ("no", "yes")),
        ([0, 1], "classification", ("0", "1")),
        ([10, 9, 2], "classification", ("2", "9", "10")),
        (list(np.linspace(0, 1, 60)), "regression", ()),
        (list(range(60)), "regression", ()),
    ],
)
def test_the_task_follows_from_the_target(
    opened: Open, tmp_path: Path, target: list[Any], task: str, classes: tuple[str, ...]
) -> None:
    repeated = (target * 60)[:60]
    write_csv(tmp_path / "a.csv", x=np.arange(60) * 1.5, y=repeated)
    dataset = opened("csv:a.csv")
    assert (dataset.task, dataset.classes) == (task, classes)
    assert any(note.startswith(f"task {task}") for note in dataset.notes)


def test_csv_of_texts_or_pairs_gets_kind_and_task(opened: Open, tmp_path: Path) -> None:
    write_csv(tmp_path / "text.csv", label=["a", "b"] * 50, review=sentences(100))
    assert (opened("csv:text.csv").kind, list(opened("csv:text.csv").columns)) == ("text", ["text"])
    write_csv(tmp_path / "pairs.csv", source=sentences(100), target=sentences(100)[::-1])
    pairs = opened("csv:pairs.csv")
    assert (pairs.kind, pairs.task, list(pairs.columns)) == ("pairs", "seq2seq", ["input"])
    named = opened("csv:text.csv", columns={"input": "review", "reference": "label"})
    assert (named.kind, named.task, list(named.target.values[:2])) == ("pairs", "seq2seq", ["a", "b"])  # type: ignore[union-attr]
    assert opened("csv:text.csv", task="language-model").kind == "corpus"


def test_columns_that_decide_the_split_are_not_learned_from(opened: Open, tmp_path: Path) -> None:
    write_csv(
        tmp_path / "a.csv",
        x=np.arange(90),
        customer=[f"c{i % 30}" for i in range(90)],
        day=pd.date_range("2024-01-01", periods=90).strftime("%Y-%m-%d"),
        id=range(90),
        label=["a", "b", "c"] * 30,
    )
    columns = {"group": "customer", "time": "day", "drop": ["id"]}
    dataset = opened("csv:a.csv", columns=columns, split={"by": "group"})
    assert list(dataset.columns) == ["x"]
    customers = [{f"c{i % 30}" for i in rows} for rows in dataset.splits.values()]
    assert not customers[0] & customers[1]
    assert not customers[0] & customers[2]
    timed = opened("csv:a.csv", columns=columns, split={"by": "time"})
    assert timed.splits["test"].tolist() == list(range(81, 90))


def test_a_grown_file_keeps_the_sides_of_its_rows(opened: Open, tmp_path: Path) -> None:
    table = frame(400)
    table.head(300).to_csv(tmp_path / "a.csv", index=False)
    before = opened("csv:a.csv", columns={"target": "churned"})
    grown = table.sample(frac=1.0, random_state=0)
    grown["age"] = grown["age"].astype(float)  # as pandas writes whole numbers once one is missing
    grown.to_csv(tmp_path / "a.csv", index=False)
    after = opened("csv:a.csv", columns={"target": "churned"})
    side = {row: part for part, rows in after.splits.items() for row in after.row_hashes[rows].tolist()}
    for part, rows in before.splits.items():
        assert {side[row] for row in before.row_hashes[rows].tolist()} == {part}


def test_rows_without_a_target_are_left_out(opened: Open, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", x=np.arange(60), label=[None, "a", "b"] * 20)
    dataset = opened("csv:a.csv")
    assert dataset.rows == 40
    assert dataset.labels().min() == 0
    assert "20 rows without the target (label) left out" in dataset.notes


def test_rows_with_missing_features_are_dropped_if_asked(opened: Open, tmp_path: Path) -> None:
    write_csv(
        tmp_path / "a.csv",
        x=[None if i % 3 == 0 else float(i) for i in range(60)],
        label=["a", "b", "a", "b"] * 15,
    )
    assert opened("csv:a.csv").rows == 60
    assert opened("csv:a.csv", prepare={"missing": "drop"}).rows == 40


# -- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "key", "says"),
    [
        ({}, ("data", "source"), "needs a source"),
        ({"source": 7}, ("data", "source"), "needs a source"),
        ({"source": "cvs:a.csv"}, ("data", "source"), "did you mean 'csv'"),
        ({"source": "builtin:digit"}, ("data", "source"), "did you mean 'digits'"),
        ({"source": "csv:"}, ("data", "source"), "must name what to read"),
        ({"source": "csv:a\0b"}, ("data", "source"), "must name what to read"),
        ({"source": "csv:" + "a" * 5000}, ("data", "source"), "path"),
        ({"source": "csv:taable.csv"}, ("data", "source"), "did you mean 'table.csv'"),
        ({"source": "csv:no/where.csv"}, ("data", "source"), "where.csv"),
        ({"source": "csv:table.csv", "collumns": {}}, ("data", "collumns"), "did you mean 'columns'"),
        ({"columns": {"target": "churn"}}, ("data", "columns", "target"), "did you mean 'churned'"),
        ({"columns": {"targets": "churned"}}, ("data", "columns", "targets"), "did you mean 'target'"),
        ({"columns": {"drop": ["agee"]}}, ("data", "columns", "drop"), "did you mean 'age'"),
        ({"columns": {"drop": 3}}, ("data", "columns", "drop"), "list of columns"),
        ({"columns": {"target": 3}}, ("data", "columns", "target"), "must be text"),
        ({"columns": "churned"}, ("data", "columns"), "mapping"),
        ({"task": "clasification"}, ("data", "task"), "did you mean 'classification'"),
        ({"task": "classification"}, ("data", "columns", "target"), "needs a target"),
        ({"task": "regression", "columns": {"target": "city"}}, ("data", "columns", "target"), "numbers"),
        (
            {"columns": {"target": "churned", "features": ["churned"]}},
            ("data", "columns", "features"),
            "target",
        ),
        ({"prepare": {"scale": "standart"}}, ("data", "prepare", "scale"), "did you mean 'standard'"),
        ({"prepare": {"rare": 3}}, ("data", "prepare", "rare"), "rare_below"),
        ({"prepare": {"rare_below": -1}}, ("data", "prepare", "rare_below"), "whole number"),
        ({"prepare": ["scale"]}, ("data", "prepare"), "mapping"),
        ({"split": {"by": "group"}}, ("data", "split", "by"), "columns.group"),
        ({"split": {"by": "files"}}, ("data", "split", "by"), "brings its own parts"),
    ],
)
def test_data_spec_with_wrong_keys_is_refused(
    tmp_path: Path, spec: Mapping[str, Any], key: tuple[str, ...], says: str
) -> None:
    frame().to_csv(tmp_path / "table.csv", index=False)
    full = spec if spec.keys() & {"source"} or not spec else {"source": "csv:table.csv", **spec}
    with pytest.raises(InputError) as caught:
        open_dataset(full, base=tmp_path, cache=tmp_path / "cache")
    assert caught.value.key == key
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.csv", b"", "empty"),
        ("header.csv", b"a,b\n", "must have rows"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "2 fields; but got 3 in line 3: 1,2,3"),
        ("twice.csv", b"a,a\n1,2\n", "name each column once"),
        ("bytes.csv", b"a,b\n\xff\xfe\x00,2\n", "a byte of zero in line 2"),
        ("one.csv", b"x,label\n" + b"1,a\n2,a\n" * 40, "two classes"),
        ("ids.csv", b"x,label\n" + b"".join(b"1,n%d\n" % i for i in range(50)), "classes of several rows"),
        ("gone.csv", b"x,label\n" + b"1,\n2,\n" * 40, "usable rows"),
        ("same.csv", b"x,y\n" + b"1.5,2.5\n" * 40, "1 different"),
        ("bad.jsonl", b'{"a": 1}\n{"a": \n', "line 2"),
        ("list.jsonl", b"[1, 2]\n", "one a line or all in one array"),
        ("deep.jsonl", b"[" * 100_000, "recursion"),
        ("junk.parquet", b"PAR1junk", "parquet"),
        ("junk.npz", b"PK\x03\x04junk", "npz"),
        ("picture.txt", b"\x89PNG\r\n\x1a\n\xff\xff", "text"),
    ],
)
def test_hostile_data_file_is_refused_with_its_key(
    opened: Open, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    scheme = {"txt": "text"}.get(name.rpartition(".")[2], name.rpartition(".")[2])
    with pytest.raises(InputError) as caught:
        opened(f"{scheme}:{name}")
    assert says in str(caught.value)
    assert caught.value.key[0] == "data"


class Canary:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def test_data_files_with_pickles_are_refused_unread(opened: Open, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    objects = np.array([Canary(str(canary)), 1], dtype=object)
    np.savez(tmp_path / "a.npz", images=objects, labels=np.arange(2))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(objects))
    (tmp_path / "c.parquet").write_bytes(pickle.dumps(objects))
    for source in ("npz:a.npz", "npz:b.npz", "parquet:c.parquet"):
        with pytest.raises(InputError):
            opened(source)
    assert not canary.exists()


def test_a_folder_whose_parts_differ_in_columns_is_refused(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/train.csv").write_text("a,label\n1,x\n")
    (tmp_path / "parts/test.csv").write_text("b,label\n1,x\n")
    with pytest.raises(InputError, match="same columns"):
        opened("csv:parts")
    (tmp_path / "parts/odd.csv").write_text("a,label\n1,x\n")
    with pytest.raises(InputError, match=r"odd\.csv"):
        opened("csv:parts")


def test_nested_values_are_refused_by_their_column(opened: Open, tmp_path: Path) -> None:
    pd.DataFrame({"x": [[1, 2]] * 60, "label": [f"l{i}" for i in range(60)]}).to_parquet(
        tmp_path / "a.parquet"
    )
    with pytest.raises(InputError, match="column 'x'"):
        opened("parquet:a.parquet")
    assert (
        opened(
            "parquet:a.parquet",
            columns={"drop": ["x"], "features": ["label"], "target": None},
            task="reconstruction",
        ).rows
        == 60
    )


def test_json_may_mix_types_and_leave_keys_out(opened: Open, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for at in range(40):
        rows += [{"a": at, "label": True}, {"a": "two", "b": f"b{at}", "label": False}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    dataset = opened("jsonl:a.jsonl")
    assert dataset.columns["a"].kind == "category"
    assert dataset.classes == ("false", "true")
