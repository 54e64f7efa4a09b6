"""Parquet files, folders of images, and which format an input has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.errors import WrongInput
from infra.predicting.csv_file import CsvFile, write_csv
from infra.predicting.format import (
    InputFormat,
    PartSizes,
    concatenate_files,
    json_values,
    single_column_frame,
    table_frame,
)
from infra.predicting.line_files import JsonLines, TextLines
from infra.serving.model_schema import Field
from trainers.data.sources.image_folders import ENDINGS as IMAGES
from trainers.data.sources.image_folders import is_aside

if TYPE_CHECKING:
    import pandas as pd

IMAGE = "image"


class ParquetFile:
    """Columns with their types, which stay as they are."""

    ending = ".parquet"

    def __init__(self, path: Path) -> None:
        self.path = path

    def columns(self) -> list[str]:
        """As `InputFormat`."""
        from pyarrow import parquet

        try:
            names = list(parquet.read_schema(self.path).names)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable_error(error) from error
        if twice := sorted({name for name in names if names.count(name) > 1}):
            must, found = f"{self.path} must name each column once", f"{', '.join(twice[:5])} twice"
            raise WrongInput(must, found, "rename them before they are saved")
        return names

    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """As `InputFormat`."""
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=sizes.rows, use_threads=False):
                    yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable_error(error) from error

    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """As `InputFormat`."""
        return table_frame(part.to_pydict(), fields, usual="any")

    def write(self, part: pa.Table, predictions: pd.DataFrame, path: Path, *, first: bool) -> None:
        """As `InputFormat`."""
        from pyarrow import parquet

        for name in predictions.columns:
            part = part.append_column(str(name), pa.array(json_values(predictions[name])))
        parquet.write_table(part, path)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """As `InputFormat`: a row group a part."""
        from pyarrow import parquet

        with parquet.ParquetWriter(path, parquet.read_schema(parts[0])) as writer:
            for part in parts:
                writer.write_table(parquet.read_table(part, use_threads=False))

    def _unreadable_error(self, error: Exception) -> WrongInput:
        return WrongInput(f"{self.path} must be a readable Parquet file", str(error).splitlines()[0][:200])


class ImageFolder:
    """The pictures in a folder and those below it, in the order of their names."""

    ending = ".csv"

    def __init__(self, path: Path) -> None:
        self.path = path

    def columns(self) -> list[str]:
        """As `InputFormat`."""
        return [IMAGE]

    def image_names(self) -> list[str]:
        """The pictures' paths within the folder."""
        found = (file for file in self.path.rglob("*") if file.suffix.lower() in IMAGES and file.is_file())
        names = (file.relative_to(self.path) for file in found)
        return sorted(name.as_posix() for name in names if not any(map(is_aside, name.parts)))

    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """As `InputFormat`."""
        names = self.image_names()
        if not names:
            do = f"it reads {', '.join(sorted(IMAGES))}"
            raise WrongInput("the folder must hold images", f"none in {self.path}", do)
        rows = min(sizes.rows, 256)
        for start in range(0, len(names), rows):
            yield pa.table({IMAGE: pa.array(names[start : start + rows], pa.string())})

    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """As `InputFormat`: paths, which a model of images opens itself."""
        names = part.column(IMAGE).to_pylist()
        return single_column_frame([str(self.path / name) for name in names], fields, self.path)

    def write(self, part: pa.Table, predictions: pd.DataFrame, path: Path, *, first: bool) -> None:
        """As `InputFormat`: a line an image."""
        write_csv(part, predictions, path, ",", header=first)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """As `InputFormat`."""
        concatenate_files(parts, path)


ENDINGS: dict[str, Callable[[Path], InputFormat]] = {
    ".csv": CsvFile,
    ".tsv": CsvFile,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".json": JsonLines,
    ".parquet": ParquetFile,
    ".pq": ParquetFile,
    ".txt": TextLines,
    ".text": TextLines,
}


def open_input(path: Path) -> InputFormat:
    """The format of a file or folder, by its name.

    Raises:
        WrongInput: it is not there, or of no kind that is read.
    """
    if path.is_dir():
        return ImageFolder(path)
    if not path.is_file():
        raise WrongInput("the input must be a file or a folder of images", f"{path} is not there")
    kind = ENDINGS.get(Path(path.name.lower().removesuffix(".gz")).suffix)
    if kind is None or (path.suffix.lower() == ".gz" and kind not in (CsvFile, JsonLines, TextLines)):
        must = "the input must be CSV, JSONL, Parquet, text or a folder of images"
        raise WrongInput(must, path.name, f"its name must end with one of {', '.join(ENDINGS)}")
    return kind(path)
