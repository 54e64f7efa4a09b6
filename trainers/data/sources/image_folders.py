"""A folder of images: one folder a class, with or without a level of parts above."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Set
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainers.data import hashing
from trainers.data.dataset import Part
from trainers.data.mixing import Hashes
from trainers.data.raw import RawDataset, RawImages
from trainers.data.sources.paths import PART_NAMES, SOURCE_KEY, require_path
from trainers.data.split import PARTS
from trainers.errors import InputError
from trainers.storage.shared_folders import shared_folder

ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def read_images(path: Path, cache: Path) -> RawDataset:
    """Paths of the images and their classes. Contents are hashed, and decoded only when a family asks.

    Raises:
        InputError: no folder, no classes or no images there.
    """
    if not require_path(path).is_dir():
        raise InputError("images: must name a folder", f"a file at {path.absolute()}", key=SOURCE_KEY)
    path, wrapped = _unwrap(path)
    files = _find_files(path)
    found = [entry for entry in files if entry[2].lower().endswith(ENDINGS)]
    if not found:
        do = f"put images ({', '.join(ENDINGS[:4])}, …) into one folder a class"
        raise InputError(
            "a folder of images must hold one folder a class", f"{path.absolute()}", do, key=SOURCE_KEY
        )
    notes = (*wrapped, *_note_others([file for _, _, file in files if not file.lower().endswith(ENDINGS)]))
    notes += (*_note_empty(path, {label for _, label, _ in found}), *_note_loose(path))
    part = None
    if all(name is not None for name, _, _ in found):
        part = np.array([PARTS.index(name) for name, _, _ in found if name], np.int8)
    labels = pa.chunked_array([pa.array([label for _, label, _ in found])])
    images = [file for _, _, file in found]
    column = RawImages(values=images, hashes=_hash_images(images, path, cache))
    return RawDataset(
        columns={"image": column, "label": labels},
        part=part,
        kind="image",
        task="classification",
        target="label",
        notes=notes,
    )


def _unwrap(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder of the classes: an archive often holds one folder around them."""
    folders = _list_folders(path)
    if len(folders) != 1 or any(file.lower().endswith(ENDINGS) for file in os.listdir(folders[0])):
        return path, ()
    inner = [folder for folder in _list_folders(folders[0]) if _list_files(folder)]
    if len(inner) < 2:
        return path, ()
    return folders[0], (f"classes are the folders in {folders[0].name}, the only one there",)


def _note_empty(path: Path, labels: Set[str]) -> tuple[str, ...]:
    """A note of folders that would be classes, and hold no picture."""
    if _part_folders(path):
        return ()
    classes = _list_folders(path)
    empty = [folder.name for folder in classes if folder.name not in labels]
    return (f"folders without a picture are no classes: {', '.join(empty[:5])}",) if empty else ()


def _note_loose(path: Path) -> tuple[str, ...]:
    """A note of pictures that lie in no class's folder, and of folders beside the parts."""
    parts = _part_folders(path)
    beside = [folder.name for folder in _list_folders(path) if folder not in parts] if parts else []
    notes = [f"folders beside the parts are left out: {', '.join(beside[:5])}"] if beside else []
    for folder in (path, *parts):
        loose = [name for name in sorted(os.listdir(folder)) if name.lower().endswith(ENDINGS)]
        if loose:
            where = "beside the classes" if folder == path else f"of {folder.name} in no class's folder"
            notes.append(f"{len(loose):,} pictures {where} are left out, for `velodrome predict` to answer")
    return tuple(notes)


def _note_others(files: list[str]) -> tuple[str, ...]:
    """A note of what lies among the images and is not read."""
    if not files:
        return ()
    counts = Counter(os.path.splitext(file)[1].lower() or "no ending" for file in files)
    listed = ", ".join(f"{ending} {count:,}" for ending, count in counts.most_common(5))
    return (f"{len(files):,} files are left out, for they do not end as an image does: {listed}",)


def _find_files(path: Path) -> list[tuple[Part | None, str, str]]:
    """(part, class, file) of every file in a folder of a class."""
    parts = _part_folders(path)
    if parts:
        if "train" not in parts.values():
            raise InputError(
                "a source with parts must have train among them", str(path.absolute()), key=SOURCE_KEY
            )
        ordered = sorted(parts, key=lambda folder: PARTS.index(parts[folder]))
        return [
            (parts[f], label.name, file)
            for f in ordered
            for label in _list_folders(f)
            for file in _list_files(label)
        ]
    return [(None, label.name, file) for label in _list_folders(path) for file in _list_files(label)]


def _part_folders(path: Path) -> dict[Path, Part]:
    """The folders that are parts, where there are any: all are named so, or train and another that are have
    folders of classes within, which a class called train beside others hardly has."""
    folders = _list_folders(path)
    parts = {f: PART_NAMES[f.name.lower()] for f in folders if f.name.lower() in PART_NAMES}
    nested = all(any(_list_files(label) for label in _list_folders(folder)) for folder in parts)
    several = "train" in parts.values() and len({*parts.values()}) > 1 and nested
    return parts if len(parts) == len(folders) or several else {}


def _list_folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not is_aside(entry.name))


def is_aside(name: str) -> bool:
    """Whether a system put the file or folder there: hidden ones, and what macOS adds to an archive."""
    return name.startswith((".", "__MACOSX")) or name.lower() in ("thumbs.db", "desktop.ini")


def _list_files(folder: Path) -> list[str]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_aside(name))
        files += [os.path.join(parent, name) for name in sorted(names) if not is_aside(name)]
    return files


def _hash_images(files: list[str], path: Path, cache: Path) -> Hashes:
    """Content hashes, kept for as long as no file changes its size or time."""
    stats = [_stat_file(file) for file in files]
    facts = "\n".join(f"{f}\t{s.st_size}\t{s.st_mtime_ns}" for f, s in zip(files, stats, strict=True))
    digest = hashlib.sha256(f"{path.resolve()}\n{facts}".encode()).hexdigest()[:24]
    folder = shared_folder(
        cache / "sources" / digest, lambda aside: np.save(aside / "hashes.npy", hashing.hash_files(files))
    )
    hashes: Hashes = np.load(folder / "hashes.npy", allow_pickle=False)
    return hashes


def _stat_file(file: str) -> os.stat_result:
    try:
        return os.stat(file)
    except OSError as error:
        found = f"{file}: {error.strerror}"
        do = "replace it or take it away; a link must lead to a file"
        raise InputError("every file of the data must be readable", found, do, key=SOURCE_KEY) from error
