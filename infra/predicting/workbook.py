"""Excel: the first sheet of a workbook, read as training reads it, and answered as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.predicting.csv_file import as_wrong_input, write_csv
from infra.predicting.format import PartSizes, concatenate_files, table_frame
from infra.serving.model_schema import Field
from trainers.data.sources.excel import read_excel

if TYPE_CHECKING:
    import pandas as pd


class Workbook:
    """The rows of the first sheet, each cell as the text that a CSV would hold."""

    ending = ".csv"

    def __init__(self, path: Path) -> None:
        """The workbook, read whole."""
        self.path = path
        with as_wrong_input():
            self._table = pa.Table.from_batches(read_excel(path, []))

    def columns(self) -> list[str]:
        """As `InputFormat`."""
        return list(self._table.column_names)

    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """As `InputFormat`."""
        for start in range(0, len(self._table), sizes.rows):
            yield self._table.slice(start, sizes.rows)

    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """As `InputFormat`."""
        return table_frame(part.to_pydict(), fields, usual="string")

    def write(self, part: pa.Table, predictions: pd.DataFrame, path: Path, *, first: bool) -> None:
        """As `InputFormat`."""
        write_csv(part, predictions, path, ",", header=first)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """As `InputFormat`."""
        concatenate_files(parts, path)
