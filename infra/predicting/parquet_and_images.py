"""Parquet files, images and clips by the folder or singly, and which format an input has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet

from infra.errors import WrongInput
from infra.predicting.arrays_file import ArraysFile
from infra.predicting.csv_file import CsvFile
from infra.predicting.format import (
    InputFormat,
    PartSizes,
    as_wrong_input,
    json_values,
    single_column_frame,
    table_frame,
)
from infra.predicting.line_files import JsonLines, TextLines
from infra.predicting.workbook import Workbook
from infra.serving.model_schema import Field
from trainers.data.disk.other_kinds import ARRAY, PARQUET, tell_kind_of
from trainers.data.disk.part_files import count_endings
from trainers.data.disk.paths import is_aside, require_readable_name
from trainers.data.disk.unpacking import bare_name
from trainers.data.sources.class_folders import ENDINGS as ENDINGS_OF_FILES

if TYPE_CHECKING:
    import pandas as pd


class ParquetFile(InputFormat):
    """Columns with their types, which stay as they are."""

    ending = ".parquet"

    def columns(self) -> list[str]:
        """As `InputFormat`."""
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
        for name in predictions.columns:
            part = part.append_column(str(name), pa.array(json_values(predictions[name])))
        parquet.write_table(part, path)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """As `InputFormat`: a row group a part."""
        with parquet.ParquetWriter(path, parquet.read_schema(parts[0])) as writer:
            for part in parts:
                writer.write_table(parquet.read_table(part, use_threads=False))

    def _unreadable_error(self, error: Exception) -> WrongInput:
        found = str(error).splitlines()[0][:200], "copy or write it again"
        if (other := tell_kind_of(self.path)) and other[0] != PARQUET:
            found = other
        return WrongInput(f"{self.path} must be a readable Parquet file", *found)


class FileFolder(InputFormat):
    """The pictures or the clips of sound, whichever are more, in a folder and those below it, by name; or one
    picture or clip by itself."""

    def __init__(self, path: Path) -> None:
        """The files' names.

        Raises:
            WrongInput: there are none, or one is no text.
        """
        super().__init__(path)
        self.folder = path if path.is_dir() else path.parent
        found = {kind: self._find_names(endings) for kind, endings in ENDINGS_OF_FILES.items()}
        self._kind = max(found, key=lambda kind: len(found[kind]))
        self.names = found[self._kind]
        if not self.names:
            do = f"name one file; of a folder {', '.join(sorted(chain(*ENDINGS_OF_FILES.values())))} are read"
            found_there = f"none in {path}{count_endings(path)}"
            raise WrongInput("the folder must hold images or clips", found_there, do)
        with as_wrong_input():
            for name in self.names:
                require_readable_name(Path(name))

    def columns(self) -> list[str]:
        """As `InputFormat`."""
        return [self._kind]

    def _find_names(self, endings: tuple[str, ...]) -> list[str]:
        """The files' paths within the folder."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        found = (file for file in files if file.suffix.lower() in endings and file.is_file())
        names = (file.relative_to(self.folder) for file in found)
        return sorted(name.as_posix() for name in names if not any(map(is_aside, name.parts)))

    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """As `InputFormat`."""
        rows = min(sizes.rows, 256)
        for start in range(0, len(self.names), rows):
            yield pa.table({self._kind: pa.array(self.names[start : start + rows], pa.string())})

    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """As `InputFormat`: paths, which a model of such files opens itself."""
        names = part.column(self._kind).to_pylist()
        return single_column_frame([str(self.folder / name) for name in names], fields, self.path)


ENDINGS: dict[str, Callable[[Path], InputFormat]] = {
    ".csv": CsvFile,
    ".tsv": CsvFile,
    **dict.fromkeys((".tab", ".psv", ".dat", ".data", ".test"), CsvFile),  # as UCI's and others' are named
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".json": JsonLines,
    ".xlsx": Workbook,
    ".xlsm": Workbook,
    ".parquet": ParquetFile,
    ".pq": ParquetFile,
    ".npz": ArraysFile,
    ".txt": TextLines,
    ".text": TextLines,
    ".md": TextLines,
}

PACKABLE = (CsvFile, JsonLines, TextLines)


def open_input(path: Path) -> InputFormat:
    """The format of a file or folder, by its name.

    Raises:
        WrongInput: it is not there, or of no kind that is read.
    """
    with as_wrong_input():
        require_readable_name(path)
    if path.is_dir():
        return FileFolder(path)
    if not path.is_file():
        found = f"{path} is a pipe or a device" if path.exists() else f"{path} is not there"
        raise WrongInput("the input must be a file or a folder of images or clips", found)
    if path.suffix.lower() in chain(*ENDINGS_OF_FILES.values()):
        return FileFolder(path)
    bare = bare_name(path.name)
    kind = ENDINGS.get(Path(bare).suffix)
    if kind is None or (bare != path.name.lower() and kind not in PACKABLE):
        must = "the input must be CSV, JSONL, Parquet, npz, Excel, text, an image, a clip or a folder of them"
        raise WrongInput(must, *_describe_other(path))
    return kind(path)


def _describe_other(path: Path) -> tuple[str, str]:
    """What a file is whose name says nothing that is read, and what to do."""
    other = None if path.suffix.lower() in ENDINGS else tell_kind_of(path)
    if other is None:
        return path.name, f"its name must end with one of {', '.join(ENDINGS)}"
    what, do = other
    if what == ARRAY:  # rows to answer need no labels
        do = "save it as training's arrays were: numpy.savez('rows.npz', x=numpy.load(FILE))"
    return f"{path.name}, {what}", do
