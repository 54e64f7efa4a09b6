"""Files as people have them: other delimiters, encodings and line ends, headers that are none, indexes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from infra.predicting.csv_file import CsvFile
from infra.predicting.format import PartSizes
from tests.trainers.data.conftest import Open
from trainers.data.dataset import Dataset
from trainers.errors import InputError

HEADER = "size,town,label"
ROWS = [f"{n / 10},{'Köln' if n % 3 else 'Ulm'},{'yes' if n % 2 else 'no'}" for n in range(200)]


def seen(dataset: Dataset) -> tuple[list[float], list[str], list[str]]:
    assert dataset.target is not None
    size, town = dataset.columns["size"].values, dataset.columns["town"].values
    return [float(v) for v in size], [str(v) for v in town], [str(v) for v in dataset.target.values]


@pytest.fixture
def usual(opened: Open, tmp_path: Path) -> Dataset:
    (tmp_path / "usual.csv").write_text("\n".join([HEADER, *ROWS]))
    return opened("csv:usual.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_file_is_read_whatever_its_delimiter_line_ends_and_encoding(
    opened: Open, tmp_path: Path, usual: Dataset, delimiter: str, end: str, encoding: str
) -> None:
    text = end.join([HEADER, *ROWS]).replace(",", delimiter)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    found = opened("csv:a.csv")
    assert seen(found) == seen(usual)
    assert found.fingerprint == usual.fingerprint
    assert (encoding in ("utf-8", "utf-8-sig")) == ("is read as" not in " ".join(found.notes))


def test_gzipped_file_and_json_array_are_the_same_data(opened: Open, tmp_path: Path, usual: Dataset) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress("\r".join([HEADER, *ROWS]).encode("cp1252")))
    assert seen(opened("csv:a.csv.gz")) == seen(usual)
    rows = pd.read_csv(tmp_path / "usual.csv").to_dict("records")
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1))
    assert seen(opened("jsonl:a.json")) == seen(usual)


@pytest.mark.parametrize("index", [range(200), range(1, 201), range(1000, 600, -2)])
def test_index_that_pandas_wrote_is_left_out_and_said(
    opened: Open, tmp_path: Path, usual: Dataset, index: range
) -> None:
    frame = pd.read_csv(tmp_path / "usual.csv")
    frame.index = pd.Index(index)
    frame.to_csv(tmp_path / "a.csv")
    found = opened("csv:a.csv")
    assert seen(found) == seen(usual)
    assert "column 1 has no name and numbers the rows: it is left out" in found.notes


def test_trailing_comma_of_a_spreadsheet_is_left_out(opened: Open, tmp_path: Path, usual: Dataset) -> None:
    (tmp_path / "a.csv").write_text("\n".join(f"{line}," for line in [HEADER, *ROWS]))
    found = opened("csv:a.csv")
    assert seen(found) == seen(usual)
    assert "column 4 has no name and is empty: it is left out" in found.notes


def test_column_without_a_name_that_says_something_is_kept(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join([",label", *(f"{n * 0.5},{'ab'[n % 2]}" for n in range(99))]))
    found = opened("csv:a.csv")
    assert list(found.columns) == ["column 1"]
    assert "a column without a name is called 'column 1'" in found.notes


def test_header_cell_with_a_line_break_is_one_name(opened: Open, tmp_path: Path) -> None:
    lines = [f"00{n % 5};{n};{'ab'[n % 2]}" for n in range(99)]
    for end in ("\n", "\r\n"):
        (tmp_path / "a.csv").write_bytes(end.join([f'"code{end}(unit)";b;label', *lines]).encode())
        found = opened("csv:a.csv")
        assert [column.kind for column in found.columns.values()] == ["category", "number"]
        assert list(found.columns["code\n(unit)"].values[:2]) == ["000", "001"]


def test_first_line_that_is_a_row_is_no_header(opened: Open, tmp_path: Path) -> None:
    lines = [f"{5 + n / 10:.1f},{3 - n / 100:.2f},{'Iris-a' if n % 2 else 'Iris-b'}" for n in range(150)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    found = opened("csv:a.csv", columns={"target": "column 3"})
    assert (found.rows, list(found.columns)) == (150, ["column 1", "column 2"])
    assert any("is a row, not a header" in note for note in found.notes)
    named = opened("csv:a.csv", read={"names": ["sepal", "petal", "label"]})
    assert (named.rows, list(named.columns)) == (150, ["sepal", "petal"])


@pytest.mark.parametrize("header", ["0,1,2,label", "1,2,3,label", "2020,2021,2022,label", "a,b,c,label"])
def test_header_of_numbers_that_counts_or_names_years_is_a_header(
    opened: Open, tmp_path: Path, header: str
) -> None:
    lines = [f"{n},{n * 2},{n % 5},{'ab'[n % 2]}" for n in range(150)]
    (tmp_path / "a.csv").write_text("\n".join([header, *lines]))
    assert list(opened("csv:a.csv").columns) == header.split(",")[:3]


def test_rules_that_are_said_decide(opened: Open, tmp_path: Path) -> None:
    lines = [f"{1 + n},{n % 1000:03d} {'ab'[n % 2]}" for n in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["# made by hand", "x label", *lines]))
    found = opened("csv:a.csv", read={"delimiter": " ", "comment": "#", "decimal": ","})
    assert found.columns["x"].kind == "number"
    np.testing.assert_allclose(np.asarray(found.columns["x"].values)[:3], [1.0, 2.001, 3.002])


@pytest.mark.parametrize(
    ("content", "read", "key", "says"),
    [
        (b"a,b\n1,2\n1,2,3\n", {}, ("data", "source"), "2 fields; but got 3 in line 3: 1,2,3"),
        (b"# x\na,b\n1,2\n", {}, ("data", "source"), "comment: '#'"),
        ("ä,b\n".encode() + b"1,2\n\xfc,2\n", {}, ("data", "source"), "byte 0xfc in line 3"),
        (b"a\0b,c\n1,2\n", {}, ("data", "source"), "byte of zero in line 1"),
        (b"a,b\n1,2\n", {"encoding": "utf-99"}, ("data", "read", "encoding"), "'utf-99'"),
        (b"a,b\n1,2\n", {"delimiter": "::"}, ("data", "read", "delimiter"), "one character"),
        (b"a,b\n1,2\n", {"encoding": "rot13"}, ("data", "read", "encoding"), "'rot13'"),
        (b"a,b\n1,2\n", {"encoding": "base64"}, ("data", "read", "encoding"), "'base64'"),
        ("a\u00e9b\n".encode(), {"delimiter": "\u00e9"}, ("data", "read", "delimiter"), "ASCII"),
        (b"a,b\n1,2\n", {"delimiter": "\n"}, ("data", "read", "delimiter"), "line end"),
        (b"a,b\n1,2\n", {"delimiter": '"'}, ("data", "read", "delimiter"), "quote"),
        (b"a,b\n1,2\n", {"decimal": "ab"}, ("data", "read", "decimal"), "one character"),
        (b"a,b\n1,2\n", {"thousands": "5"}, ("data", "read", "thousands"), "no letter, digit"),
        (b"a,b\n1,2\n", {"names": ["a"]}, ("data", "read", "names"), "1 names for 2 columns"),
        (b"a,b\n1,2\n", {"names": "a"}, ("data", "read", "names"), "list of names"),
        (b"a,b\n1,2\n", {"header": 1}, ("data", "read", "header"), "true or false"),
        (b"a,b\n1,2\n", {"seperator": ";"}, ("data", "read", "seperator"), "known are"),
        (b"a,a\n1,2\n", {}, ("data", "source"), "'a' twice"),
    ],
)
def test_wrong_file_or_rule_is_refused_with_its_place(
    opened: Open, tmp_path: Path, content: bytes, read: dict[str, object], key: tuple[str, ...], says: str
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        opened("csv:a.csv", read=read)
    assert says in str(caught.value)
    assert caught.value.key == key


def test_rules_of_reading_are_for_csv(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(InputError, match=r"data\.read is for csv:"):
        opened("jsonl:a.jsonl", read={"encoding": "utf-8"})


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()])
def test_whole_numbers_beyond_doubles_are_read(opened: Open, tmp_path: Path, kind: pa.DataType) -> None:
    ids = pa.array([1234567890123456789 + n * 10**9 for n in range(100)], kind)
    pa.parquet.write_table(pa.table({"t": ids, "label": ["a", "b"] * 50}), tmp_path / "a.parquet")
    found = opened("parquet:a.parquet")
    assert np.asarray(found.columns["t"].values)[0] == 1234567890123456789.0
    np.savez(tmp_path / "a.npz", x=np.array(ids.to_pylist(), kind.to_pandas_dtype())[:, None], y=[0, 1] * 50)
    assert opened("npz:a.npz").rows == 100


def test_parts_that_hold_labels_in_two_types_have_the_same_classes(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for part, labels in (("train", pa.array([0, 1] * 50)), ("test", pa.array(["0", "1"] * 20))):
        table = pa.table({"x": list(range(len(labels))), "label": labels})
        pa.parquet.write_table(table, tmp_path / "d" / f"{part}.parquet")
    assert opened("parquet:d").classes == ("0", "1")


def test_test_file_without_a_target_is_left_to_predict(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.csv").write_text("\n".join([HEADER, *ROWS]))
    (tmp_path / "d" / "test.csv").write_text("\n".join(["size,town", "1,Ulm"]))
    (tmp_path / "d" / "sample_submission.csv").write_text("id,label\n1,yes\n")
    found = opened("csv:d", columns={"target": "label"})
    assert found.rows == 200
    assert any("test.csv has no column 'label': it is left out" in note for note in found.notes)
    assert any("sample_submission.csv" in note for note in found.notes)
    assert len(found.splits["test"])


def test_workbook_is_the_same_data_as_its_csv(opened: Open, tmp_path: Path, usual: Dataset) -> None:
    frame = pd.read_csv(tmp_path / "usual.csv")
    frame.insert(0, "day", pd.Timestamp("2024-05-31"))
    frame.insert(1, "vip", [n % 3 == 0 for n in range(len(frame))])
    frame.to_excel(tmp_path / "a.xlsx", index=False, startrow=1, startcol=1)
    frame.to_csv(tmp_path / "a.csv", index=False)
    sheet, text = opened("excel:a.xlsx"), opened("csv:a.csv")
    assert seen(sheet) == seen(usual)
    assert {n: c.kind for n, c in sheet.columns.items()} == {n: c.kind for n, c in text.columns.items()}
    assert [str(v).lower() for v in sheet.columns["vip"].values] == [
        str(v).lower() for v in text.columns["vip"].values
    ]


def test_file_that_is_no_workbook_is_refused(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match="must be a readable workbook"):
        opened("excel:a.xlsx")


@pytest.mark.parametrize("before", ["\n", "\r\n\r\n", "  \n", ";;\n", "sep=;\n", '"sep=;"\r\n', "\nsep=;\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_empty_lines_and_excels_mark_before_the_header_are_passed_over(
    opened: Open, tmp_path: Path, usual: Dataset, before: str, end: str
) -> None:
    text = before.replace("\r\n", "\n").replace("\n", end) + end.join([HEADER, *ROWS]).replace(",", ";")
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert opened("csv:a.csv").fingerprint == usual.fingerprint
    assert CsvFile(tmp_path / "a.csv").columns() == ["size", "town", "label"]
    assert next(CsvFile(tmp_path / "a.csv").parts(PartSizes())).column("size")[0].as_py() == "0.0"


def test_excels_mark_may_name_a_tab(opened: Open, tmp_path: Path, usual: Dataset) -> None:
    text = "\r\n".join(["sep=\t", *(line.replace(",", "\t") for line in [HEADER, *ROWS])])
    (tmp_path / "a.csv").write_bytes(text.encode("utf-16"))
    assert opened("csv:a.csv").fingerprint == usual.fingerprint


def test_header_that_is_repeated_among_the_rows_is_no_row(
    opened: Open, tmp_path: Path, usual: Dataset
) -> None:
    """Files that were appended to each other."""
    (tmp_path / "a.csv").write_text("\n".join([HEADER, *ROWS[:50], HEADER, *ROWS[50:], HEADER]))
    found = opened("csv:a.csv")
    assert found.fingerprint == usual.fingerprint
    assert "2 rows of a.csv left out: its header again" in found.notes


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([*ROWS, '7.5,"Ulm,yes', "8.5,Ulm,no"], "202 that is open until line 203"),
        ([*ROWS[:10], '7.5,"Ulm,yes', *ROWS[10:], '8.5,"Köln",no'], "12 that is open until line 203"),
    ],
)
def test_quote_that_swallows_rows_is_refused(
    opened: Open, tmp_path: Path, rows: list[str], lines: str
) -> None:
    (tmp_path / "a.csv").write_text("\n".join([HEADER, *rows]))
    with pytest.raises(InputError, match=f"one of line {lines}.*quote: false"):
        opened("csv:a.csv")
    columns = opened("csv:a.csv", read={"quote": False}).columns
    assert '"Ulm' in {str(town) for town in columns["town"].values}
    assert len(columns["size"].values) == len(rows)


@pytest.mark.parametrize("comment", ["", "# made by a program that knows no CSV\n"])
def test_fields_in_single_quotes_are_read_without_them(opened: Open, tmp_path: Path, comment: str) -> None:
    rows = [f"'{n}','O''Brien, {n % 3}','{'yes' if n % 2 else 'no'}'" for n in range(100)]
    (tmp_path / "a.csv").write_text(comment + "\n".join(["'n','name','label'", *rows]))
    read = {"comment": "#"} if comment else {}
    data = opened("csv:a.csv", read=read)
    assert data.columns["n"].values[7] == 7
    assert data.columns["name"].values[7] == "O'Brien, 1"
    assert any("single quotes; data.read: {quote: true} keeps them" in note for note in data.notes)
    kept = opened("csv:a.csv", read={**read, "quote": "'"})
    assert kept.columns["name"].values[7] == "O'Brien, 1"


def test_single_quotes_stay_where_they_are_asked_for_or_not_around_all_names(
    opened: Open, tmp_path: Path
) -> None:
    rows = [f"'{n}','{'yes' if n % 2 else 'no'}'" for n in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["'n','label'", *rows]))
    assert opened("csv:a.csv", read={"quote": True}).columns["'n'"].values[7] == "'7'"
    (tmp_path / "b.csv").write_text("\n".join(["n,'label'", *rows]))
    assert opened("csv:b.csv").columns["'label'"].values[7] == "'yes'"


@pytest.mark.parametrize("quote", [3, "", "''", "a", " ", "\n", ",", "é"])
def test_mark_that_cannot_quote_is_refused(opened: Open, tmp_path: Path, quote: object) -> None:
    (tmp_path / "a.csv").write_text("\n".join([HEADER, *ROWS]))
    with pytest.raises(InputError, match="quote"):
        opened("csv:a.csv", read={"quote": quote})


def test_quotes_within_words_and_around_lines_are_no_defect(opened: Open, tmp_path: Path) -> None:
    rows = [f'{n},5" pipe,"a ""b""\nc {n}",{"yes" if n % 2 else "no"}' for n in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["n,pipe,note,label", *rows]))
    columns = opened("csv:a.csv", columns={"types": {"note": "category"}}).columns
    assert columns["note"].values[7] == 'a "b"\nc 7'
    assert columns["pipe"].values[7] == '5" pipe'


def test_comments_are_passed_over_by_predict_as_by_training(
    opened: Open, tmp_path: Path, usual: Dataset
) -> None:
    lines = ["# of 2024", "", "# and empty lines", "", HEADER, *ROWS[:9], "# a break", *ROWS[9:]]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    assert opened("csv:a.csv", read={"comment": "#"}).fingerprint == usual.fingerprint
    (part,) = CsvFile(tmp_path / "a.csv", {"comment": "#"}).parts(PartSizes())
    assert part.column("size").to_pylist() == [row.split(",")[0] for row in ROWS]
