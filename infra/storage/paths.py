"""Where a trial's files stand below the storage root."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

CHECKPOINTS = "checkpoints"  # within a trial's folder
FILES, KEPT = "files", "kept"
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def sweep_folder(label: str) -> PurePosixPath:
    """A sweep's folder: `digits`, `digits@2`."""
    return PurePosixPath(label)


def trial_folder(label: str, role: str, family: str, number: int) -> PurePosixPath:
    """A trial's folder, relative to the storage root."""
    return sweep_folder(label) / family_folder(family) / f"{role}-{number:04d}"


def samples_folder(label: str, role: str, family: str, number: int) -> PurePosixPath:
    """Where a trial's pictures and texts stand, relative to the storage root."""
    return trial_folder(label, role, family, number) / "samples"


def files_folder(label: str, role: str, family: str, number: int) -> PurePosixPath:
    """Where a trial of own code writes what it likes, relative to the storage root."""
    return trial_folder(label, role, family, number) / FILES


def kept_folder(label: str, role: str, family: str, number: int) -> PurePosixPath:
    """What is kept of a command's files, relative to the storage root."""
    return trial_folder(label, role, family, number) / KEPT


def family_folder(family: str) -> str:
    """A family's name as a folder's: as it is where that is plain, else with a hash for what was replaced."""
    if _PLAIN.fullmatch(family):
        return family
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", family)[:48]
    return f"{plain}-{hashlib.sha256(family.encode()).hexdigest()[:8]}"


def logs_folder(label: str) -> PurePosixPath:
    """What attempts printed where lanes share a storage, relative to its root."""
    return sweep_folder(label) / ".logs"


def log_name(family: str, role: str, number: int, ordinal: int) -> str:
    """The file that holds what an attempt printed, within its sweep's folder of logs."""
    prefix = "" if role == "search" else f"{role}-"
    return f"{prefix}{family_folder(family)}-{number:04d}-{ordinal}.log"


def rank_log_name(name: str, rank: int) -> str:
    """The file that holds what one rank of an attempt printed, by the first one's."""
    return f"{name}.rank{rank}" if rank else name
