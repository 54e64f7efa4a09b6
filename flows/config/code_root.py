"""People's own code: made importable here as it will be on the cluster."""

from __future__ import annotations

import sys
from pathlib import Path

from flows.config.family_entry import FamilyEntry
from flows.config.loading import SweepFile

OURS = ("velodrome", "flows", "infra", "trainers", "search_spaces")


def make_importable(file: SweepFile) -> None:
    """Puts the folder of people's own code (`code.root`, else the current one) first on the import path.

    Nothing is done for a file that names built-in families alone.

    Raises:
        WrongInput: the folder does not exist, or holds a package with the name of one of ours, which Ray
            would import instead on the cluster.
    """
    if not any(":" in name or _names_code(entry) for name, entry in file.sweep.families.items()):
        return
    root = code_root(file)
    key = ("code", "root")
    if not root.is_dir():
        raise file.written.error_at(key, "be a folder", repr(str(root)), "correct the path")
    home = Path(__file__).resolve().parents[2]
    taken = [name for name in OURS if (root / name).is_dir() or (root / f"{name}.py").is_file()]
    if taken and root != home:
        found = f"{', '.join(taken)} in {root}"
        raise file.written.error_at(
            key, "hold no folder with the name of a package of ours", found, "rename it"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def _names_code(entry: FamilyEntry | None) -> bool:
    """Whether a command's model is answered by people's own function."""
    return entry is not None and entry.predict is not None


def code_root(file: SweepFile) -> Path:
    """The folder that travels to the cluster; `code.root` starts from the sweep file's folder."""
    written = file.sweep.code.root if file.sweep.code is not None else None
    return (file.folder / written).resolve() if written is not None else Path.cwd().resolve()
