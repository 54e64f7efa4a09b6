"""Inputs come out as they went in, and more."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from infra.errors import WrongInput
from infra.predicting.format import BadValue, PartSizes
from infra.predicting.line_files import TextLines
from infra.predicting.parquet_and_images import open_input
from infra.predicting.scoring import check_columns, count_unseen, match_single_field, score_part
from infra.serving.model_schema import Field
from trainers.errors import CellError

openpyxl = pytest.importorskip("openpyxl")
X = [Field(name="x", type="double")]


def join_parts(path: Path, fields: Sequence[Field], folder: Path, sizes: PartSizes) -> tuple[Path, list[int]]:
    """The input's parts with their row numbers as predictions, joined; and how many rows each had."""
    kind = open_input(path)
    written, lengths, row = [], [], 0
    for number, part in enumerate(kind.parts(sizes)):
        assert len(kind.frame(part, fields)) == len(part)
        out = folder / f"{number:03d}{kind.ending}"
        numbers = np.arange(row, row + len(part), dtype=np.float64)
        kind.write(part, pd.DataFrame({"prediction": numbers}), out, first=number == 0)
        written.append(out)
        lengths.append(len(part))
        row += len(part)
    joined = folder / f"joined{kind.ending}"
    kind.join(written, joined)
    return joined, lengths


def workbook_of(rows: list[list[Any]]) -> bytes:
    book, held = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(held)
    return held.getvalue()


class CategoryModel:
    """Knows one category of each column that it names."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known, self.parts = known, 0

    def count_unseen(self, rows: pd.DataFrame) -> dict[str, int]:
        self.parts += 1
        return {name: int((rows[name] != value).sum()) for name, value in self.known.items()}


@pytest.mark.parametrize(
    ("known", "wanted", "parts"),
    [({"plan": "gold", "x": "1"}, {"plan": 2}, 3), ({"x": "1"}, {}, 3), ({}, {}, 1)],
)
def test_unseen_values_are_counted_over_all_parts(
    known: dict[str, str], wanted: dict[str, int], parts: int, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("x,plan\n1,gold\n1,lead\n1,tin\n1,gold\n1,gold\n")
    fields = [Field(name="x", type="string"), Field(name="plan", type="string")]
    model: Any = CategoryModel(known)
    assert count_unseen(open_input(tmp_path / "rows.csv"), model, fields, PartSizes(rows=2)) == wanted
    assert model.parts == parts


def test_csv_output_keeps_every_field_unchanged(tmp_path: Path) -> None:
    text = 'id,x,"a, name"\n007,1.10,"two\nlines"\n008,NA,"say ""x"""\n009,1e3,\n'
    path = tmp_path / "rows.csv"
    path.write_text("\ufeff" + text, encoding="utf-8")
    joined, lengths = join_parts(path, X, tmp_path, PartSizes(rows=2))
    assert lengths == [2, 1]
    expected = 'id,x,"a, name",prediction\n007,1.10,"two\nlines",0.0\n008,NA,"say ""x""",1.0\n009,1e3,,2.0\n'
    assert joined.read_text() == expected
    kind = open_input(path)
    (part,) = kind.parts(PartSizes())
    found = kind.frame(part, X)["x"].tolist()
    assert found[0] == 1.1
    assert np.isnan(found[1])
    assert found[2] == 1000.0


@pytest.mark.parametrize(
    ("name", "mark"),
    [("rows.csv", ";"), ("rows.tsv", "\t"), ("rows.csv", "\t"), ("rows.tab", "\t"), ("adult.test", ",")],
)
def test_csv_output_keeps_the_delimiter_of_its_input(name: str, mark: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(f"a{mark}x\n1{mark}2\n")
    joined, _ = join_parts(path, X, tmp_path, PartSizes())
    assert joined.read_text() == f"a{mark}x{mark}prediction\n1{mark}2{mark}0.0\n"


def test_jsonl_output_keeps_every_line_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"x": 1.10, "id": 12345678901234567890}\n\n{}\n{"x": null, "t": "é\\u0000"} \n')
    joined, _ = join_parts(path, X, tmp_path, PartSizes(rows=1))
    assert joined.read_text().splitlines() == [
        '{"x": 1.10, "id": 12345678901234567890, "prediction": 0.0}',
        '{"prediction": 1.0}',
        '{"x": null, "t": "é\\u0000", "prediction": 2.0}',
    ]
    for line in joined.read_text().splitlines():
        json.loads(line)


def test_parquet_output_keeps_column_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "x": pa.array([1, 2, None], pa.int32()),
            "when": pa.array([0, 1, 2], pa.timestamp("us", "UTC")),
            "list": pa.array([[1], [], None], pa.list_(pa.int8())),
        }
    )
    path = tmp_path / "rows.parquet"
    parquet.write_table(table, path)
    joined, lengths = join_parts(path, X, tmp_path, PartSizes(rows=2))
    found = parquet.read_table(joined)
    assert lengths == [2, 1]
    assert found.drop_columns("prediction").equals(table)
    assert found["prediction"].to_pylist() == [0.0, 1.0, 2.0]


def test_text_input_keeps_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text('one\n\n"three"')
    joined, _ = join_parts(path, [Field(name="text", type="string")], tmp_path, PartSizes(rows=2))
    rows = [json.loads(line) for line in joined.read_text().splitlines()]
    assert [row["text"] for row in rows] == ["one", "", '"three"']


def test_image_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "pictures"
    (folder / "b").mkdir(parents=True)
    for name in ("z.png", "b/a.jpg", "b/c.PNG"):
        Image.new("L", (4, 4)).save(folder / name, "PNG")
    (folder / "notes.txt").write_text("no picture")
    joined, _ = join_parts(folder, [Field(name="image", type="any")], tmp_path, PartSizes(rows=2))
    assert joined.read_text() == "image,prediction\nb/a.jpg,0.0\nb/c.PNG,1.0\nz.png,2.0\n"


@pytest.mark.parametrize(("name", "column"), [("a.PNG", "image"), ("b.ogg", "audio")])
def test_single_picture_or_clip_is_a_row(name: str, column: str, tmp_path: Path) -> None:
    for file in (name, "other.png", "other.wav"):
        (tmp_path / file).write_bytes(b"x")
    kind = open_input(tmp_path / name)
    (part,) = kind.parts(PartSizes())
    assert part.to_pydict() == {column: [name]}
    frame = kind.frame(part, [Field(name=column, type="any")])
    assert frame[column].tolist() == [str(tmp_path / name)]


def test_folder_of_files_has_the_column_of_what_most_of_them_are(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a.wav", "b/c.OGG", "cover.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    kind = open_input(tmp_path)
    assert kind.columns() == ["audio"]
    (part,) = kind.parts(PartSizes())
    frame = kind.frame(part, [Field(name="audio", type="audio")])
    assert frame["audio"].tolist() == [str(tmp_path / name) for name in ("a.wav", "b/c.OGG")]


def test_folder_without_pictures_and_clips_is_refused_by_what_is_in_it(tmp_path: Path) -> None:
    """Without them it was said to have a column `image`, and a table's model missed its own ones."""
    (tmp_path / "rows.csv").write_text("x\n1\n")
    with pytest.raises(WrongInput, match=r"must hold images or clips.*with files 1 \.csv; name one file"):
        open_input(tmp_path)


PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".GZ": gzip.compress}


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt"])
def test_input_is_read_however_it_is_packed(ending: str, packed: str, tmp_path: Path) -> None:
    """Training read them all: JSON lines and texts of .bz2 and .zst were refused, .GZ was taken for text."""
    content = {".csv": b"x\n1\n2\n", ".jsonl": b'{"x": 1}\n{"x": 2}\n', ".txt": b"one\ntwo\n"}[ending]
    (tmp_path / f"a{ending}{packed}").write_bytes(PACKERS[packed](content))
    assert sum(map(len, open_input(tmp_path / f"a{ending}{packed}").parts(PartSizes()))) == 2


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt"])
def test_packed_input_that_is_damaged_is_refused(ending: str, tmp_path: Path) -> None:
    """JSON lines and texts ended in OSError: a defect of Velodrome's, it was said."""
    content = b"x\n" if ending == ".csv" else b""
    content += b'{"x": 1}\n' * 5000
    for name, damaged in (("a", gzip.compress(content)[:-12]), ("b", content)):
        (tmp_path / f"{name}{ending}.gz").write_bytes(damaged)
        with pytest.raises(WrongInput, match=r"must be a readable file.*fetch or pack it again"):
            kind = open_input(tmp_path / f"{name}{ending}.gz")
            kind.columns()
            list(kind.parts(PartSizes()))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.zip", b"PK\x03\x04", r"a\.zip, a zip archive or a workbook; unpack it"),
        ("a.tar", bytes(257) + b"ustar", r"a\.tar, a tar archive; unpack it"),
        ("a.npy", b"\x93NUMPY", r"a\.npy, an array of NumPy's.*numpy\.savez\('rows\.npz'"),
        ("a.jsonl", b"PK\x03\x04", r"a zip archive or a workbook; unpack it"),
        ("a.parquet", b"PK\x03\x04", r"a zip archive or a workbook; unpack it"),
        ("a.heic", b"\0\0\0 ftypheic", r"its name must end with one of"),
    ],
)
def test_input_of_another_kind_is_told(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WrongInput, match=says):
        open_input(tmp_path / name).columns()


def test_device_and_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    (tmp_path / odd).mkdir()
    (tmp_path / odd / "a.png").write_bytes(b"x")
    (tmp_path / f"{odd}.csv").write_text("x\n1\n")
    for path in (tmp_path, tmp_path / f"{odd}.csv"):
        with pytest.raises(WrongInput, match=r"must be UTF-8.*caf\\xe9"):
            open_input(path)
    with pytest.raises(WrongInput, match="/dev/null is a pipe or a device"):
        open_input(Path("/dev/null"))


def test_text_in_another_encoding_is_said(tmp_path: Path) -> None:
    """`predict` answered rows of mojibake without a word, where training says how it reads a file."""
    text = "Мама мыла раму и потом пошла в магазин за хлебом\n" * 9
    (tmp_path / "a.txt").write_bytes(text.encode("koi8-r"))
    (tmp_path / "b.txt").write_text(text)
    assert TextLines(tmp_path / "a.txt").notes() == [
        "a.txt is read as cp1252; its bytes look like koi8_r: save it as UTF-8"
    ]
    assert TextLines(tmp_path / "b.txt").notes() == []


def test_lists_in_csv_are_json(tmp_path: Path) -> None:
    (tmp_path / "asked.csv").write_text("user\nu1\n")
    kind = open_input(tmp_path / "asked.csv")
    (part,) = kind.parts(PartSizes())
    answers = pd.DataFrame({"items": [["i'1", "i2"]], "scores": [[0.5, 0.25]]})
    kind.write(part, answers, tmp_path / "out.csv", first=True)
    found = pd.read_csv(tmp_path / "out.csv")
    assert json.loads(found["items"][0]) == ["i'1", "i2"]
    assert json.loads(found["scores"][0]) == [0.5, 0.25]


def test_parts_end_by_size_at_the_same_places_each_time(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("".join("x" * (n % 50) + "\n" for n in range(1000)))
    kind = open_input(path)
    lengths = [len(part) for part in kind.parts(PartSizes(rows=100, characters=500))]
    assert lengths == [len(part) for part in kind.parts(PartSizes(rows=100, characters=500))]
    assert max(lengths) < 100
    assert sum(lengths) == 1000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", b""), ("rows.csv", b"a,a\n1,2\n"), ("rows.csv", b"a,x\n1\n"),
        ("rows.csv", b"\xc3\xa4,x\n1,\xff\n"), ("rows.csv", b'a,x\n1,"2\n'), ("rows.jsonl", b"[1]\n"),
        ("rows.jsonl", b"{\n"), ("rows.jsonl", b"[" * 100_000), ("rows.txt", b"\xc3\xa4\n\xff\n"),
        ("rows.parquet", b"PAR1"), ("rows.xlsx", b"PK"), ("rows", b""), ("rows.pkl", b"\x80\x04."),
    ],
)  # fmt: skip
def test_unreadable_input_file_is_wrong_input(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WrongInput):
        kind = open_input(path)
        kind.columns()
        for part in kind.parts(PartSizes()):
            kind.frame(part, [])


def test_bad_value_in_input_is_named_with_column_and_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("x\n1\ntwo\n")
    kind = open_input(path)
    (part,) = kind.parts(PartSizes())
    with pytest.raises(BadValue) as refused:
        kind.frame(part, X)
    assert (refused.value.column, refused.value.row, refused.value.value) == ("x", 1, "two")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "x,town\n1,Köln\n2,Ulm\n".encode()),
        ("a.csv", "x;town\r1;Köln\r2;Ulm\r".encode("cp1252")),
        ("a.csv", ",x,town\n0,1,Köln\n1,2,Ulm\n".encode("utf-16")),
        ("a.tsv", "x\ttown\r\n1\tKöln\r\n2\tUlm\r\n".encode()),
        ("a.csv.gz", gzip.compress("x|town\n1|Köln\n2|Ulm\n".encode(), mtime=0)),
        ("a.csv.bz2", bz2.compress("x,town\n1,Köln\n2,Ulm\n".encode())),
        ("a.xlsx", workbook_of([["x", "town"], [1, "Köln"], [2, "Ulm"]])),
        ("a.json", '[{"x": 1, "town": "Köln"},\n {"x": 2, "town": "Ulm"}]'.encode()),
        (
            "a.jsonl.gz",
            gzip.compress('{"x": 1, "town": "Köln"}\n{"x": 2, "town": "Ulm"}\n'.encode(), mtime=0),
        ),
    ],
)
def test_same_rows_in_other_files_are_the_same_frame(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    kind = open_input(path)
    fields = [*X, Field(name="town", type="string")]
    assert set(kind.columns()) >= {"x", "town"}
    (part,) = kind.parts(PartSizes())
    assert kind.frame(part, fields).to_dict("list") == {"x": [1.0, 2.0], "town": ["Köln", "Ulm"]}
    kind.write(part, pd.DataFrame({"prediction": [0.5, 1.5]}), tmp_path / "out", first=True)
    assert "Köln" in (tmp_path / "out").read_text(encoding="utf-8")


def test_missing_column_that_is_there_in_another_spelling_is_named(tmp_path: Path) -> None:
    fields = [Field(name="age", type="double"), Field(name="body_mass", type="double")]
    with pytest.raises(WrongInput) as refused:
        check_columns(["Age", "body-mass", "id"], fields, [], "a.csv")
    assert refused.value.do == "rename Age to age, body-mass to body_mass?"


def test_column_that_the_model_reads_is_not_proposed_for_one_that_is_missing() -> None:
    fields = [Field(name=f"petal {what}", type="double") for what in ("width", "length", "lengths")]
    with pytest.raises(WrongInput) as refused:
        check_columns(["petal length", "colour"], fields, [], "a.csv")
    assert refused.value.do == ""
    with pytest.raises(WrongInput) as refused:
        check_columns(["Petal_Length"], fields[1:], [], "a.csv")
    assert refused.value.do == "rename Petal_Length to petal length?"


def test_input_without_columns_is_refused_as_such() -> None:
    with pytest.raises(WrongInput, match=r"no x, y in a\.csv, which has no columns"):
        check_columns([], [*X, Field(name="y", type="double")], [], "a.csv")
    with pytest.raises(WrongInput, match="no columns at all"):
        match_single_field([], X)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"x": 1}\n\n{"x": 1, "x": 2}\n', "line 3: an object must name each key once"),
        ('{"x": 1}\n[1]\n', "line 2: list"),
        ('{"x": 1},\n{"x": 2}\n', "line 1: Extra data"),
        ("[1, 2]", "int in place 1"),
    ],
)
def test_json_that_cannot_be_read_names_its_line_and_the_way_out(
    tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(WrongInput, match=says) as raised:
        open_input(tmp_path / "a.jsonl").columns()
    assert raised.value.do


class TableModel:
    """Refuses the third row that it is given."""

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        raise CellError("column 'day' must hold ISO 8601 dates", "'31.12.2023'", 2, "write it so")


def test_value_that_a_model_cannot_read_is_told_by_its_row_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n" + "1\n" * 30)
    kind = open_input(tmp_path / "a.csv")
    _, part, *_ = kind.parts(PartSizes(rows=10))
    model: Any = TableModel()
    with pytest.raises(WrongInput) as raised:
        score_part(kind, part, model, X, 10)
    assert raised.value.found == f"'31.12.2023' in row 13 of {tmp_path / 'a.csv'}"
    assert raised.value.do == "write it so"


def test_error_of_a_cell_travels_between_processes() -> None:
    sent = pickle.loads(pickle.dumps(CellError("must", "'x'", 3, "do")))
    assert (str(sent), sent.row) == ("must; but got 'x' in row 3; do", 3)
