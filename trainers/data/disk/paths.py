"""Where a source's files are: one file, or a folder with a file for each part."""

from __future__ import annotations

from pathlib import Path

from trainers.data.dataset import Part
from trainers.data.split import PARTS
from trainers.errors import InputError

PART_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
SOURCE_KEY = ("data", "source")
LARGE_BYTES = 256 << 20  # larger sources are streamed into memory-mapped files


def require_path(path: Path) -> Path:
    """The path.

    Raises:
        InputError: there is nothing at the path; says where it looked and what is near.
    """
    try:
        found = path.exists()
    except OSError as error:  # a name that no file system takes
        raise InputError("data must be at a path", f"{error.strerror}: {path}", key=SOURCE_KEY) from error
    if found:
        return path
    from trainers.nearest import advice

    parent = path.parent
    near = [entry.name for entry in sorted(parent.iterdir())[:500]] if parent.is_dir() else []
    folder = parent.absolute()
    do = advice(path.name, near, f"{folder} holds")
    if not near:
        do = f"{folder} is empty, or not there either"
    raise InputError(
        "data must be at the path that source names", f"nothing at {path.absolute()}", do, key=SOURCE_KEY
    )


def files_by_part(path: Path, endings: tuple[str, ...]) -> dict[Part | None, list[Path]]:
    """The files to read, by the part that they are; None where the source has no parts."""
    if require_path(path).is_file():
        return {None: [path]}
    files = sorted(file for file in path.iterdir() if file.is_file() and file.name.endswith(endings))
    files = [file for file in files if file not in submissions(path)]
    parts: dict[Part | None, list[Path]] = {}
    for file in files:
        stem = file.name.split(".")[0].split("-")[0].lower()  # train-00000-of-00002.parquet is train
        parts.setdefault(PART_NAMES.get(stem), []).append(file)
    for name in PARTS:  # train/0.parquet, train/1.parquet
        folders = [f for f in path.iterdir() if f.is_dir() and PART_NAMES.get(f.name.lower()) == name]
        inner = [file for f in folders for file in sorted(f.iterdir()) if file.name.endswith(endings)]
        if inner:
            parts.setdefault(name, []).extend(inner)
    return _check_parts(parts, path, endings)


def submissions(path: Path) -> list[Path]:
    """Files of a competition's folder that show how answers are handed in, and are no data."""
    return sorted(path.glob("*submission*")) if path.is_dir() else []


def _advise_on_folders(path: Path, endings: tuple[str, ...]) -> str:
    """What to do where the files stand one level deeper, as one folder a class or as another archive's."""
    folders = sorted(file.parent.name for ending in endings for file in path.glob(f"*/*{ending}"))
    several = list(dict.fromkeys(folders))
    if ".txt" in endings and len(several) > 1:
        listed = ", ".join(several[:3])
        rows = "[{'text': f.read_text(), 'label': f.parent.name} for f in Path('FOLDER').glob('*/*.txt')]"
        made = f"from pathlib import Path; import pandas; pandas.DataFrame({rows}).to_csv('texts.csv')"
        return f"texts of one folder a class ({listed})? make them rows: {made}"
    if several:
        return f"name the folder that holds them: {', '.join(several[:3])}"
    return "name a file, or a folder with files that end so"


def _check_parts(
    parts: dict[Part | None, list[Path]], path: Path, endings: tuple[str, ...]
) -> dict[Part | None, list[Path]]:
    if not parts:
        must = f"the folder must hold {' or '.join(endings)} files"
        raise InputError(
            must, f"none in {path.absolute()}", _advise_on_folders(path, endings), key=SOURCE_KEY
        )
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


def total_bytes(paths: list[Path]) -> int:
    """Bytes of all files together.

    Raises:
        InputError: every file is empty.
    """
    size = sum(path.stat().st_size for path in paths)
    if not size:
        do = "fetch or write it again"
        raise InputError("data must have rows", f"empty: {paths[0].absolute()}", do, key=SOURCE_KEY)
    return size
