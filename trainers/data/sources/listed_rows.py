"""The file that `data.drop_rows` names: rows by the hash of what they hold."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from trainers.data.mixing import Hashes
from trainers.errors import InputError

COLUMN = "row"
KEY = ("data", "drop_rows")


def spell_row(row_hash: int) -> str:
    """A row's hash as files have it: 16 hex digits."""
    return f"{row_hash:016x}"


def read_listed_rows(path: Path) -> Hashes:
    """The hashes in the file's column `row`, uint64, ascending and each once."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if COLUMN not in (reader.fieldnames or ()):
                found = ", ".join(reader.fieldnames or ()) or "an empty file"
                do = "give the file that `velodrome inspect` wrote, or a part of its lines"
                raise InputError(
                    f"data.drop_rows must have a column {COLUMN}", f"{found} in {path}", do, key=KEY
                )
            return np.unique(
                np.array([_read_hash(line[COLUMN], path, reader.line_num) for line in reader], np.uint64)
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            "data.drop_rows must name a readable CSV file", f"{path}: {reason}", key=KEY
        ) from error


def _read_hash(text: str | None, path: Path, line: int) -> int:
    written = (text or "").strip()
    if len(written) == 16 and all(digit in "0123456789abcdefABCDEF" for digit in written):
        return int(written, 16)
    do = "keep the column as text: a spreadsheet turns some of them into numbers"
    must = "a row of data.drop_rows must be 16 hex digits"
    raise InputError(must, f"{written[:40]!r} in line {line} of {path}", do, key=KEY)
