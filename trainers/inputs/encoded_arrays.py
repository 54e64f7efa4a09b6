"""A data set encoded for one family: once a node, memory-mapped, shared by all lanes."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections import OrderedDict
from functools import cache as kept
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from trainers.code.digest import source_digest
from trainers.data.batches import GROUPS
from trainers.data.dataset import Dataset, EncodedDataset
from trainers.errors import InputError
from trainers.family import Family
from trainers.options import LATER
from trainers.storage.shared_folders import MANIFEST, WAIT_S, shared_folder
from trainers.types import Array, Params, State

LAYOUT = 1  # of the folder; a new number makes every folder anew
MOST_KEPT = 8
READ_AHEAD_BYTES = 256 << 20  # larger arrays may not fit in memory
STATE = "state.json"

_recent: OrderedDict[Path, EncodedDataset] = OrderedDict()
_recent_lock = Lock()


class FolderWriter:
    """Arrays as .npy files of a folder (`trainers.types.ArrayWriter`)."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.rows = rows
        self._open: list[np.memmap[tuple[int, ...], np.dtype[np.generic]]] = []

    def put(self, name: str, values: Array) -> None:
        """A whole array, first dimension N."""
        values = np.ascontiguousarray(values)
        self._check_array(name, values.shape, values.dtype)
        np.save(self._path(name), values, allow_pickle=False)

    def create(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """An array on disk to fill piece by piece."""
        self._check_array(name, shape, np.dtype(dtype))
        if 0 in shape:
            empty = np.zeros(shape, dtype)
            np.save(self._path(name), empty, allow_pickle=False)
            return empty
        array = np.lib.format.open_memmap(self._path(name), mode="w+", dtype=np.dtype(dtype), shape=shape)
        self._open.append(array)
        return array

    def finish(self, state: State) -> None:
        """Everything on its way to the disk, and the state beside it."""
        for array in self._open:
            array.flush()
        self._open.clear()
        (self.folder / STATE).write_text(json.dumps(state, allow_nan=False))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _check_array(self, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        if not name.isidentifier():
            raise InputError("an encoded array's name must be an identifier", repr(name))
        if not shape or shape[0] != self.rows:
            raise InputError(
                f"array {name} must have {self.rows} rows, one a row of the data", f"shape {shape}"
            )
        if dtype.hasobject:
            raise InputError(f"array {name} must hold numbers", f"{dtype}: Python objects are never stored")
        if self._path(name).exists():
            raise InputError("an array may be written once", repr(name))


def encode_dataset(
    family: Family, dataset: Dataset, params: Params, cache: Path, *, wait_s: float = WAIT_S
) -> EncodedDataset:
    """The data set as the family trains on it; `family.encode` runs once a node for the same inputs.

    The folder's name holds all that the arrays depend on: the rows and their order, the split, the family's
    code and options, those hyper-parameters that it names in `encoding`, and this package's own code. A
    folder that is damaged is made anew. A second call in one process answers from memory.

    Args:
        family: made with its options.
        dataset: from `open_dataset`.
        params: sampled or complete hyper-parameters.
        cache: a folder on this node; safe to delete between sweeps.
        wait_s: how long to wait for another process that encodes the same.
    """
    folder = cache / "encoded" / _cache_key(family, dataset, params)
    with _recent_lock:
        found = _recent.get(folder)
        if found is not None and (folder / MANIFEST).exists():
            _recent.move_to_end(folder)
            return found

    def build(aside: Path) -> None:
        writer = FolderWriter(aside, dataset.rows)
        state = _check_jsonable(family.encode(dataset, params, writer), family)
        writer.finish({**state, **_write_groups(dataset, writer)})

    result = _map_arrays(shared_folder(folder, build, wait_s=wait_s), dataset)
    with _recent_lock:
        _recent[folder] = result
        while len(_recent) > MOST_KEPT:
            _recent.popitem(last=False)
    return result


def _write_groups(dataset: Dataset, writer: FolderWriter) -> State:
    """Writes who is in which group, int64 [N, columns], and returns the groups' names for the state; nothing
    where no column is sensitive."""
    if not dataset.groups:
        return {}
    writer.put(GROUPS, np.stack([column.codes for column in dataset.groups.values()], axis=1))
    return {"groups": [[name, list(column.names)] for name, column in dataset.groups.items()]}


def clear_cache() -> None:
    """Drops what this process keeps open (a lane between sweeps, a test between cases)."""
    with _recent_lock:
        _recent.clear()


def _check_jsonable(state: State, family: Family) -> State:
    name = type(family).__name__
    try:
        plain = json.loads(json.dumps(state, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"the state that {name}.encode returns must be plain JSON", str(error)) from error
    if not isinstance(plain, dict):
        raise InputError(f"the state that {name}.encode returns must be a mapping", type(state).__name__)
    return plain


def _map_arrays(folder: Path, dataset: Dataset) -> EncodedDataset:
    arrays = {path.stem: _open_array(path) for path in sorted(folder.glob("*.npy"))}
    return EncodedDataset(
        arrays=arrays,
        state=json.loads((folder / STATE).read_text()),
        splits=dataset.splits,
        fingerprint=dataset.fingerprint,
        folder=folder,
    )


def _open_array(path: Path) -> Array:
    """Copy-on-write, so that torch takes it without a copy or a warning and lanes share its pages.

    Of a large one, rows are read as they are asked for, in any order: the kernel would read ten times as much
    around each, and throw out for it what the next batch needs.
    """
    array: Array = np.load(path, mmap_mode="c", allow_pickle=False)
    if array.nbytes > READ_AHEAD_BYTES and isinstance(array, np.memmap):
        array._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]  # numpy leaves it untyped
    return np.asarray(array)


def _cache_key(family: Family, dataset: Dataset, params: Params) -> str:
    complete = family.complete({name: params[name] for name in family.encoding if name in params})
    facts = {
        "layout": LAYOUT,
        "rows": _array_digest(dataset.row_hashes),
        "fingerprint": dataset.fingerprint,
        "kind": dataset.kind,
        "task": dataset.task,
        "columns": [(name, column.kind) for name, column in dataset.columns.items()],
        "classes": dataset.classes,
        "prepare": dict(dataset.prepare),
        "splits": {part: _array_digest(rows) for part, rows in dataset.splits.items()},
        "family": f"{type(family).__module__}:{type(family).__qualname__}",
        "code": code_digest(type(family)),
        "options": family.options.model_dump(mode="json", exclude={*LATER}),
        "preset": family.preset,
        # a pretrained model brings its own vocabulary: what it decides is no hyper-parameter any more
        "encoding": {name: complete[name] for name in family.encoding if name in complete},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _array_digest(values: Array) -> str:
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).hexdigest()


@kept
def code_digest(family: type[Family]) -> str:
    """A digest over the source of a family, of what it imports from its own folder, and of `trainers`."""
    return source_digest(family)[:24]
