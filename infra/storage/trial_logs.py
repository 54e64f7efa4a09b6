"""Where the driver and the attempts of a sweep write what they print, and where that is read again."""

from __future__ import annotations

from pathlib import Path

from infra.home import Home, storage_root
from infra.mirror import fetch_file
from infra.spec import SweepSpec
from infra.storage.paths import logs_folder

DRIVER_LOG = "driver.log"


def written_logs_folder(home: Home, spec: SweepSpec) -> Path:
    """Where they write: the storage that nodes share, so that it is there when a node is gone; else the
    home."""
    root = storage_root(home, spec)
    return home.logs / spec.label if root == home.storage else root / logs_folder(spec.label)


def find_log(home: Home, spec: SweepSpec, name: str) -> Path | None:
    """A log by its file's name, wherever it was written; versions before this one wrote to the home in any
    case."""
    fetch_file(written_logs_folder(home, spec) / name)
    for folder in (written_logs_folder(home, spec), home.logs / spec.label):
        if (folder / name).exists():
            return folder / name
    return None
