"""Hugging Face data sets, from the hub, its local cache, or a folder written by `save_to_disk`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from trainers.data.dataset import Part
from trainers.data.disk.paths import PART_NAMES, SOURCE_KEY, locate_source
from trainers.data.raw import RawDataset
from trainers.data.sources.joining import join_tables
from trainers.data.split import PARTS
from trainers.errors import InputError

if TYPE_CHECKING:
    import datasets

SAVED = ("state.json", "dataset_dict.json")  # of save_to_disk
BRING = (
    "on a machine with a network run datasets.load_dataset(NAME).save_to_disk(FOLDER), bring the folder here "
    "and write hf:FOLDER"
)


def read_hub(name: str, base: Path) -> RawDataset:
    """The rows of a data set. `hf:NAME`, `hf:NAME#CONFIGURATION` or `hf:FOLDER`; no code of it is run."""
    loaded = _load_dataset(name, base)
    named = {None: loaded} if not isinstance(loaded, dict) else _select_parts(loaded, name)
    tables = {part: _arrow_table(dataset) for part, dataset in named.items()}
    joined = join_tables(list(tables.values()))
    part = None
    if None not in named and len(named) > 1:
        part = np.concatenate([np.full(len(t), PARTS.index(p), np.int8) for p, t in tables.items() if p])
    return RawDataset(
        columns={column: joined[column] for column in joined.column_names},
        part=part,
        notes=(*_note_left_out(loaded, name), *_note_differing(tables)),
    )


def _load_dataset(name: str, base: Path) -> datasets.Dataset | datasets.DatasetDict:
    import datasets

    datasets.disable_progress_bars()
    folder = locate_source(base, name)
    if any((folder / marker).is_file() for marker in SAVED):
        return _load_folder(folder)
    if folder.exists() or name.startswith((".", "/", "~")):
        must = "hf: must name a data set or a save_to_disk folder"
        raise InputError(must, str(folder.absolute()), _advise_on_plain(folder, name), key=SOURCE_KEY)
    path, _, configuration = name.partition("#")
    if (base / path).exists():
        do = f"a folder has no configurations: write hf:{path}"
        raise InputError("hf:FOLDER must name a folder alone", name, do, key=SOURCE_KEY)
    if "://" in path:
        do = f"write hf:{path.partition('/datasets/')[2] or 'OWNER/NAME'}"
        raise InputError("hf: must name a data set as the hub does", name, do, key=SOURCE_KEY)
    try:
        return datasets.load_dataset(path, configuration or None)
    except Exception as error:  # the hub's client raises a dozen kinds, all of them "could not be had"
        must, found = f"the data set {name} must be on the hub or in its cache", _first_line(error)
        raise InputError(must, found, BRING, key=SOURCE_KEY) from error


def _load_folder(folder: Path) -> datasets.Dataset | datasets.DatasetDict:
    import datasets

    try:
        return datasets.load_from_disk(str(folder))
    except Exception as error:  # damaged JSON and Arrow files, and what is not there: of any kind
        if isinstance(error, IndexError) and "list index out of range" in str(error):  # of no files at all
            do = "save parts that have some alone"
            raise InputError(
                "every part must have rows", f"none in one of {folder}", do, key=SOURCE_KEY
            ) from error
        do = "save it again by save_to_disk, or copy all of it; csv:, jsonl: and parquet: read plain files"
        must = f"{folder} must be a whole folder of save_to_disk"
        raise InputError(must, _first_line(error), do, key=SOURCE_KEY) from error


def _first_line(error: Exception) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def _advise_on_plain(folder: Path, name: str) -> str:
    """What to write for plain files, as a data set's repository has them in its folder or one below."""
    from trainers.data.sources.files import ENDINGS

    usual = "write csv:, jsonl:, parquet: or images: for plain files"
    if folder.is_file():
        return usual
    for depth in ("*", "*/*"):
        files = sorted(file for file in folder.glob(depth) if file.is_file())
        for scheme, endings in ENDINGS.items():
            found = next((file for file in files if file.name.lower().endswith(endings)), None)
            if found is not None and scheme != "text":
                return f"write {scheme}:{Path(name) / found.parent.relative_to(folder)}"
    return usual


def _select_parts(loaded: datasets.DatasetDict, name: str) -> dict[Part | None, datasets.Dataset]:
    parts = {PART_NAMES[split.lower()]: loaded[split] for split in _used_splits(loaded)}
    if "train" not in parts:
        do = "rename one: DatasetDict(train=data['NAME'], …).save_to_disk(FOLDER)"
        found = ", ".join(loaded)
        raise InputError(f"the data set {name} must have a train part", found, do, key=SOURCE_KEY)
    return {part: parts[part] for part in PARTS if part in parts}


def _used_splits(loaded: datasets.DatasetDict) -> list[str]:
    """The first split of each part: `validation` where there is a `dev` too."""
    first: dict[Part, str] = {}
    for split in loaded:
        if split.lower() in PART_NAMES:
            first.setdefault(PART_NAMES[split.lower()], split)
    return list(first.values())


def _note_left_out(loaded: datasets.Dataset | datasets.DatasetDict, name: str) -> tuple[str, ...]:
    if not isinstance(loaded, dict):
        return ()
    used = _used_splits(loaded)
    left = ", ".join(f"{split} ({len(rows):,} rows)" for split, rows in loaded.items() if split not in used)
    return (f"splits of {name} that are left out: {left}",) if left else ()


def _note_differing(tables: Mapping[Part | None, pa.Table]) -> list[str]:
    """A note of columns that some parts lack, and which are missing in their rows; the target often is."""
    names = dict.fromkeys(name for table in tables.values() for name in table.column_names)
    lacking = {
        name: [str(part) for part, table in tables.items() if name not in table.column_names]
        for name in names
    }
    return [
        f"column {name!r} is not in {' and '.join(parts)}: missing in all rows there"
        for name, parts in lacking.items()
        if parts
    ]


def _arrow_table(dataset: datasets.Dataset) -> pa.Table:
    """The memory-mapped Arrow table, with labels by their names."""
    import datasets

    if dataset._indices is not None:  # rows were selected or shuffled
        dataset = dataset.flatten_indices()
    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
    table: pa.Table = dataset.data.table
    for name, feature in dataset.features.items():
        if isinstance(feature, datasets.ClassLabel):
            at = table.column_names.index(name)
            table = table.set_column(at, name, _label_names(table[name], feature.names))
    return table


def _label_names(column: pa.ChunkedArray, names: list[str]) -> pa.ChunkedArray:
    codes = column.to_pandas().to_numpy(dtype=np.float64)
    known = np.isfinite(codes) & (codes >= 0)  # the hub's test parts have -1 for hidden labels
    return pa.chunked_array(
        [pa.array([names[int(c)] if k else None for c, k in zip(codes, known, strict=True)])]
    )
