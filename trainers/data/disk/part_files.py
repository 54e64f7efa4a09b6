"""A source's files: one, or those of a folder by the part that they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

from trainers.data.dataset import Part
from trainers.data.disk.paths import PART_NAMES, SOURCE_KEY, is_aside, require_path, require_readable_name
from trainers.data.disk.unpacking import bare_name
from trainers.data.split import PARTS
from trainers.errors import InputError
from trainers.wording import count_of

MOST_COUNTED = 20_000  # files and folders, where nothing is found that can be read


def files_by_part(path: Path, endings: Sequence[str], *, packed: bool) -> dict[Part | None, list[Path]]:
    """The files to read, by the part that they are; None where the source has no parts.

    Args:
        endings: of names, in any letters.
        packed: whether the endings may be followed by those of packed files.
    """
    if require_path(path).is_file():
        return {None: [path]}
    parts: dict[Part | None, list[Path]] = {}
    for file in _list_files(path, endings, packed):
        stem = file.name.split(".")[0].split("-")[0].lower()  # train-00000-of-00002.parquet is train
        parts.setdefault(PART_NAMES.get(stem), []).append(file)
    for name in PARTS:  # train/0.parquet, train/1.parquet; train.parquet/part-00000.parquet, as Spark writes
        folders = [
            folder
            for folder in path.iterdir()
            if folder.is_dir() and PART_NAMES.get(_without_ending(folder.name.lower(), endings)) == name
        ]
        if folders and name in parts:
            both = f"{parts[name][0].name} and the folder {folders[0].name}"
            if any(_list_files(folder, endings, packed) for folder in folders):
                do = "take one of them away, or put the file into the folder"
                raise InputError("a part must be files or a folder", both, do, key=SOURCE_KEY)
        inner = [file for folder in sorted(folders) for file in _list_files(folder, endings, packed)]
        if inner:
            parts.setdefault(name, []).extend(inner)
    return _check_parts(parts, path, endings)


def _list_files(folder: Path, endings: Sequence[str], packed: bool) -> list[Path]:
    """The folder's own files that end so."""
    shown = [entry for entry in sorted(folder.iterdir()) if not is_aside(entry.name)]
    files = [entry for entry in shown if _ends(entry.name, endings, packed) and not entry.is_dir()]
    files = [file for file in files if file not in submissions(folder)]
    for file in files:
        require_readable_name(file)
        if not file.is_file():
            found = f"{file.absolute()} is a link that leads to nothing, or no file"
            do = "replace it or take it away"
            raise InputError("every file of the data must be readable", found, do, key=SOURCE_KEY)
    names = Counter(bare_name(file.name) for file in files)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        both = " and ".join(file.name for file in files if bare_name(file.name) == twice)
        do = "take one of them away: as they stand their rows would be read twice"
        raise InputError("each file must stand in the folder once", both, do, key=SOURCE_KEY)
    return files


def _ends(name: str, endings: Sequence[str], packed: bool) -> bool:
    return (bare_name(name) if packed else name.lower()).endswith(tuple(endings))


def _without_ending(name: str, endings: Sequence[str]) -> str:
    return name.removesuffix(next((ending for ending in endings if name.endswith(ending)), ""))


def submissions(path: Path) -> list[Path]:
    """Files of a competition's folder that show how answers are handed in, and are no data."""
    return sorted(path.glob("*submission*")) if path.is_dir() else []


def note_joined(found: Mapping[Part | None, Sequence[Path]]) -> list[str]:
    """A note of several files that are one table, some of which may be meant as parts."""
    joined = found.get(None, ())
    if len(joined) < 2:
        return []
    listed, more = ", ".join(file.name for file in joined[:3]), ", …" if len(joined) > 3 else ""
    words = {word for file in joined for word in re.split(r"[^a-z]+", file.name.lower())}
    meant = "; names that begin with train and test make them parts" if {"train", "test"} <= words else ""
    return [f"{len(joined):,} files are read as one table: {listed}{more}{meant}"]


def note_deeper(path: Path, endings: Sequence[str], read: Sequence[Path]) -> list[str]:
    """A note of files below a folder that end as its own do, and are in no part's folder."""
    if not path.is_dir():
        return []
    entries = islice(chain(path.glob("*/*"), path.glob("*/*/*")), MOST_COUNTED)
    known = {*read}
    found = [file for file in entries if file.name.endswith(tuple(endings)) and file not in known]
    names = [file.relative_to(path) for file in found if file.is_file()]
    left = sorted(name.as_posix() for name in names if not any(map(is_aside, name.parts)))
    return [f"{count_of(len(left), 'file')} in folders below not read: {', '.join(left[:3])}"] if left else []


def count_endings(path: Path) -> str:
    """What is there instead of what was looked for, in words that follow the path."""
    files = (file for file in islice(path.rglob("*"), MOST_COUNTED) if file.suffix and file.is_file())
    found = Counter(file.suffix.lower() for file in files)
    said = ", ".join(f"{count:,} {ending}" for ending, count in found.most_common(5))
    return f" with files {said}" if said else ""


def _advise_on_folders(path: Path, endings: Sequence[str]) -> str:
    """What to do where the files stand deeper, as one folder a class, a value or as another archive's."""
    if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return f"write hf:{path.name}, if save_to_disk of datasets has written it"
    folders = sorted(file.parent.name for ending in endings for file in path.glob(f"*/*{ending}"))
    several = [name for name in dict.fromkeys(folders) if not is_aside(name)]
    if several and all("=" in name for name in several):
        made = f"pandas.read_parquet('{path.name}').to_parquet('{path.name}.parquet')"
        if ".parquet" not in endings:
            made = f"pyarrow.dataset.dataset('{path.name}', 'csv', partitioning='hive').to_table()"
        return f"folders named by values ({several[0]}) are a column, no parts; make one file: {made}"
    if ".txt" in endings and (advised := _advise_on_texts(path, several)):
        return advised
    if several:
        return f"name the folder that holds them: {', '.join(several[:3])}"
    return "name a file, or a folder with files that end so"


def _advise_on_texts(path: Path, folders: Sequence[str]) -> str:
    """How texts of one folder a class, and maybe a part, are made rows; nothing where they are not so."""
    in_parts = {file.parent.parent.name for file in path.glob("*/*/*.txt")} & PART_NAMES.keys()
    classes = folders or sorted({file.parent.name for file in path.glob("*/*/*.txt")} if in_parts else ())
    if len(classes) < 2:
        return ""
    listed, of_part = ", ".join(classes[:3]), f"{sorted(in_parts)[0]}/" if in_parts else ""
    name = f"{sorted(in_parts)[0]}.csv" if in_parts else "texts.csv"
    files = f"Path('FOLDER').glob('{of_part}*/*.txt')"
    rows = f"[{{'text': f.read_text(), 'label': f.parent.name}} for f in {files}]"
    made = f"from pathlib import Path; import pandas; pandas.DataFrame({rows}).to_csv('{name}')"
    also = ", and so for each part" if in_parts else ""
    return f"texts of one folder a class ({listed})? make them rows: {made}{also}"


def _check_parts(
    parts: dict[Part | None, list[Path]], path: Path, endings: Sequence[str]
) -> dict[Part | None, list[Path]]:
    if not parts:
        must = f"the folder must hold {' or '.join(endings)} files"
        found = f"none in {path.absolute()}{count_endings(path)}"
        raise InputError(must, found, _advise_on_folders(path, endings), key=SOURCE_KEY)
    if None in parts and len(parts) == 1:
        return parts
    if None in parts:
        odd = ", ".join(file.name for file in parts[None][:5])
        do = "move them away, or name them train, validation or test"
        raise InputError("a folder with parts must hold nothing but parts", odd, do, key=SOURCE_KEY)
    if "train" not in parts:
        found = ", ".join(str(part) for part in parts)
        raise InputError("a source with parts must have train among them", found, key=SOURCE_KEY)
    return {part: parts[part] for part in PARTS if part in parts}
