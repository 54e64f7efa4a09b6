"""Inputs of odd kinds: read as they are meant, said, or refused with the way out."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from PIL import Image

from tests.trainers.data.conftest import Open
from trainers.column_profiles import profile_columns
from trainers.errors import InputError
from trainers.types import Json

ROWS = 60
LABELS = ["ab"[n % 2] for n in range(ROWS)]


def write_pictures(folder: Path, ending: str, **how: Any) -> None:
    for label, light in (("dark", 0), ("light", 200)):
        (folder / label).mkdir(parents=True)
        for n in range(12):
            picture = Image.fromarray(np.full((6, 6 + n), light + n, np.uint8))
            picture.save(folder / label / f"{n}{ending}", **how)


@pytest.mark.parametrize("ending", [".tif", ".gif"])
def test_pictures_of_several_pages_are_said(opened: Open, tmp_path: Path, ending: str) -> None:
    other = [Image.new("L", (6, 6), 99)]
    write_pictures(tmp_path / "many", ending, save_all=True, append_images=other)
    write_pictures(tmp_path / "one", ending)
    (many,), (one,) = (profile_columns(opened(f"images:{name}")) for name in ("many", "one"))
    assert many.warning == "pictures of several pages or frames, of which the first counts"
    assert one.warning == ""


def test_folder_of_other_files_says_what_is_there_and_what_to_do(opened: Open, tmp_path: Path) -> None:
    for name in ("a/1.avif", "b/2.avif", "c.zip"):
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"2 \.avif, 1 \.zip.*archives must be unpacked"):
        opened("images:folder")
    with pytest.raises(InputError, match="an archive must be unpacked"):
        opened("images:folder/c.zip")


def tar_of_table() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo("a.csv")
        entry.size = 8
        archive.addfile(entry, io.BytesIO(b"x,label\n"))
    return held.getvalue()


def feather_of_table() -> bytes:
    sink = pa.BufferOutputStream()
    pa.feather.write_feather(pa.table({"x": [1.5] * ROWS, "label": LABELS}), sink)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("source", "content", "says"),
    [
        ("csv:a.csv", tar_of_table(), "a tar archive; unpack it"),
        ("csv:a.csv", feather_of_table(), "Feather's; save it as Parquet"),
        ("parquet:a.parquet", feather_of_table(), "Feather's; save it as Parquet"),
        ("text:a.txt", b"\x93NUMPY\x01\x00v\x00", "numpy.savez"),
        ("csv:a.csv", b"7z\xbc\xaf\x27\x1c\0\0", "a 7z archive; unpack it"),
    ],
)
def test_file_of_another_kind_is_refused_by_what_it_is(
    opened: Open, tmp_path: Path, source: str, content: bytes, says: str
) -> None:
    (tmp_path / source.partition(":")[2]).write_bytes(content)
    with pytest.raises(InputError, match=says):
        opened(source)


def test_views_of_strings_are_the_strings(opened: Open, tmp_path: Path) -> None:
    numbers = pa.array([n / 7 for n in range(ROWS)])
    for name, kind in (("plain", pa.string()), ("views", pa.string_view())):
        table = pa.table({"town": pa.array(LABELS, kind), "x": numbers, "label": LABELS})
        pa.parquet.write_table(table, tmp_path / f"{name}.parquet")
    assert opened("parquet:views.parquet").fingerprint == opened("parquet:plain.parquet").fingerprint


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('"a{n}", "{n}.5", "{label}"', "a.csv have a blank before their quotes"),
        ('"a \\"b\\" c{n}",{n}.5,{label}', 'within fields of a.csv are written \\"'),
        ('"a ""b"" c{n}",{n}.5,{label}', ""),
        ('"c:\\dir\\",{n}.5,{label}', ""),
    ],
)
def test_quotes_that_are_read_otherwise_than_meant_are_said(
    opened: Open, tmp_path: Path, row: str, says: str
) -> None:
    rows = [row.format(n=n % 9, label=LABELS[n]) for n in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["name,x,label", *rows]))
    notes = " ".join(opened("csv:a.csv", split={"by": "row"}).notes)
    assert says in notes
    assert bool(says) == ("quotes" in notes)


def test_rows_that_end_with_a_delimiter_are_refused_with_the_way_out(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "\n".join(["x,label", *(f"{n},{label}," for n, label in enumerate(LABELS))])
    )
    with pytest.raises(InputError, match="end the header with one too"):
        opened("csv:a.csv")


@pytest.mark.parametrize(
    ("months", "warned"),
    [(["Januar", "März"], True), (["janv.", "févr."], True), (["Model", "Model"], False)],
)
def test_dates_with_names_of_months_are_warned_of(
    opened: Open, tmp_path: Path, months: list[str], warned: bool
) -> None:
    days = [f"{1 + n % 28} {months[n % 2]} 2020" for n in range(ROWS)]
    pd.DataFrame({"day": days, "label": LABELS}).to_csv(tmp_path / "a.csv", index=False)
    (column,) = profile_columns(opened("csv:a.csv", split={"by": "row"}))
    assert ("names of months" in column.warning) == warned


def test_numbers_beyond_all_bounds_are_counted_as_infinite(opened: Open, tmp_path: Path) -> None:
    rows = [f"{'1e400' if n % 10 == 0 else n / 7},{LABELS[n]}" for n in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["x,label", *rows]))
    assert any("'x' has 6 infinite numbers" in note for note in opened("csv:a.csv").notes)


def test_times_that_repeat_and_gaps_between_them_are_said(opened: Open, tmp_path: Path) -> None:
    split: Mapping[str, Json] = {"by": "time"}
    hours = pd.date_range("2024-01-01", periods=ROWS + 3, freq="h").delete([5, 6, 30])
    frame = pd.DataFrame(
        {"time": hours, "x": [n / 7 for n in range(ROWS)], "y": [n % 11 for n in range(ROWS)]}
    )
    for times, said in ((hours, False), (hours[:-2].append(hours[:2]), True)):
        frame.assign(time=times).to_csv(tmp_path / "a.csv", index=False)
        found = opened("csv:a.csv", columns={"target": "y", "time": "time"}, split=split, task="regression")
        notes = " ".join(found.notes)
        assert "column 'time' steps by 3,600, with 2 gaps" in notes
        assert ("2 rows have the time of another" in notes) == said


def test_target_of_some_words_is_refused_with_a_way_out_that_works(opened: Open, tmp_path: Path) -> None:
    rows = [f"{n / 7},{'sold' if n % 3 == 0 else n * 1.5}" for n in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["x,price", *rows]))
    columns: dict[str, Json] = {"target": "price"}
    with pytest.raises(InputError, match=r"types: \{price: number\}"):
        opened("csv:a.csv", task="regression", columns=columns)
    found = opened("csv:a.csv", task="regression", columns={**columns, "types": {"price": "number"}})
    assert found.rows == 40


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["{n}KB", "{n}MB", "{n}.5GB"], "numbers in several units (GB, KB, MB)"),
        (["${n}.50", "€{n}"], "numbers in several units ($, €)"),
        (["{n}±0.1"], "values with their errors"),
        (["{n}°30'N", "{n}° 5' S"], "degrees and minutes"),
        (["{n}½", "{n}¾"], "fractions as signs"),
        (["2024-01-{d}", "2024-02-{d}", "31.12.2020"], "dates, but for '31.12.2020'"),
        (["A{n}", "B{n}"], ""),
        (["0{n}", "00{n}"], ""),
        (["{n}A", "{n}B"], ""),
    ],
)
def test_quantities_that_are_no_plain_numbers_are_warned_of(
    opened: Open, tmp_path: Path, cells: list[str], says: str
) -> None:
    column = [cells[n % len(cells)].format(n=n % 10, d=10 + n % 10) for n in range(90)]
    frame = pd.DataFrame(
        {"size": column, "x": [n / 7 for n in range(90)], "label": ["ab"[n % 2] for n in range(90)]}
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    size, _ = profile_columns(opened("csv:a.csv"))
    assert size.kind == "category"
    assert says in size.warning
    assert bool(says) == bool(size.warning)


@pytest.mark.parametrize(
    ("line", "do"),
    [
        ("{'x': 1.5, 'label': 'a'}", "double quotes"),
        ('{"x": 1.5, "label": "a"},', "commas between lines"),
        ('// rows\n{"x": 1}', "comments"),
        ("[1.5, 'a']", "as an object with its columns"),
        ("{", "one line"),
        ('"a"', "as an object with its columns"),
    ],
)
def test_lines_that_are_no_objects_are_refused_with_the_way_out(
    opened: Open, tmp_path: Path, line: str, do: str
) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join([line] * 30))
    with pytest.raises(InputError) as refused:
        opened("jsonl:a.jsonl")
    assert do in refused.value.do


@pytest.mark.parametrize("name", ["a.xls", "a.ods"])
def test_workbook_of_another_kind_is_refused_with_the_way_out(
    opened: Open, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0" + bytes(99))
    with pytest.raises(InputError, match=r"save it as \.xlsx or \.csv"):
        opened(f"excel:{name}")


def test_yes_and_no_in_several_spellings_are_said_as_classes(opened: Open, tmp_path: Path) -> None:
    for spellings, said in (
        (["TRUE", "1", "false", "0"], True),
        (["yes", "no"], False),
        (["1", "0", "2"], False),
    ):
        rows = [f"{n / 7},{spellings[n % len(spellings)]}" for n in range(ROWS)]
        (tmp_path / "a.csv").write_text("\n".join(["x,label", *rows]))
        notes = " ".join(opened("csv:a.csv").notes)
        assert ("seem to be two, yes and no" in notes) == said


def test_times_as_a_regressions_target_are_refused_with_the_way_out(opened: Open, tmp_path: Path) -> None:
    rows = [f"{n / 7},2024-01-{1 + n % 28:02d}" for n in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["x,label", *rows]))
    with pytest.raises(InputError, match="a number of days or of seconds"):
        opened("csv:a.csv", task="regression")


def test_single_group_is_refused_with_the_way_out(opened: Open, tmp_path: Path) -> None:
    rows = [f"one,{n / 7},{LABELS[n]}" for n in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["site,x,label", *rows]))
    with pytest.raises(InputError, match="or more groups"):
        opened("csv:a.csv", columns={"group": "site"}, split={"by": "group"})
