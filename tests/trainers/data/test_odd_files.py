"""Files whose odd contents were read as something else without a word: each is read rightly, or refused."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from infra.errors import WrongInput
from infra.predicting.csv_file import CsvFile
from infra.predicting.format import PartSizes
from infra.predicting.line_files import JsonLines, TextLines
from tests.trainers.data.conftest import Open
from trainers.data.images import as_pixels
from trainers.errors import InputError

ROWS = [f"{n / 10},{('red', 'blue', 'green')[n % 3]},{'yes' if n % 2 else 'no'}" for n in range(120)]
TEXT = "\n".join(["x,c,label", *ROWS])
LABELS = ["a", "b"] * 60


@pytest.mark.parametrize(
    "before", ["Report 2020\n\n", "Report,,\n,,\n", "Report,,\n", "Report\nof May\n\n\n", '"Report"\n\n']
)
def test_title_above_the_header_is_left_out_and_said(opened: Open, tmp_path: Path, before: str) -> None:
    (tmp_path / "usual.csv").write_text(TEXT)
    (tmp_path / "a.csv").write_text(before + TEXT)
    found = opened("csv:a.csv")
    assert found.fingerprint == opened("csv:usual.csv").fingerprint
    assert any("before its header left out: a title" in note for note in found.notes)
    assert CsvFile(tmp_path / "a.csv").columns() == ["x", "c", "label"]


@pytest.mark.parametrize(
    "text", ["text\n\nwell, I never\nthe end, all\n", "x,,\n1,2,3\n4,5,6\n", "a\n\nb\nc\n"]
)
def test_header_of_prose_or_of_one_name_is_no_title(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert CsvFile(tmp_path / "a.csv").columns()[0] in ("text", "x", "a")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv.gz", b"BZh91AY", "readable file; but got zlib"),
        ("a.csv.gz", gzip.compress(TEXT.encode())[:-20], "readable"),
        ("a.csv", gzip.compress(TEXT.encode()), "got gzip; let its name end with .gz"),
        ("a.csv", b"PK\x03\x04\0\0", "a zip archive or a workbook"),
        ("a.csv", b"\xfd7zXZ\0\0", "got xz"),
        ("a.csv", TEXT.encode("utf-16-be"), "encoding: utf-16-be"),
        ("a.csv", TEXT.encode("utf-16-le"), "encoding: utf-16-le"),
        ("a.csv", TEXT.replace("green", "gr\0en").encode(), "a byte of zero in line 4"),
    ],
)
def test_file_that_is_no_text_is_refused_by_what_it_is(
    opened: Open, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        opened(f"csv:{name}")


def test_text_in_32_bits_and_a_tsv_with_commas_are_the_same_data(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "usual.csv").write_text(TEXT)
    (tmp_path / "a.csv").write_bytes(TEXT.encode("utf-32"))
    (tmp_path / "a.tsv").write_text(TEXT)
    usual = opened("csv:usual.csv").fingerprint
    assert opened("csv:a.csv").fingerprint == opened("csv:a.tsv").fingerprint == usual


def test_header_again_with_a_mark_of_utf8_is_no_row(opened: Open, tmp_path: Path) -> None:
    """Two files of Excel's, one appended to the other."""
    (tmp_path / "usual.csv").write_text("\n".join(["x,c,label", *ROWS, *ROWS]))
    (tmp_path / "a.csv").write_text(f"\ufeff{TEXT}\n\ufeff{TEXT}", encoding="utf-8")
    assert opened("csv:a.csv").fingerprint == opened("csv:usual.csv").fingerprint


@pytest.mark.parametrize("mark", [":", "^", "~", "\x01"])
def test_unusual_delimiter_is_asked_for(opened: Open, tmp_path: Path, mark: str) -> None:
    (tmp_path / "a.csv").write_text(TEXT.replace(",", mark))
    said = f"one column, of 3 parts each: data.read: {{delimiter: {json.dumps(mark)}}}?"
    assert any(said in note for note in opened("csv:a.csv").notes)
    assert list(opened("csv:a.csv", read={"delimiter": mark}).columns) == ["x", "c"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (['{"x": 1, "x": 2, "label": "a"}'] * 9, "line 1: .*each key once, but 'x'"),
        (['{"x": "\\ud83d", "label": "a"}'] * 9, "half a surrogate pair"),
        ([json.dumps({"x": [1, 2], "label": ["a", "b"]})], "one object, of 'x', 'label'"),
        ([json.dumps({"data": [{"x": 1}]})], "one object, of 'data'"),
        (json.dumps({"x": 1}, indent=1).splitlines(), "each object must stand on one line"),
        (['[{"x": 1, "x": 2}]'], "each key once, but 'x'"),
    ],
)
def test_json_that_says_two_things_or_none_is_refused_in_training_and_in_use(
    opened: Open, tmp_path: Path, lines: list[str], says: str
) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=says):
        opened("jsonl:a.jsonl")
    if "one object" not in says:
        with pytest.raises(WrongInput):
            JsonLines(tmp_path / "a.jsonl").columns()


def test_parquet_with_one_name_twice_is_refused(opened: Open, tmp_path: Path) -> None:
    numbers = pa.array(range(120))
    table = pa.Table.from_arrays([numbers, numbers, pa.array(LABELS)], names=["x", "x", "label"])
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="each column once; but got 'x' twice"):
        opened("parquet:a.parquet")


@pytest.mark.parametrize("kind", [">f8", ">i4", np.longdouble])
def test_arrays_of_other_machines_are_read(opened: Open, tmp_path: Path, kind: Any) -> None:
    numbers = np.arange(240).reshape(120, 2) % 17
    np.savez(tmp_path / "a.npz", x=numbers.astype(kind), y=np.array([0, 1] * 60, ">i8"))
    columns = opened("npz:a.npz").columns
    np.testing.assert_array_equal(np.asarray(columns["x1"].values), numbers[:, 1])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((120, 2)), "images": np.zeros((120, 4, 4), np.uint8)}, "one array of inputs"),
        ({"x": np.zeros((120, 2)), "label": LABELS, "y": LABELS}, "one array of labels"),
        ({"x": np.zeros((120, 2)), "y": np.array([b"caf\xe9", b"b"] * 60)}, "must be UTF-8"),
        ({"images": np.linspace(0, 3, 1920).reshape(120, 4, 4)}, "fractions from 0 to 3"),
        ({"images": np.zeros((120, 4, 5, 4), np.uint8)}, "leave transparency out"),
        ({"arr_0": np.zeros((120, 2))}, r"numpy\.savez\(path, images="),
    ],
)
def test_arrays_that_can_be_meant_in_two_ways_are_refused(
    opened: Open, tmp_path: Path, arrays: dict[str, Any], says: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=says):
        opened("npz:a.npz")


def test_arrays_that_are_not_read_and_rows_that_become_images_are_said(opened: Open, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((120, 6, 3))
    np.savez(tmp_path / "a.npz", x=rows, y=LABELS, weights=np.ones(120))
    notes = " ".join(opened("npz:a.npz").notes)
    assert "arrays that are not read: weights" in notes
    assert "rows of 6 x 3 numbers are read as images" in notes


def test_fractions_of_few_greys_are_no_pixels() -> None:
    with pytest.raises(ValueError, match="fractions from 0 to 3"):
        as_pixels(np.linspace(0, 3, 16).reshape(4, 4))
    assert as_pixels(np.linspace(0, 250.5, 16).reshape(4, 4)).max() == 250


def workbook(path: Path, rows: list[list[Any]], change: Callable[[Any], None] | None = None) -> None:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    if change:
        change(book)
    book.save(path)


def test_workbook_with_title_errors_and_other_sheets_is_read_and_said(opened: Open, tmp_path: Path) -> None:
    rows: list[list[Any]] = [[n, "#DIV/0!" if n % 9 == 0 else n / 2, label] for n, label in enumerate(LABELS)]
    header: list[list[Any]] = [["Report", None, None], [None] * 3, ["n", "half", "label"]]
    workbook(tmp_path / "a.xlsx", [*header, *rows], lambda book: book.create_sheet("old"))
    found = opened("excel:a.xlsx")
    assert list(found.columns) == ["n", "half"]
    half = np.asarray(found.columns["half"].values)
    assert np.isnan(half[::9]).all()
    np.testing.assert_array_equal(half[1:9], np.arange(1, 9) / 2)
    assert any("1 row of a.xlsx before its header" in note for note in found.notes)
    assert any("the first sheet of a.xlsx is read, not old" in note for note in found.notes)


def hide_some(book: Any) -> None:
    """Two rows and two columns, which share an entry."""
    book.active.row_dimensions[4].hidden = True
    book.active.row_dimensions[7].hidden = True
    book.active.column_dimensions.group("B", "C", hidden=True)


def test_workbook_with_hidden_rows_and_columns_is_read_whole_and_said(opened: Open, tmp_path: Path) -> None:
    rows: list[list[Any]] = [[n, n / 2, n % 7, label] for n, label in enumerate(LABELS)]
    workbook(tmp_path / "a.xlsx", [["n", "half", "week", "label"], *rows], hide_some)
    found = opened("excel:a.xlsx")
    assert list(found.columns) == ["n", "half", "week"]
    assert len(np.asarray(found.columns["n"].values)) == len(LABELS)
    assert any("a.xlsx hides 2 rows and 2 columns" in note for note in found.notes)
    workbook(tmp_path / "b.xlsx", [["n", "half", "week", "label"], *rows])
    assert not any("hides" in note for note in opened("excel:b.xlsx").notes)


def test_sheet_that_is_hidden_gives_way_to_the_first_that_is_shown(opened: Open, tmp_path: Path) -> None:
    def hide_first(book: Any) -> None:
        shown = book.create_sheet("shown")
        for row in [["n", "label"], *enumerate(LABELS)]:
            shown.append(row)
        book.active.sheet_state = "hidden"

    workbook(tmp_path / "a.xlsx", [["old"], [1]], hide_first)
    found = opened("excel:a.xlsx")
    assert list(found.columns) == ["n"]
    assert any("is read, not Sheet" in note for note in found.notes)


def test_workbook_without_a_header_loses_no_row(opened: Open, tmp_path: Path) -> None:
    workbook(tmp_path / "a.xlsx", [[n + 0.5, label] for n, label in enumerate(LABELS)])
    found = opened("excel:a.xlsx", columns={"target": "column 2"})
    assert (found.rows, list(found.columns)) == (120, ["column 1"])


def test_formulas_that_nothing_has_computed_are_refused(opened: Open, tmp_path: Path) -> None:
    rows = [[n, f"=A{n + 2}*2", label] for n, label in enumerate(LABELS)]
    workbook(tmp_path / "a.xlsx", [["n", "twice", "label"], *rows])
    with pytest.raises(InputError, match="no value in column 'twice'; open the workbook"):
        opened("excel:a.xlsx")


def test_archive_of_a_csv_is_refused_by_predict_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv", "w") as archive:
        archive.writestr("a.csv", TEXT)
    with pytest.raises(WrongInput, match="a zip archive"):
        CsvFile(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
        (b"<table border=1>\n<tr><th>a</th></tr></table>", "a table in HTML.*read_html"),
        (b"<?xml version='1.0'?>\n<data><row/></data>", "XML.*read_xml"),
        ("a long text\n\n".encode("utf-16-le") * 99, "encoding: utf-16-le"),
        (b"a long\0text\n\n" * 99, "a byte of zero in line 1"),
    ],
)
@pytest.mark.parametrize("source", ["csv:a.csv", "text:a.txt"])
def test_file_that_was_not_fetched_whole_is_refused(
    opened: Open, tmp_path: Path, source: str, content: bytes, says: str
) -> None:
    (tmp_path / source.partition(":")[2]).write_bytes(content)
    with pytest.raises(InputError, match=says):
        opened(source)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-32"])
def test_text_in_another_encoding_is_the_same_corpus_and_the_same_lines(
    opened: Open, tmp_path: Path, encoding: str
) -> None:
    text = "\n\n".join(f"Absatz {n} eines längeren Textes, {'mit Wörtern ' * 20}" for n in range(300))
    (tmp_path / "usual.txt").write_text(text, encoding="utf-8")
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    found = opened("text:a.txt")
    assert found.fingerprint == opened("text:usual.txt").fingerprint
    assert f"a.txt is read as {encoding}" in found.notes
    (part,) = TextLines(tmp_path / "a.txt").parts(PartSizes())
    assert part.column("line").to_pylist() == text.split("\n")


def pictures(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (4, 4), np.uint8)
        Image.fromarray(noise).save(folder / name)


def test_pictures_beside_the_parts_and_in_no_class_are_left_out_and_said(
    opened: Open, tmp_path: Path
) -> None:
    names = [
        f"{part}/{label}/{n}.png" for part in ("train", "val", "test") for label in "ab" for n in range(9)
    ]
    pictures(tmp_path / "d", [*names, "unlabelled/1.png", "test/7.png", "train/8.png"])
    found = opened("images:d")
    assert (found.rows, found.classes) == (54, ("a", "b"))
    notes = " ".join(found.notes)
    assert "folders beside the parts are left out: unlabelled" in notes
    assert "1 images of test in no class's folder are left out" in notes


def test_class_called_train_stays_a_class(opened: Open, tmp_path: Path) -> None:
    pictures(tmp_path / "d", [f"{label}/{n}.png" for label in ("train", "bus", "test") for n in range(30)])
    pictures(tmp_path / "d", ["loose.png"])
    found = opened("images:d")
    assert found.classes == ("bus", "test", "train")
    assert any("1 images beside the classes are left out" in note for note in found.notes)


def test_bytes_of_another_kind_are_no_letters_of_windows(opened: Open, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 255, 4000, np.uint8).tobytes()
    for name, source in (("a.csv", "csv:a.csv"), ("a.txt", "text:a.txt")):
        (tmp_path / name).write_bytes(b"\xffa,b\n" + noise)
        with pytest.raises(InputError, match="must be text; but got byte 0x"):
            opened(source)
