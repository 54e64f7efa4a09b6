"""What of a machine travels to the cluster with a sweep: its file, and what the file names."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.config.code_root import code_root
from flows.config.loading import SweepFile
from infra.errors import WrongInput
from infra.home import Home
from infra.packing import excluded_files
from infra.secrets import holds_secret
from trainers.types import Json

ADDRESSES = (("ledger",), ("storage",), ("tracking", "uri"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A folder that travels.

    Attributes:
        file: the sweep file's path in it.
        names: what of it travels, for people: names of files and folders; empty where all does.
    """

    folder: Path
    file: str
    excludes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@contextmanager
def pack_sweep(file: SweepFile, home: Home) -> Iterator[Package]:
    """The folder that travels: with people's own code the one of the code; else one with the sweep file and
    the files beside it that it names.
    """
    _refuse_secrets(file)
    if any(":" in reference for reference in file.sweep.families):
        yield _code_package(file, home)
        return
    named = _named_files(file)
    with tempfile.TemporaryDirectory(prefix="velodrome-job-") as made:
        folder = Path(made)
        for path in (file.path.resolve(), *named):
            target = folder / path.relative_to(file.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True)
            else:
                shutil.copy2(path, target)
        names = tuple(str(path.relative_to(file.folder)) for path in named)
        yield Package(folder=folder, file=file.path.name, names=(file.path.name, *names))


def _code_package(file: SweepFile, home: Home) -> Package:
    root, path = code_root(file), file.path.resolve()
    written = file.sweep.code is not None and file.sweep.code.root is not None
    if written and not path.is_relative_to(root) and root.is_relative_to(file.folder):
        root = file.folder
    if not path.is_relative_to(root):
        raise WrongInput(
            "the sweep file must lie in the folder of the code, which travels",
            f"{path} is not in {root}",
            "submit it from a folder that holds both, or name that folder as code.root in the file",
        )
    name = str(path.relative_to(root))
    return Package(folder=root, file=name, excludes=tuple(excluded_files(root, home)))


def _refuse_secrets(file: SweepFile) -> None:
    """What travels lies in the cluster's memory and on each node's disk, for whoever may look there."""
    for key in ADDRESSES:
        value = file.written.value_at(key)
        if isinstance(value, str) and holds_secret(value):
            raise file.written.error_at(
                key,
                "hold no secret in a file that travels to a cluster",
                "one is written there",
                "write ${NAME} in its place, and set NAME, or NAME_FILE with the path of a file, in the"
                " environment of the cluster's nodes",
            )


def _named_files(file: SweepFile) -> list[Path]:
    """Files and folders beside the sweep file that its data, families and spaces name, or not far below."""
    found: dict[Path, None] = {}
    for value in _strings([file.data, file.written.value_at(("families",))]):
        for word in dict.fromkeys((value, value.partition(":")[2])):
            path = _file_named(file, word)
            if path is not None:
                found[path] = None
    return list(found)


def _file_named(file: SweepFile, word: str) -> Path | None:
    if not word or "\0" in word or Path(word).is_absolute():
        return None
    path = (file.folder / word).resolve()
    try:
        if not path.exists() or path == file.folder:
            return None
    except OSError:  # too long for a name
        return None
    if not path.is_relative_to(file.folder):
        raise WrongInput(
            "what a sweep file names must lie below its folder, which travels",
            repr(word),
            "put it beside the file, or name it by an absolute path that every node of the cluster has",
        )
    return path


def _strings(values: Sequence[Json]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from _strings(list(value.values()))
        elif isinstance(value, (list, tuple)):
            yield from _strings(value)
