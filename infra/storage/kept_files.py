"""What is kept of the files of a trial: a copy that no later attempt changes."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

_log = logging.getLogger(__name__)


def keep_files(source: Path, target: Path, name: str) -> None:
    """Copies a file or folder of the trial's own folder; what is not there is named in the log.

    Args:
        name: relative to the source; empty where nothing is to be kept. Links are not followed.
    """
    found = source / name
    if not name:
        return
    if not found.resolve().is_relative_to(source.resolve()) or not found.exists():
        _log.warning("keep: %s is not there: the trial made no such file in its directory", name)
        return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if found.is_dir():
        shutil.copytree(found, target / found.name, symlinks=True)
    else:
        shutil.copy2(found, target / found.name)
