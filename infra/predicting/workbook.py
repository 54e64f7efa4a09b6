"""Excel: the first sheet of a workbook, read as training reads it, and answered as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.predicting.format import InputFormat, PartSizes, as_wrong_input, table_frame
from infra.serving.model_schema import Field
from trainers.data.sources.excel import read_excel

if TYPE_CHECKING:
    import pandas as pd


class Workbook(InputFormat):
    """The rows of the first sheet, each cell as the text that a CSV would hold."""

    def __init__(self, path: Path) -> None:
        """The workbook, read whole."""
        super().__init__(path)
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
