"""Hugging Face data sets, from the hub, its local cache, or a folder written by `save_to_disk`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from trainers.data.dataset import Part
from trainers.data.raw import RawDataset
from trainers.data.sources.paths import PART_NAMES, SOURCE_KEY
from trainers.data.split import PARTS
from trainers.errors import InputError

if TYPE_CHECKING:
    import datasets

BRING = (
    "on a machine with a network run datasets.load_dataset(NAME).save_to_disk(FOLDER), bring the folder here "
    "and write hf:FOLDER"
)


def read_hub(name: str, base: Path) -> RawDataset:
    """The rows of a data set. `hf:NAME`, `hf:NAME#CONFIGURATION` or `hf:FOLDER`; no code of it is run."""
    loaded = _load_dataset(name, base)
    named = {None: loaded} if not isinstance(loaded, dict) else _select_parts(loaded, name)
    tables = {part: _arrow_table(dataset) for part, dataset in named.items()}
    joined = pa.concat_tables(tables.values(), promote_options="permissive")
    part = None
    if None not in named and len(named) > 1:
        part = np.concatenate([np.full(len(t), PARTS.index(p), np.int8) for p, t in tables.items() if p])
    return RawDataset(
        columns={column: joined[column] for column in joined.column_names},
        part=part,
        notes=_note_left_out(loaded, name),
    )


def _load_dataset(name: str, base: Path) -> datasets.Dataset | datasets.DatasetDict:
    import datasets

    datasets.disable_progress_bars()
    folder = base / Path(name).expanduser()
    try:
        if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(folder))
        if folder.exists() or name.startswith((".", "/", "~")):
            do = "write csv:, jsonl:, parquet: or images: for plain files"
            found = str(folder.absolute())
            raise InputError("hf: must name a data set or a save_to_disk folder", found, do, key=SOURCE_KEY)
        path, _, configuration = name.partition("#")
        return datasets.load_dataset(path, configuration or None)
    except InputError:
        raise
    except Exception as error:  # the hub's client raises a dozen kinds, all of them "could not be had"
        first = str(error).splitlines()[0] if str(error) else ""
        found = f"{type(error).__name__}: {first}"
        raise InputError(
            f"the data set {name} must be on the hub or in its cache", found, BRING, key=SOURCE_KEY
        ) from error


def _select_parts(loaded: datasets.DatasetDict, name: str) -> dict[Part | None, datasets.Dataset]:
    parts = {PART_NAMES[split]: loaded[split] for split in _used_splits(loaded)}
    if "train" not in parts:
        raise InputError(f"the data set {name} must have a train part", ", ".join(loaded), key=SOURCE_KEY)
    return {part: parts[part] for part in PARTS if part in parts}


def _used_splits(loaded: datasets.DatasetDict) -> list[str]:
    """The first split of each part: `validation` where there is a `dev` too."""
    first: dict[Part, str] = {}
    for split in loaded:
        if split in PART_NAMES:
            first.setdefault(PART_NAMES[split], split)
    return list(first.values())


def _note_left_out(loaded: datasets.Dataset | datasets.DatasetDict, name: str) -> tuple[str, ...]:
    if not isinstance(loaded, dict):
        return ()
    used = _used_splits(loaded)
    left = ", ".join(f"{split} ({len(rows):,} rows)" for split, rows in loaded.items() if split not in used)
    return (f"splits of {name} that are left out: {left}",) if left else ()


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
