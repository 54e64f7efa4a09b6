"""Large workbooks, which are streamed, are read as small ones are."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.data.conftest import Open
from trainers.data.sources import excel

openpyxl = pytest.importorskip("openpyxl")
ROWS = 60


def write_book(path: Path) -> Any:
    book = openpyxl.Workbook()
    book.active.append(["x", "note", "label"])
    for number in range(ROWS):
        book.active.append([number, f"n{number % 7}", "ab"[number % 2]])
    book.save(path)
    return book


@pytest.fixture(params=[0, 1 << 20], ids=["streamed", "loaded"])
def streamed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(excel, "SMALL_BYTES", request.param)
    return not request.param


def test_rows_behind_the_extent_that_a_file_claims_are_read(
    streamed: bool, opened: Open, tmp_path: Path
) -> None:
    """Programs write `<dimension ref="A1"/>` and mean nothing by it: a workbook over 1 MiB ended there."""
    write_book(tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "a.xlsx") as whole, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as other:
        for name in whole.namelist():
            wrong = re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1:B9"', whole.read(name))
            other.writestr(name, wrong)
    found = opened("excel:b.xlsx")
    assert found.rows == ROWS
    assert set(found.columns) == {"x", "note"}


def test_hidden_and_merged_cells_are_said(streamed: bool, opened: Open, tmp_path: Path) -> None:
    book = write_book(tmp_path / "a.xlsx")
    for row in (3, 4, 5):
        book.active.row_dimensions[row].hidden = True
    book.active.column_dimensions["B"].hidden = True
    book.active.merge_cells("A7:A9")
    book.save(tmp_path / "a.xlsx")
    notes = opened("excel:a.xlsx").notes
    assert any("a.xlsx hides 3 rows and 1 column" in note for note in notes)
    assert any("a.xlsx has 1 merged cells, as A7:A9" in note for note in notes)


def test_hidden_cells_that_nobody_uses_are_not_said(streamed: bool, opened: Open, tmp_path: Path) -> None:
    """People hide all columns behind a table's: 16,382 columns were said to be read too."""
    from openpyxl.worksheet.dimensions import ColumnDimension

    book = write_book(tmp_path / "a.xlsx")
    sheet = book.active
    sheet.column_dimensions["D"] = ColumnDimension(sheet, index="D", min=4, max=16_384, hidden=True)
    sheet.row_dimensions[5000].hidden = True
    book.save(tmp_path / "a.xlsx")
    assert not any("hides" in note for note in opened("excel:a.xlsx").notes)


def test_tag_that_two_pieces_share_is_found(
    monkeypatch: pytest.MonkeyPatch, opened: Open, tmp_path: Path
) -> None:
    from trainers.data.sources import unseen_cells

    monkeypatch.setattr(excel, "SMALL_BYTES", 0)
    book = write_book(tmp_path / "a.xlsx")
    book.active.row_dimensions[30].hidden = True
    book.save(tmp_path / "a.xlsx")
    for size in (7, 64, 1000):
        monkeypatch.setattr(unseen_cells, "PIECE_BYTES", size)
        assert any("hides 1 row (" in note for note in opened("excel:a.xlsx").notes)
