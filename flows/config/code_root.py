"""People's own code: made importable here as it will be on the cluster."""

from __future__ import annotations

import sys
from pathlib import Path

from flows.config.family_entry import FamilyEntry
from flows.config.loading import SweepFile

OURS = ("velodrome", "flows", "infra", "trainers", "search_spaces")
# Packages that training or its tracking imports: a module of people's own would be imported in their place.
_NEEDED = (
    "torch", "numpy", "pandas", "scipy", "sklearn", "joblib", "ray", "mlflow", "optuna", "fsspec", "pyarrow",
    "PIL", "yaml", "cloudpickle", "sqlalchemy", "pydantic", "typer", "rich", "plotly", "psutil",
    "safetensors", "torchmetrics", "skops", "lightgbm", "xgboost",
)  # fmt: skip


def make_importable(file: SweepFile) -> None:
    """Puts the folder of people's own code (`code.root`, else the current one) first on the import path.

    Nothing is done for a file that names built-in families alone.

    Raises:
        WrongInput: the folder does not exist, or holds a package with the name of one of ours, which Ray
            would import instead on the cluster, or a module with the name of one that we need; or a family's
            module has the name of one of Python's own.
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
    if hiding := [name for name in _NEEDED if _find_module(root, name)]:
        found = f"{', '.join(hiding)} in {root}"
        raise file.written.error_at(
            key, "hold no module with the name of a package in use", found, "rename it"
        )
    _refuse_names_of_python(file, root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def _refuse_names_of_python(file: SweepFile, root: Path) -> None:
    """Of the two modules of that name Python imports its own, which it has imported long since."""
    for reference in file.sweep.families:
        top = reference.partition(":")[0].partition(".")[0]
        if ":" in reference and top in sys.stdlib_module_names and _find_module(root, top):
            must, do = "not have the name of a module of Python's", f"rename {top}"
            raise file.written.error_at(("families", reference), must, f"{top} in {root}", do)


def _find_module(root: Path, name: str) -> bool:
    return (root / f"{name}.py").is_file() or (root / name / "__init__.py").is_file()


def _names_code(entry: FamilyEntry | None) -> bool:
    """Whether a command's model is answered by people's own function."""
    return entry is not None and entry.predict is not None


def code_root(file: SweepFile) -> Path:
    """The folder that travels to the cluster; `code.root` starts from the sweep file's folder."""
    written = file.sweep.code.root if file.sweep.code is not None else None
    return (file.folder / written).resolve() if written is not None else Path.cwd().resolve()
