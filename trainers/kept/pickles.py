"""Whether a file is a pickle. Nothing is loaded here."""

from __future__ import annotations

import zipfile
from pathlib import Path

PICKLED = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pth", ".pt")


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, or an archive that holds one, by its name and by its bytes."""
    if path.suffix.lower() in PICKLED:
        return True
    with path.open("rb") as file:
        head = file.read(4)
    if len(head) > 1 and head[0] == 0x80 and head[1] <= 5:  # PROTO, with which protocols from 2 on begin
        return True
    if head == b"PK\x03\x04" and path.suffix.lower() not in (".whl", ".pt2"):  # MLflow looks into pt2 itself
        return _has_pickle_bytes(path)
    return False


def _has_pickle_bytes(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(PICKLED) for name in archive.namelist())
    except (zipfile.BadZipFile, RuntimeError):  # damaged, or of a version that Python does not read
        return True
