"""More inputs of odd kinds: each is the same data in any spelling, said, or refused with the way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from infra.predicting.format import PartSizes
from infra.predicting.line_files import TextLines
from tests.trainers.data.conftest import Open
from trainers.column_profiles import profile_columns
from trainers.column_warnings import warn_of_words
from trainers.data.images import decode_user_images
from trainers.data.picture_headers import image_sizes
from trainers.errors import InputError

ROWS = 60
LABELS = ["ab"[n % 2] for n in range(ROWS)]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_text_is_the_same_corpus_and_the_same_lines_however_they_end(
    opened: Open, tmp_path: Path, end: str
) -> None:
    text = "\n\n".join(f"paragraph {n} of a text, {'with some words ' * 20}" for n in range(300))
    (tmp_path / "usual.txt").write_text(text, newline="")
    (tmp_path / "a.txt").write_text(text.replace("\n", end), newline="")
    assert opened("text:a.txt").fingerprint == opened("text:usual.txt").fingerprint
    (part,) = TextLines(tmp_path / "a.txt").parts(PartSizes())
    assert part.column("line").to_pylist() == text.split("\n")


@pytest.mark.parametrize(
    ("last", "says"),
    [
        ("Total,,,", "line 62 is no row but a total or a note below the table"),
        ("60 rows selected.", "line 62 is no row but a total or a note below the table"),
        ('1, "a, b",a\n1,b,a', "take away the blanks before quotes"),
        ("1,2,a,\n1,2,a,", "end the header with one too"),
    ],
)
def test_row_of_another_width_is_refused_with_what_it_may_be(
    opened: Open, tmp_path: Path, last: str, says: str
) -> None:
    rows = [f"{n},{n % 7},{LABELS[n]}" for n in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["x,y,label", *rows, last]))
    with pytest.raises(InputError, match=says):
        opened("csv:a.csv")


def write_depths(folder: Path, deep: str) -> None:
    """Pictures of which those of one class have 16 bits, of which ten are used."""
    for label in ("dark", "light"):
        (folder / label).mkdir(parents=True)
        for n in range(30):
            pixels = np.full((6, 6), 3 * n, np.uint16 if label == deep else np.uint8)
            Image.fromarray(pixels * (10 if label == deep else 1)).save(folder / label / f"{n}.png")


@pytest.mark.parametrize("deep", ["dark", "light"])
def test_pictures_of_16_bits_among_others_are_said_whichever_class_has_them(
    opened: Open, tmp_path: Path, deep: str
) -> None:
    write_depths(tmp_path / "mixed", deep)
    (column,) = profile_columns(opened("images:mixed"))
    assert column.warning.startswith("16 bits of which 10 are used")


def test_animated_pictures_of_the_last_class_are_said(opened: Open, tmp_path: Path) -> None:
    for label in ("still", "wild"):
        (tmp_path / "folder" / label).mkdir(parents=True)
        for n in range(30):
            picture, other = Image.new("L", (6, 6), n), [Image.new("L", (6, 6), 99)]
            path = tmp_path / "folder" / label / f"{n}.gif"
            picture.save(path, save_all=True, append_images=other if label == "wild" else [])
    (column,) = profile_columns(opened("images:folder"))
    assert "several pages or frames" in column.warning


def png(light: int) -> bytes:
    sink = pa.BufferOutputStream()
    Image.new("L", (6, 6), light).save(sink, "PNG")
    return bytes(sink.getvalue())


def test_bytes_that_are_no_pictures_are_refused_and_damaged_ones_are_named(
    opened: Open, tmp_path: Path
) -> None:
    def write(first: bytes) -> None:
        cells = [first, *(png(n) for n in range(ROWS - 1))] if first == b"cut" else [first] * ROWS
        table = pa.table({"x": cells, "label": LABELS})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")

    write(b"some words")
    with pytest.raises(InputError, match=r"none in the first rows of column 'x'.*drop: \[x\].*decode"):
        opened("parquet:a.parquet")
    write(b"cut")
    column = opened("parquet:a.parquet").columns["image"]
    with pytest.raises(InputError, match="row 0: cannot identify image file;"):
        image_sizes(column, [0])


def test_parquet_file_that_is_cut_is_not_called_one_of_another_kind(opened: Open, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"x": range(ROWS), "label": LABELS}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:200])
    with pytest.raises(InputError, match="it is cut or damaged: copy or write it again"):
        opened("parquet:a.parquet")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04 cut", r"write it again by numpy.savez"),
        (b"\x93NUMPY\x01\x00", r"an array of NumPy's without its labels; save both: numpy.savez"),
    ],
)
def test_file_that_is_no_npz_is_not_said_to_hold_objects(
    opened: Open, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=says):
        opened("npz:a.npz")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["pos/1.txt", "neg/1.txt"], r"one folder a class \(neg, pos\).*to_csv"),
        (["books/1.txt", "books/2.txt"], "name the folder that holds them: books"),
        (["readme.rst"], "name a file, or a folder with files that end so"),
    ],
)
def test_folder_whose_texts_stand_deeper_is_refused_with_the_way_out(
    opened: Open, tmp_path: Path, names: list[str], says: str
) -> None:
    for name in names:
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_text("some text")
    with pytest.raises(InputError, match=says):
        opened("text:folder")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "fetch or write it again"),
        ("x,label\n", "name a source that has some"),
        ("x,label\n1,a\n2,a\n", "add rows of another class"),
    ],
)
def test_table_without_rows_or_classes_is_refused_with_what_to_do(
    opened: Open, tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match=says):
        opened("csv:a.csv")


def test_feature_of_yes_and_no_in_several_spellings_is_warned_of() -> None:
    assert "yes and no in several spellings" in warn_of_words("flag", {"Y": 9, "N": 9, "1": 9, "0": 9}, 36)
    assert "several spellings" in warn_of_words("flag", {"true": 20, "WAHR": 9, "1": 9}, 38)
    assert warn_of_words("flag", {"Y": 20, "N": 20}, 40) == ""
    assert warn_of_words("flag", {"oui": 20, "non": 20}, 40) == ""
    assert warn_of_words("flag", {"yes": 20, "no": 20, "perhaps": 9}, 49) == ""


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ([[0.5 * n, -1.0, 2e-7] for n in range(ROWS)], "lists of numbers"),
        ([[n] * (1 + n % 3) for n in range(ROWS)], "lists of numbers"),
        ([[[n, 1], [2, 3]] for n in range(ROWS)], "lists of numbers"),
        ([f"[{n}.  0.5 -1e-3]" for n in range(ROWS)], "lists of numbers"),  # as NumPy prints them
        ([str((n, 2.5)) for n in range(ROWS)], "lists of numbers"),
        ([{"a": n, "b": 1} for n in range(ROWS)], "objects"),
        ([["a", f"b{n % 20}"] for n in range(ROWS)], ""),
        ([f"[{n}] words in a text that says something else" for n in range(ROWS)], ""),
    ],
)
def test_lists_and_objects_in_cells_are_said_to_be_words(
    opened: Open, tmp_path: Path, cells: list[Any], says: str
) -> None:
    rows = [json.dumps({"inside": cell, "label": label}) for cell, label in zip(cells, LABELS, strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    (profile,) = profile_columns(opened("jsonl:a.jsonl"))
    assert profile.warning[: len(says) or None] == says


def test_codes_with_leading_zeros_are_not_said_to_be_numbers() -> None:
    codes = {f"{code:05d}": 4 for code in range(1_000, 60_000, 1_000)}
    assert warn_of_words("zip", codes, 4 * len(codes)) == ""
    unlike = {f"{code:05d}": 1 for code in range(3_000, 90_000, 1_000)}
    assert "an identifier?" in warn_of_words("zip", unlike, len(unlike))


def test_numbers_with_decimal_points_and_commas_in_one_column_are_said() -> None:
    mixed = {f"{n}{',.'[n % 2]}25": 1 for n in range(60)}
    said = warn_of_words("a", mixed, 60)
    assert said.startswith("30 and 30 of its numbers have '.' and ',' before their decimals"), said


@pytest.mark.parametrize(("rows", "says"), [(1, "in 1 row;"), (2, "in 2 rows;")])
def test_word_among_numbers_is_said_with_its_rows(rows: int, says: str) -> None:
    assert says in warn_of_words("a", {**{f"{n}.5": 3 for n in range(60)}, "about 7": rows}, 180 + rows)


def test_labels_of_one_number_in_two_spellings_are_said_and_1_and_1_0_are_one_class(
    opened: Open, tmp_path: Path
) -> None:
    labels = ["1", "1.0", "01", "2", "nan?"]
    rows = [f"{n},{labels[n % 5]}" for n in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["x,label", *rows]))
    found = opened("csv:a.csv")
    assert found.classes == ("01", "1", "2", "nan?")
    assert "classes '01', '1' are one number: each is learned" in found.notes


def test_texts_as_classes_are_refused_with_the_task_of_pairs(opened: Open, tmp_path: Path) -> None:
    rows = [f"a sentence number {n % 30} here,ein Satz Nummer {n}" for n in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["input,target", *rows]))
    with pytest.raises(InputError, match="task: seq2seq with columns") as raised:
        opened("csv:a.csv")
    assert "a text to be written" in raised.value.do
    columns = {"input": "input", "target": "target"}
    assert opened("csv:a.csv", task="seq2seq", columns=columns).kind == "pairs"


def test_all_damaged_pictures_are_named_at_once_in_use_too(tmp_path: Path) -> None:
    values = [png(3), b"cut", png(5)[:30], png(6)]
    with pytest.raises(InputError, match="2 that are not") as raised:
        decode_user_images(values, size=(6, 6), channels=1)
    assert "image 1:" in raised.value.found
    assert "image 2:" in raised.value.found
    assert raised.value.do == ""
