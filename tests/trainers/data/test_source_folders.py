"""What a source's path leads to: folders as people and programs fill them, and what is no file at all."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.trainers.data.conftest import Open
from trainers.errors import InputError

ROWS = 60
TABLE = "x,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(ROWS))
OTHERS = "x,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(1000, 1000 + ROWS))


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), shade).save(path)


@pytest.mark.parametrize(
    ("names", "pack"),
    [
        (("Train.CSV", "Test.CSV"), str.encode),
        (("train.csv.bz2", "test.csv.bz2"), lambda text: bz2.compress(text.encode())),
        (("train.CSV.GZ", "test.tsv.gz"), lambda text: gzip.compress(text.encode())),
        (("train.csv", "._train.csv", "test.csv", "~$test.csv", ".~lock.test.csv#"), str.encode),
    ],
)
def test_folder_is_read_however_its_files_are_spelt_and_packed(
    names: tuple[str, ...], pack: Callable[[str], bytes], opened: Open, tmp_path: Path
) -> None:
    """Each of these files was read alone, and not found, or refused as no part, in a folder."""
    (tmp_path / "set").mkdir()
    for name in names:
        aside = name.startswith((".", "~"))
        (tmp_path / "set" / name).write_bytes(
            b"\0\5\x16\7" if aside else pack(OTHERS if "test" in name.lower() else TABLE)
        )
    found = opened("csv:set")
    assert len(found.splits["test"]) == ROWS
    assert found.rows == 2 * ROWS


def test_file_beside_its_packed_self_is_refused(opened: Open, tmp_path: Path) -> None:
    """Every row was learned from twice."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text(TABLE)
    (tmp_path / "set" / "train.csv.gz").write_bytes(gzip.compress(TABLE.encode()))
    with pytest.raises(InputError, match=r"stand in the folder once.*train\.csv and train\.csv\.gz"):
        opened("csv:set")


def test_link_that_leads_to_nothing_is_refused_and_not_passed_over(opened: Open, tmp_path: Path) -> None:
    """The test part was taken from train instead."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text(TABLE)
    (tmp_path / "set" / "test.csv").symlink_to("moved.csv")
    with pytest.raises(InputError, match=r"test\.csv is a link that leads to nothing"):
        opened("csv:set")
    with pytest.raises(InputError, match=r"a link at .*test\.csv that leads to nothing: moved\.csv"):
        opened("csv:set/test.csv")


def test_files_below_the_parts_are_said(opened: Open, tmp_path: Path) -> None:
    for name in ("train/a.csv", "train/more/b.csv", "test/c.csv"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text(OTHERS if name.startswith("test") else TABLE)
    found = opened("csv:set")
    assert found.rows == 2 * ROWS
    assert "1 file in folders below not read: train/more/b.csv" in found.notes


def test_folders_with_a_files_name_are_parts(opened: Open, tmp_path: Path) -> None:
    """Spark and Dask write a folder for each file."""
    for name, first in (("train", 0), ("test", 1000)):
        (tmp_path / "set" / f"{name}.parquet").mkdir(parents=True)
        frame = pd.DataFrame({"x": range(first, first + ROWS), "label": list("ab") * (ROWS // 2)})
        frame.to_parquet(tmp_path / "set" / f"{name}.parquet" / "part-00000-7.snappy.parquet")
        (tmp_path / "set" / f"{name}.parquet" / "_SUCCESS").write_bytes(b"")
    assert len(opened("parquet:set").splits["test"]) == ROWS


@pytest.mark.parametrize(
    ("files", "source", "says"),
    [
        (
            ("plan=a/0.parquet", "plan=b/0.parquet"),
            "parquet:set",
            r"are a column.*pandas\.read_parquet",
        ),
        (("state.json", "0.arrow"), "parquet:set", r"with files 1 \.json, 1 \.arrow; write hf:set"),
        (("train/pos/1.txt", "train/neg/1.txt"), "text:set", r"\(neg, pos\).*train/\*/\*\.txt.*each part"),
        (("a.docx",), "text:set", r"with files 1 \.docx"),
    ],
)
def test_folder_without_such_files_is_refused_by_what_it_holds(
    files: tuple[str, ...], source: str, says: str, opened: Open, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"x")
    with pytest.raises(InputError, match=says):
        opened(source)


def test_shard_without_rows_is_left_out_and_said(opened: Open, tmp_path: Path) -> None:
    """It was said to lack every column."""
    (tmp_path / "set").mkdir()
    frame = pd.DataFrame({"x": range(ROWS), "label": list("ab") * (ROWS // 2)})
    frame.to_parquet(tmp_path / "set" / "part-0.parquet")
    frame[:0].to_parquet(tmp_path / "set" / "part-1.parquet")
    found = opened("parquet:set")
    assert found.rows == ROWS
    assert "1 file without rows left out: part-1.parquet" in found.notes


@pytest.mark.parametrize("content", ["", "x,label\n"])
def test_part_without_rows_is_refused(content: str, opened: Open, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text(TABLE)
    (tmp_path / "set" / "test.csv").write_text(content)
    with pytest.raises(InputError, match=r"every part must have rows.*none in part test: test\.csv"):
        opened("csv:set")


@pytest.mark.parametrize("scheme", ["csv", "jsonl", "parquet", "text", "npz", "excel", "images"])
def test_device_is_refused_by_every_source(scheme: str, opened: Open) -> None:
    """What is no file was taken for a folder: NotADirectoryError."""
    with pytest.raises(InputError, match="a pipe or a device at /dev/null"):
        opened(f"{scheme}:/dev/null")


def test_pipe_among_pictures_is_refused_and_not_waited_for(opened: Open, tmp_path: Path) -> None:
    for number in range(8):
        picture(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", number)
    os.mkfifo(tmp_path / "set" / "a" / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: a pipe or a device"):
        opened("images:set")


def test_names_that_are_no_text_are_refused(opened: Open, tmp_path: Path) -> None:
    """Linux takes any bytes for a name; arrow raised UnicodeEncodeError."""
    odd = os.fsdecode(b"caf\xe9")
    (tmp_path / f"{odd}.csv").write_text(TABLE)
    picture(tmp_path / "set" / "a" / "1.png", 1)
    picture(tmp_path / "set" / odd / "1.png", 2)
    for source in (f"csv:{odd}.csv", "images:set"):
        with pytest.raises(InputError, match=r"must be UTF-8.*caf\\xe9"):
            opened(source)


def test_home_of_an_unknown_user_is_refused(opened: Open) -> None:
    with pytest.raises(InputError, match=r"a user that is known.*~nobody-here"):
        opened("csv:~nobody-here/a.csv")


def test_link_to_the_data_themselves_is_no_class(opened: Open, tmp_path: Path) -> None:
    for number in range(8):
        picture(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", number)
    (tmp_path / "set" / "all").symlink_to(".")
    with pytest.raises(InputError, match="must not lead to the folder that it lies in"):
        opened("images:set")


def test_classes_are_found_in_folders_within_folders(opened: Open, tmp_path: Path) -> None:
    for number in range(40):
        picture(tmp_path / "set" / "data" / "v2" / "ab"[number % 2] / f"{number}.png", number)
    found = opened("images:set")
    assert found.classes == ("a", "b")
    assert "classes are the folders in data/v2, the only one there" in found.notes


def test_class_that_is_missing_is_explained_by_what_was_left_out(opened: Open, tmp_path: Path) -> None:
    for number in range(8):
        picture(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", number)
    for file in (tmp_path / "set" / "b").iterdir():
        file.rename(file.with_suffix(""))
    with pytest.raises(InputError, match=r"two classes.*4 files are left out, for they do not end as images"):
        opened("images:set")


def test_files_that_are_joined_are_said_and_parts_of_other_names_too(opened: Open, tmp_path: Path) -> None:
    """`churn_test.csv` beside `churn_train.csv` became training rows without a word."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "churn_train.csv").write_text(TABLE)
    (tmp_path / "set" / "churn_test.csv").write_text(OTHERS)
    said = (
        "2 files are read as one table: churn_test.csv, churn_train.csv; names that begin with train and test"
    )
    assert any(note.startswith(said) for note in opened("csv:set").notes)


def test_part_that_is_a_file_and_a_folder_is_refused(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "set" / "train").mkdir(parents=True)
    (tmp_path / "set" / "train.csv").write_text(TABLE)
    assert opened("csv:set").rows == ROWS
    (tmp_path / "set" / "train" / "a.csv").write_text(TABLE)
    with pytest.raises(InputError, match=r"train\.csv and the folder train; take one of them away"):
        opened("csv:set")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("X,label\n", r"rename X to x in test\.csv"),
        ("", r"test\.csv seems to have no header"),
        ("x,label,price\n", "give all the same columns"),
    ],
)
def test_files_of_other_columns_are_refused_with_what_to_do(
    header: str, says: str, opened: Open, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text(TABLE)
    rows = OTHERS.removeprefix("x,label\n")
    rows = rows.replace("\n", ",1\n") if "price" in header else rows
    (tmp_path / "set" / "test.csv").write_text(header + rows)
    with pytest.raises(InputError, match=says):
        opened("csv:set")


def test_link_among_classes_that_leads_to_nothing_is_refused(opened: Open, tmp_path: Path) -> None:
    """Its class was missing without a word."""
    for number in range(40):
        picture(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", number)
    (tmp_path / "set" / "c").symlink_to("elsewhere")
    with pytest.raises(InputError, match=r"set/c to elsewhere, where nothing is"):
        opened("images:set")


def test_linked_folder_within_a_class_is_said(opened: Open, tmp_path: Path) -> None:
    for number in range(40):
        picture(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", number)
    picture(tmp_path / "more" / "1.png", 200)
    (tmp_path / "set" / "a" / "more").symlink_to(tmp_path / "more")
    found = opened("images:set")
    assert found.rows == 40
    assert any(note.startswith("linked folders within classes are not read: ") for note in found.notes)
