"""A folder of images or of clips: one folder a class, with or without a level of parts above."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainers.data import hashing
from trainers.data.dataset import FileKind, Part
from trainers.data.disk.part_files import count_endings
from trainers.data.disk.paths import (
    PART_NAMES,
    SOURCE_KEY,
    content_stamp,
    is_aside,
    require_path,
    require_readable_name,
)
from trainers.data.mixing import Hashes
from trainers.data.raw import RawColumn, RawDataset, RawFiles, arrow_column
from trainers.data.split import PARTS
from trainers.errors import InputError
from trainers.storage.shared_folders import shared_folder
from trainers.wording import count_of

ENDINGS: Mapping[FileKind, tuple[str, ...]] = {
    "image": (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"),
    "audio": (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
}
UNPACK = "name the folder that holds one folder a class; an archive must be unpacked"
SEVERAL: Mapping[FileKind, str] = {"image": "images", "audio": "clips"}


def read_class_folders(path: Path, cache: Path, kind: FileKind) -> RawDataset:
    """Paths of the files and their classes, of clips also their names and folders. Contents are hashed, and
    decoded only when a family asks.
    """
    endings, several = ENDINGS[kind], SEVERAL[kind]
    _require_folder(path, kind)
    path, wrapped = _unwrap(path, endings)
    files = _find_files(path)
    found = [entry for entry in files if entry[2].lower().endswith(endings)]
    for _, _, file in found:
        require_readable_name(Path(file))
    if not found:
        do = f"put {several} ({', '.join(endings)}) into one folder a class; archives must be unpacked"
        must = f"a folder of {several} must hold one folder a class"
        raise InputError(must, f"{path.absolute()}{count_endings(path)}", do, key=SOURCE_KEY)
    others = [file for _, _, file in files if not file.lower().endswith(endings)]
    notes = (*wrapped, *_note_others(others, several))
    notes += _note_links(sorted({os.path.dirname(file) for _, _, file in files}))
    notes += (*_note_empty(path, {label for _, label, _ in found}, several), *_note_loose(path, kind))
    part = None
    if all(name is not None for name, _, _ in found):
        part = np.array([PARTS.index(name) for name, _, _ in found if name], np.int8)
    labels = pa.chunked_array([pa.array([label for _, label, _ in found])])
    named = [file for _, _, file in found]
    column = RawFiles(values=named, hashes=_hash_files(named, path, cache), kind=kind)
    places = _places(path, found) if kind == "audio" else {}
    return RawDataset(
        columns={kind: column, "label": labels, **places},
        part=part,
        kind=kind,
        task="classification",
        target="label",
        notes=notes,
    )


def _require_folder(path: Path, kind: FileKind) -> None:
    if not require_path(path).is_dir():
        scheme = "audio" if kind == "audio" else "images"
        raise InputError(
            f"{scheme}: must name a folder", f"a file at {path.absolute()}", UNPACK, key=SOURCE_KEY
        )


def _places(path: Path, files: Sequence[tuple[Part | None, str, str]]) -> dict[str, RawColumn]:
    """Each file's name without its ending and the folders between it and its class's: speakers, say, by which
    clips may be split or judged."""
    below = [Path(file).relative_to(path).parts[1 if part is None else 2 :] for part, _, file in files]
    return {
        "file": arrow_column([Path(parts[-1]).stem for parts in below]),
        "folder": arrow_column(["/".join(parts[:-1]) or None for parts in below]),
    }


def _unwrap(path: Path, endings: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """The folder of the classes: an archive often holds one folder around them, or one within another."""
    at, folders = path, _list_folders(path)
    while len(folders) == 1 and not any(file.lower().endswith(endings) for file in os.listdir(folders[0])):
        at, folders = folders[0], _list_folders(folders[0])
        if sum(bool(_list_files(folder)) for folder in folders) > 1:
            name = at.relative_to(path).as_posix()
            return at, (f"classes are the folders in {name}, the only one there",)
    return path, ()


def _note_empty(path: Path, labels: Set[str], several: str) -> tuple[str, ...]:
    """A note of folders that would be classes, and hold no such files."""
    if _part_folders(path):
        return ()
    classes = _list_folders(path)
    empty = [folder.name for folder in classes if folder.name not in labels]
    return (f"folders without {several} are no classes: {', '.join(empty[:5])}",) if empty else ()


def _note_loose(path: Path, kind: FileKind) -> tuple[str, ...]:
    """A note of such files that lie in no class's folder, and of folders beside the parts."""
    parts = _part_folders(path)
    beside = [folder.name for folder in _list_folders(path) if folder not in parts] if parts else []
    notes = [f"folders beside the parts are left out: {', '.join(beside[:5])}"] if beside else []
    for folder in (path, *parts):
        loose = [name for name in sorted(os.listdir(folder)) if name.lower().endswith(ENDINGS[kind])]
        if loose:
            where = "beside the classes" if folder == path else f"of {folder.name} in no class's folder"
            said = f"{len(loose):,} {SEVERAL[kind]} {where} are left out, for `velodrome predict` to answer"
            notes.append(said)
    return tuple(notes)


def _note_links(folders: Sequence[str]) -> tuple[str, ...]:
    """A note of folders within the classes that links lead to, which are not gone into."""
    linked = [
        entry.path
        for folder in folders
        for entry in os.scandir(folder)
        if entry.is_symlink() and entry.is_dir()
    ]
    return (f"linked folders within classes are not read: {', '.join(linked[:3])}",) if linked else ()


def _note_others(files: list[str], several: str) -> tuple[str, ...]:
    """A note of what lies among them and is not read."""
    if not files:
        return ()
    counts = Counter(os.path.splitext(file)[1].lower() or "no ending" for file in files)
    listed = ", ".join(f"{ending} {count:,}" for ending, count in counts.most_common(5))
    left = count_of(len(files), "file is left out, for it does", "files are left out, for they do")
    return (f"{left} not end as {several} do: {listed}",)


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
    shown = sorted(entry for entry in path.iterdir() if not is_aside(entry.name))
    if lost := next((entry for entry in shown if entry.is_symlink() and not entry.exists()), None):
        found, do = (
            f"{lost} to {os.readlink(lost)}, where nothing is",
            "let it lead to a folder, or take it away",
        )
        raise InputError("a link among the classes must lead to one", found, do, key=SOURCE_KEY)
    folders, whole = [entry for entry in shown if entry.is_dir()], path.resolve()
    for folder in folders:
        if folder.is_symlink() and whole.is_relative_to(folder.resolve()):
            must, do = "a link must not lead to the folder that it lies in", "take it away"
            raise InputError(must, f"{folder} to {folder.resolve()}", do, key=SOURCE_KEY)
    return folders


def _list_files(folder: Path) -> list[str]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_aside(name))
        files += [os.path.join(parent, name) for name in sorted(names) if not is_aside(name)]
    return files


def _hash_files(files: list[str], path: Path, cache: Path) -> Hashes:
    """Content hashes, kept for as long as no file changes."""
    stats = [_stat_file(file) for file in files]
    facts = "\n".join(f"{file}\t{content_stamp(found)}" for file, found in zip(files, stats, strict=True))
    digest = hashlib.sha256(f"{path.resolve()}\n{facts}".encode()).hexdigest()[:24]
    folder = shared_folder(
        cache / "sources" / digest, lambda aside: np.save(aside / "hashes.npy", hashing.hash_files(files))
    )
    hashes: Hashes = np.load(folder / "hashes.npy", allow_pickle=False)
    return hashes


def _stat_file(file: str) -> os.stat_result:
    must, do = (
        "every file of the data must be readable",
        "replace it or take it away; a link must lead to a file",
    )
    try:
        found = os.stat(file)
    except OSError as error:
        raise InputError(must, f"{file}: {error.strerror}", do, key=SOURCE_KEY) from error
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for without end
        raise InputError(must, f"{file}: a pipe or a device", do, key=SOURCE_KEY)
    return found
