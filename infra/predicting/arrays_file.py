"""Arrays in an .npz file, read as training reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from infra.home import Home
from infra.predicting.format import InputFormat, PartSizes, as_wrong_input, single_column_frame, table_frame
from infra.serving.model_schema import Field
from trainers.data.raw import RawFiles

if TYPE_CHECKING:
    import pandas as pd

    from trainers.data.raw import RawColumn

ROW = "row"  # stands for a picture in the output, from 0
MOST_PICTURES = 256  # of a part


class ArraysFile(InputFormat):
    """Pictures, or rows of numbers with the names that training gives them; labels are left in the output."""

    def __reduce__(self) -> tuple[Callable[[Path], ArraysFile], tuple[Path]]:
        """Where it goes, it reads the file itself."""
        return ArraysFile, (self.path,)

    @cached_property
    def _read(self) -> dict[str, RawColumn]:
        from trainers.data.sources.arrays import read_npz

        with as_wrong_input():
            return dict(read_npz(self.path, Home.from_environment().cache).columns)

    @cached_property
    def _rows(self) -> pa.Table:
        """The columns; in the place of pictures their numbers."""
        columns: dict[str, pa.Array | pa.ChunkedArray] = {}
        for name, column in self._read.items():
            if isinstance(column, RawFiles):
                columns[ROW] = pa.array(np.arange(len(column)))
            else:
                columns[name] = column
        return pa.table(columns)

    def columns(self) -> list[str]:
        """As `InputFormat`."""
        return list(self._read)

    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """As `InputFormat`."""
        rows = min(sizes.rows, MOST_PICTURES) if ROW in self._rows.column_names else sizes.rows
        for start in range(0, len(self._rows), rows):
            yield self._rows.slice(start, rows)

    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """As `InputFormat`: pictures as arrays."""
        pictures = next((column for column in self._read.values() if isinstance(column, RawFiles)), None)
        if pictures is None:
            return table_frame(part.to_pydict(), fields, usual="any")
        chosen = [pictures.values[row] for row in part.column(ROW).to_pylist()]
        return single_column_frame(chosen, fields, self.path)
