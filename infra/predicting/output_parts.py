"""Scored parts on disk: each is there whole or not at all, and at the end they become one file.

A folder `OUT.parts` holds them with a note of what they are parts of; whoever comes later carries on where it
ends, and only with the same input and the same model.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.errors import OwnedElsewhere, StorageUnavailable, WrongInput
from infra.predicting.format import InputFormat
from trainers.types import Json

IDENTITY, LOCK = "identity.json", "lock"


@dataclass(frozen=True, slots=True)
class OutputParts:
    """The parts of one output."""

    folder: Path
    ending: str

    def done_numbers(self) -> set[int]:
        """The numbers of the parts that are there."""
        return {int(path.stem) for path in self.folder.glob(f"*{self.ending}") if path.stem.isdecimal()}

    def part_path(self, number: int) -> Path:
        """Where a part is, or will be."""
        return self.folder / f"{number:08d}{self.ending}"

    def commit_part(self, number: int, write: Callable[[Path], None]) -> None:
        """Writes a part aside, has it on the disk, and gives it its name."""
        aside = self.folder / f"aside-{number:08d}{self.ending}"
        with _map_os_errors(self.folder):
            write(aside)
            _fsync_path(aside)
            aside.rename(self.part_path(number))

    def join_parts(self, kind: InputFormat, out: Path) -> None:
        """Makes the output of all parts, and removes them; until then the output is as it was before."""
        with _map_os_errors(out):
            aside = self.folder / f"joined{self.ending}"
            kind.join([self.part_path(number) for number in sorted(self.done_numbers())], aside)
            _fsync_path(aside)
            aside.replace(out)
            _fsync_path(out.parent)
            shutil.rmtree(self.folder)


@contextlib.contextmanager
def open_parts(
    out: Path, ending: str, identity: Mapping[str, Json], *, overwrite: bool
) -> Iterator[OutputParts]:
    """The parts of an output, those of an earlier, unfinished command included.

    Raises:
        WrongInput: the output is there already, or unfinished parts of something else.
        OwnedElsewhere: another process writes them now.
        StorageUnavailable: the folder cannot be written.
    """
    folder = out.with_name(f"{out.name}.parts")
    parts = OutputParts(folder, ending)
    if out.exists() and not overwrite and not parts.done_numbers():
        raise WrongInput(
            "the output must not be there yet", str(out), "name another with --out, or --overwrite"
        )
    with _map_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _lock_folder(folder):
        nothing_done = not parts.done_numbers()  # as after an input that could not be read
        _check_identity(folder, json.loads(json.dumps(identity)), overwrite or nothing_done)
        yield parts


def _check_identity(folder: Path, identity: Mapping[str, Json], overwrite: bool) -> None:
    path = folder / IDENTITY
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = None
    if known == identity:
        return
    if known is not None and not overwrite:
        differs = ", ".join(key for key in identity if known.get(key) != identity[key])
        raise WrongInput(
            "unfinished predictions are carried on with the same input and model", f"another {differs}",
            f"--overwrite begins anew; {folder} holds what was done",
        )  # fmt: skip
    with _map_os_errors(folder):
        for left in folder.iterdir():
            if left.name != LOCK:
                left.unlink()
        aside = path.with_name("aside.json")
        aside.write_text(json.dumps(identity, indent=1), encoding="utf-8")
        _fsync_path(aside)
        aside.rename(path)


@contextlib.contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OwnedElsewhere(
            "one command at a time writes an output", f"another one holds {folder}"
        ) from None
    finally:
        os.close(descriptor)


def _fsync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _map_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = f"{error.strerror} at {error.filename or path}"
        raise StorageUnavailable(
            "the output must be writable", found, "free some space, or see --out"
        ) from error
