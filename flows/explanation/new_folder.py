"""A folder that a command fills aside, and that then stands at its place, whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.errors import StorageUnavailable, WrongInput
from infra.storage.sealed_folders import ASIDE, sweep_aside
from trainers.storage.machine import machine_id


@contextmanager
def open_new_folder(place: Path, *, what: str, files: Sequence[str], overwrite: bool) -> Iterator[Path]:
    """The folder to write into.

    Args:
        what: is written, for errors: `explanation`.
        files: that tell such a folder of before, which `overwrite` replaces.

    Raises:
        WrongInput: something is there, or the folder above is not.
        StorageUnavailable: it cannot be written.
    """
    whole = place.absolute()
    if whole.exists() and not (overwrite and all((whole / name).is_file() for name in files)):
        do = "name another, or give --overwrite" if (whole / files[0]).is_file() else "name another"
        raise WrongInput(f"--out must be a new folder, or an {what} of before", f"{place} is there", do)
    if not whole.parent.is_dir():
        raise WrongInput("the folder of --out must be there", f"{whole.parent} is not")
    with suppress(StorageUnavailable):  # what a command that was killed left there, rows of its data
        sweep_aside(whole.parent)
    aside = whole.with_name(f"{ASIDE}{machine_id()}-{os.getpid()}-{uuid.uuid4().hex}")
    try:
        aside.mkdir()
        yield aside
        shutil.rmtree(whole, ignore_errors=True)
        aside.replace(whole)
    except OSError as error:
        found = f"{place}: {error.strerror}"
        raise StorageUnavailable(f"the {what} must be written", found, "name another --out") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
