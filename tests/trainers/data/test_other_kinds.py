"""Files of another kind than they are read as are told by what they are, by every source alike."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import orc, parquet

from tests.trainers.data.conftest import Open
from trainers.errors import InputError

TABLE = pa.table({"x": range(60), "label": list("ab") * 30})
TEXT = b"x,label\n1,a\n2,b\n"


def archive_of(members: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return held.getvalue()


def array_bytes(array: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def parquet_bytes() -> bytes:
    held = io.BytesIO()
    parquet.write_table(TABLE, held)
    return held.getvalue()


def orc_bytes() -> bytes:
    held = io.BytesIO()
    orc.write_table(TABLE, held)
    return held.getvalue()


CONTENTS = {
    "a zip archive": archive_of({"a.csv": TEXT}),
    "an array of NumPy's without its labels; save both": array_bytes(np.zeros((60, 4))),
    r"ORC; save it as Parquet: pandas\.read_orc": orc_bytes(),
    "a pickle; it is never read": b"\x80\x04\x95\x05",
    "password": b"\xd0\xcf\x11\xe0" + bytes(600),
}


@pytest.mark.parametrize("says", CONTENTS)
@pytest.mark.parametrize("source", ["csv:a.csv", "jsonl:a.jsonl", "parquet:a.parquet", "text:a.txt"])
def test_file_of_another_kind_is_told_by_every_source(
    source: str, says: str, opened: Open, tmp_path: Path
) -> None:
    """JSON lines alone said `save it as UTF-8` of an archive."""
    (tmp_path / source.partition(":")[2]).write_bytes(CONTENTS[says])
    with pytest.raises(InputError, match=says):
        opened(source)


@pytest.mark.parametrize(
    ("source", "content", "says"),
    [
        ("parquet:a.parquet.gz", parquet_bytes(), "Parquet, packed; unpack it, and then: write parquet:FILE"),
        (
            "csv:a.csv.gz",
            gzip.compress(TEXT),
            r"gzip, packed; unpack it, and then: let its name end",
        ),
    ],
    ids=["parquet", "gzip"],
)
def test_file_that_is_packed_once_too_often_is_told(
    source: str, content: bytes, says: str, opened: Open, tmp_path: Path
) -> None:
    (tmp_path / source.partition(":")[2]).write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=says):
        opened(source)


@pytest.mark.parametrize("scheme", ["csv", "jsonl", "text"])
def test_packed_file_is_known_by_its_ending_in_capitals(scheme: str, opened: Open, tmp_path: Path) -> None:
    lines = "".join(f'{{"x": {n}, "label": "{"ab"[n % 2]}"}}\n' for n in range(60))
    table = "x,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(60))
    prose = "\n\n".join(f"paragraph {n} " * 90 for n in range(60))
    content = {"csv": table, "jsonl": lines, "text": prose}[scheme]
    (tmp_path / f"A.{scheme.upper()}.GZ").write_bytes(gzip.compress(content.encode()))
    (tmp_path / f"b.{scheme}").write_text(content)
    assert opened(f"{scheme}:A.{scheme.upper()}.GZ").fingerprint == opened(f"{scheme}:b.{scheme}").fingerprint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"x,label\n1,a\n", "none; fetch it again if it is cut; of text that is named so write csv:FILE"),
        (b"PK\x03\x04 cut", "none; fetch it again if it is cut"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "without a password"),
        (b"<html><table></table></html>", "a web page"),
    ],
)
def test_file_that_is_no_workbook_is_refused(content: bytes, says: str, opened: Open, tmp_path: Path) -> None:
    """`File is not a zip file` was said of all of them."""
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(InputError, match=says):
        opened("excel:a.xlsx")


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"x": np.zeros((60, 0)), "y": np.arange(60) % 2}, "60x0"),
        ({"images": np.zeros((60, 0, 8)), "y": np.arange(60) % 2}, "60x0x8"),
        ({"x": np.float64(3), "y": np.int64(1)}, "a single value"),
    ],
)
def test_arrays_without_values_are_refused(
    arrays: dict[str, np.ndarray], found: str, opened: Open, tmp_path: Path
) -> None:
    """The first raised StopIteration."""
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=f"must be rows of values; but got {found}"):
        opened("npz:a.npz")


def test_archive_of_other_files_is_no_npz_file(opened: Open, tmp_path: Path) -> None:
    """It was told that arrays of Python objects are never read."""
    (tmp_path / "a.npz").write_bytes(archive_of({"a.csv": TEXT}))
    with pytest.raises(InputError, match=r"arrays alone; but got a\.csv, which is none.*unpack an archive"):
        opened("npz:a.npz")


def test_array_that_stands_twice_in_a_file_is_refused(opened: Open, tmp_path: Path) -> None:
    """The last one was read without a word."""
    content = archive_of({"x.npy": array_bytes(np.arange(60)), "z.npy": array_bytes(np.arange(60))})
    (tmp_path / "a.npz").write_bytes(content.replace(b"z.npy", b"x.npy"))
    with pytest.raises(InputError, match=r"each array once.*'x\.npy' twice"):
        opened("npz:a.npz")


def test_advice_on_encodings_names_no_option_that_the_source_lacks(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(("some words of a text\n" * 90).encode("utf-16-le"))
    with pytest.raises(InputError, match=r"save it as UTF-8; of csv data\.read"):
        opened("text:a.txt")


def test_text_that_its_encoding_does_not_hold_names_the_line(opened: Open, tmp_path: Path) -> None:
    japanese = "今日はとても良い天気ですね明日も晴れるでしょう\n" * 40
    (tmp_path / "a.txt").write_bytes(("x\n" * 9000).encode() + japanese.encode("shift_jis"))
    with pytest.raises(InputError, match=r"bytes after line .* save it as UTF-8; its bytes look like cp932"):
        opened("text:a.txt")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"x": 1}{"x": 2}\n', "on a line of its own: jq -c"),
        ('{"x": 1}\n{"x": 2, "label": "a', "line 2.*is the file cut"),
    ],
)
def test_lines_that_are_no_objects_are_refused_with_what_to_do(
    content: str, says: str, opened: Open, tmp_path: Path
) -> None:
    """All of them were told to write each row by json.dumps."""
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError, match=says):
        opened("jsonl:a.jsonl")


def test_json_text_sequences_are_lines_of_json(opened: Open, tmp_path: Path) -> None:
    """RFC 7464 puts a sign before each record: `predict` read them, and training did not."""
    lines = [f'{{"x": {n}, "label": "{"ab"[n % 2]}"}}\n' for n in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    (tmp_path / "b.jsonl").write_text("".join(f"\x1e{line}" for line in lines))
    assert opened("jsonl:a.jsonl").fingerprint == opened("jsonl:b.jsonl").fingerprint
