"""Where a source is, and what a file or a folder must be to be read at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from trainers.data.dataset import Part
from trainers.errors import InputError
from trainers.user_paths import expand_user

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
_LOCK = "~$"  # what Excel and Word put beside a file that is open


def locate_source(base: Path, rest: str) -> Path:
    """The path that a source names, from the sweep file's folder.

    Raises:
        InputError: it begins with the `~` of a user that this machine does not know.
    """
    return base / expand_user(rest, key=SOURCE_KEY)


def require_path(path: Path) -> Path:
    """The path of a file or a folder.

    Raises:
        InputError: there is nothing at the path, or something that does not end; says where it looked and
            what is near.
    """
    require_readable_name(path)
    try:
        mode = path.stat().st_mode if path.exists() else None
    except OSError as error:  # a name that no file system takes
        raise InputError("data must be at a path", f"{error.strerror}: {path}", key=SOURCE_KEY) from error
    if mode is None:
        raise _nothing_at(path)
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        do = "write it into a file first: data are read more than once"
        raise InputError(
            "data must be a file or a folder", f"a pipe or a device at {path.absolute()}", do, key=SOURCE_KEY
        )
    return path


def require_readable_name(path: Path) -> None:
    """That a name is text: Linux takes any bytes, and what reads files here does not.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        do = "rename it; from Windows or an old archive: convmv -f cp1252 -t utf8 --notest NAME"
        found = ascii(os.fsencode(path))[2:-1]
        raise InputError("names of files and folders must be UTF-8", found, do, key=SOURCE_KEY) from error


def _nothing_at(path: Path) -> InputError:
    from trainers.nearest import advice

    must, parent = "data must be at the path that source names", path.parent
    if path.is_symlink():
        found = f"a link at {path.absolute()} that leads to nothing: {os.readlink(path)}"
        return InputError(must, found, "let the link lead to a file or a folder", key=SOURCE_KEY)
    near = [entry.name for entry in sorted(parent.iterdir())[:500]] if parent.is_dir() else []
    folder = parent.absolute()
    do = advice(path.name, near, f"{folder} holds")
    if not near:
        do = f"{folder} is empty, or not there either"
    return InputError(must, f"nothing at {path.absolute()}", do, key=SOURCE_KEY)


def is_aside(name: str) -> bool:
    """Whether a system or a program put the file or folder there: hidden ones, what macOS adds to an archive,
    the locks of open workbooks."""
    return name.startswith((".", "__MACOSX", _LOCK)) or name.lower() in ("thumbs.db", "desktop.ini")


def content_stamp(found: os.stat_result) -> list[int]:
    """What changes with a file's content. Its time of change may be set by whoever writes it, as archives and
    copies do, so that two versions of one size have the same; the file system's own time may not."""
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def total_bytes(paths: Sequence[Path]) -> int:
    """Bytes of all files together.

    Raises:
        InputError: every file is empty.
    """
    size = sum(path.stat().st_size for path in paths)
    if not size:
        do = "fetch or write it again"
        raise InputError("data must have rows", f"empty: {paths[0].absolute()}", do, key=SOURCE_KEY)
    return size
