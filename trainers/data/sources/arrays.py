"""Arrays in one .npz file: images or rows of numbers, with labels, in one part or several."""

from __future__ import annotations

import hashlib
import shutil
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainers.data import hashing
from trainers.data.dataset import Part
from trainers.data.disk.other_kinds import ARCHIVE, tell_kind_of
from trainers.data.disk.paths import LARGE_BYTES, PART_NAMES, SOURCE_KEY, content_stamp, require_path
from trainers.data.images import FEW_GREYS
from trainers.data.raw import RawColumn, RawDataset, RawFiles, arrow_column
from trainers.data.split import PARTS
from trainers.errors import InputError
from trainers.storage.shared_folders import shared_folder
from trainers.types import Array
from trainers.wording import count_of

INPUTS = ("images", "image", "x", "X", "data", "text", "texts")
LABELS = ("labels", "label", "y", "target", "targets")


def read_npz(path: Path, cache: Path) -> RawDataset:
    """Arrays `images` or `x`, `labels` or `y`, or with parts `x_train`, `y_train`, `x_test` and so on.

    Raises:
        InputError: not an .npz file, arrays of Python objects (never unpickled), or arrays that don't fit.
    """
    if require_path(path).is_dir():
        found, do = f"a folder at {path.absolute()}", "name the file in it"
        raise InputError("npz: must name a file", found, do, key=SOURCE_KEY)
    arrays = _load_arrays(path, cache)
    inputs, labels = _group_by_part(arrays, INPUTS), _group_by_part(arrays, LABELS)
    _check_one_input(arrays)
    if not inputs:
        found = ", ".join(arrays) or "no arrays"
        do = "name them: numpy.savez(path, images=…, labels=…)"
        raise InputError(f"{path.name} must hold an array named images or x", found, do, key=SOURCE_KEY)
    if labels and inputs.keys() != labels.keys():
        found = f"inputs for {sorted(map(str, inputs))}, labels for {sorted(map(str, labels))}"
        raise InputError("every part of an npz file must have inputs and labels", found, key=SOURCE_KEY)
    ordered = [part for part in (None, *PARTS) if part in inputs]
    if None in ordered and len(ordered) > 1:
        found = ", ".join(arrays)
        raise InputError("arrays of an npz file must have parts or none", found, key=SOURCE_KEY)
    part = None
    if None not in ordered:
        part = np.concatenate([np.full(len(inputs[p]), PARTS.index(p), np.int8) for p in ordered if p])
    given = _concatenate([inputs[p] for p in ordered])
    columns = _input_columns(given)
    if labels:
        target = _concatenate([labels[p] for p in ordered])
        columns["target"] = arrow_column(_check_labels(target, len(next(iter(columns.values())))))
    notes = _describe_arrays(arrays, given)
    return RawDataset(columns=columns, part=part, target="target" if labels else None, notes=notes)


def _stem(name: str) -> str:
    """The array's name without the part that it is of."""
    if name in INPUTS or name in LABELS:
        return name
    return "_".join(word for word in name.lower().split("_") if word not in PART_NAMES)


def _check_one_input(arrays: dict[str, Array]) -> None:
    for known, what in ((INPUTS, "inputs"), (LABELS, "labels")):
        stems = sorted({_stem(name) for name in arrays} & set(known))
        if len(stems) > 1:
            must = f"an npz file must have one array of {what}, or one a part"
            do = "leave the others out, or rename them"
            raise InputError(must, ", ".join(stems), do, key=SOURCE_KEY)


def _describe_arrays(arrays: dict[str, Array], inputs: Array) -> tuple[str, ...]:
    """What of the file is not read, and what shape made images of."""
    unread = [name for name in arrays if _stem(name) not in (*INPUTS, *LABELS)]
    notes = [f"arrays that are not read: {', '.join(unread[:8])}"] if unread else []
    if inputs.ndim >= 3 and not any("image" in name.lower() for name in arrays):
        shape = " x ".join(map(str, inputs.shape[1:]))
        notes.append(f"rows of {shape} numbers are read as images; as columns: x.reshape(len(x), -1)")
    return tuple(notes)


def _concatenate(arrays: list[Array]) -> Array:
    try:
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    except ValueError as error:
        raise InputError("arrays of all parts must have one shape", str(error), key=SOURCE_KEY) from error


def _group_by_part(arrays: dict[str, Array], names: tuple[str, ...]) -> dict[Part | None, Array]:
    found: dict[Part | None, Array] = {}
    for name, values in arrays.items():
        if name in names:
            found[None] = values
            continue
        words = name.lower().split("_")
        part = next((PART_NAMES[word] for word in words if word in PART_NAMES), None)
        stem = "_".join(word for word in words if word not in PART_NAMES)
        if part is not None and stem in names:
            found[part] = values
    return found


# NumPy's own, and those of an archive that is encrypted or of a later version, or does not unpack.
_DAMAGES = (
    ValueError, OSError, EOFError, KeyError, MemoryError, RuntimeError,
    zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


def _load_arrays(path: Path, cache: Path) -> dict[str, Array]:
    try:
        if path.stat().st_size and (other := tell_kind_of(path)) and other[0] != ARCHIVE:
            raise InputError(f"{path} must be an npz file of plain arrays", *other, key=SOURCE_KEY)
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            _check_members(path, archive)
        if unpacked > LARGE_BYTES:
            _check_room(path, unpacked, cache)
            return _load_mapped(path, cache)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: _check_array(name, arrays[name]) for name in arrays.files}
    except _DAMAGES as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        do = "arrays of Python objects are never read: save numbers or fixed-width strings"
        if isinstance(error, zipfile.BadZipFile):
            do = "it is none, or cut: write it again by numpy.savez(path, x=…, y=…)"
        raise InputError(f"{path} must be an npz file of plain arrays", text, do, key=SOURCE_KEY) from error


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    """That each array stands there once, for readers take the first or the last; and that all can be read."""
    names = Counter(archive.namelist())
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        must, do = f"{path} must hold each array once", "write it again by numpy.savez"
        raise InputError(must, f"{ascii(twice)[:60]} twice", do, key=SOURCE_KEY)
    if any(entry.flag_bits & 1 for entry in archive.infolist()):
        must, do = f"{path} must be readable without a password", "write it again by numpy.savez"
        raise InputError(must, "an archive that is encrypted", do, key=SOURCE_KEY)


def _check_array(name: str, found: Array | bytes) -> Array:
    if isinstance(found, bytes):  # what NumPy gives of a member that is no array
        must, do = "an npz file must hold arrays alone", "take it out, or unpack an archive of other files"
        raise InputError(must, f"{name}, which is none", do, key=SOURCE_KEY)
    if found.dtype.kind not in "biufSUM":
        must = f"array {name!r} must hold numbers, dates or fixed-width strings"
        raise InputError(must, str(found.dtype), "save an array for each field or part of it", key=SOURCE_KEY)
    return found


def _usual_numbers(values: Array) -> Array:
    """The numbers in this machine's order of bytes and in no more than 64 bits, as Arrow takes them."""
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        return values.astype(np.float64)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _check_room(path: Path, unpacked: int, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if unpacked > free:
        found = f"{unpacked:,} bytes unpacked, {free:,} free in {cache}"
        raise InputError(f"{path} must fit on the disk", found, key=SOURCE_KEY)


def _load_mapped(path: Path, cache: Path) -> dict[str, Array]:
    """The arrays of a large file, unpacked once beside each other and memory-mapped."""

    def build(aside: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            for number, name in enumerate(archive.namelist()):
                with archive.open(name) as source, (aside / f"{number}.npy").open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)

    identity = hashlib.sha256(f"{path.resolve()} {content_stamp(path.stat())}".encode()).hexdigest()
    folder = shared_folder(cache / "sources" / identity[:24], build)
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    return {
        name: np.load(folder / f"{number}.npy", mmap_mode="r", allow_pickle=False)
        for number, name in enumerate(names)
    }


def _input_columns(inputs: Array) -> dict[str, RawColumn]:
    inputs = _usual_numbers(inputs)
    if not inputs.ndim or 0 in inputs.shape[1:]:
        shape = "x".join(map(str, inputs.shape)) or "a single value"
        must, do = "inputs of an npz file must be rows of values", "save rows: x.reshape(len(y), -1)"
        raise InputError(must, shape, do, key=SOURCE_KEY)
    if inputs.ndim == 1:
        return {"text" if inputs.dtype.kind == "U" else "x0": arrow_column(inputs)}
    if inputs.ndim == 2:
        return {f"x{i}": arrow_column(np.ascontiguousarray(inputs[:, i])) for i in range(inputs.shape[1])}
    images = as_images(inputs)
    return {"image": RawFiles(values=images, hashes=hashing.hash_arrays(images))}


def as_images(values: Array) -> npt.NDArray[np.uint8]:
    """Images as uint8 [N, H, W, C], whatever order and type they came in."""
    shape = "x".join(map(str, values.shape))
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim == 4 and values.shape[-1] not in (1, 3) and values.shape[1] in (1, 3):
        values = np.moveaxis(values, 1, -1)
    if values.ndim != 4 or values.shape[-1] not in (1, 3):
        must = "images must have the shape N x H x W, N x H x W x C or N x C x H x W with 1 or 3 channels"
        do = "leave transparency out: images[..., :3]" if values.ndim == 4 and values.shape[-1] == 4 else ""
        do = do or "save one picture a row, or features as rows of numbers: x.reshape(len(x), -1)"
        raise InputError(must, shape, do, key=SOURCE_KEY)
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise InputError(*_not_finite(values), key=SOURCE_KEY)
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < 0 or high > 255:
        do = f"scale them before they are saved: (x - {low:g}) / {high - low:g}"
        raise InputError(
            "images must hold numbers from 0 to 255, or 0 to 1", f"{low:g} to {high:g}", do, key=SOURCE_KEY
        )
    if 1 < high < FEW_GREYS and (values != np.round(values)).any():
        found, do = f"fractions from {low:g} to {high:g}", f"scale them before they are saved: x / {high:g}"
        raise InputError("images must hold numbers from 0 to 255, or 0 to 1", found, do, key=SOURCE_KEY)
    scale = 255.0 if values.dtype.kind in "fb" and high <= 1.0 else 1.0
    return np.round(values * scale).astype(np.uint8)


def _not_finite(values: Array) -> tuple[str, str, str]:
    if values.dtype.kind not in "biuf":
        return "images must hold numbers", str(values.dtype), "save them as uint8"
    wrong = ~np.isfinite(values)
    first = int(np.argwhere(wrong)[0][0])
    values_found = count_of(int(wrong.sum()), "value that is", "values that are")
    found = f"{values_found} NaN or infinite, first in image {first}"
    return "images must hold finite numbers", found, "fill them before they are saved: numpy.nan_to_num(x)"


def _check_labels(labels: Array, rows: int) -> Array:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != rows:
        found = f"{'x'.join(map(str, labels.shape)) or 'a single value'} for {rows} rows"
        do = "save numbers of classes: y.argmax(1)" if labels.shape[:1] == (rows,) else "save as many as rows"
        raise InputError("labels must be one a row", found, do, key=SOURCE_KEY)
    if labels.dtype.kind != "S":
        return _usual_numbers(labels)
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError as error:
        do = "save text: labels.astype('U'), or numpy.char.decode(labels, 'latin-1')"
        raise InputError("labels of bytes must be UTF-8", str(error), do, key=SOURCE_KEY) from error
