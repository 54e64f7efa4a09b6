"""The public names, and the loader that registered models name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import velodrome
from flows.commands import PLACES
from tests.trainers.bundle.test_bundle import linear_bundle
from trainers.errors import InputError
from velodrome.model import _load_pyfunc

ROOT = Path(__file__).parents[2]


def test_velodrome_import_loads_no_heavy_library() -> None:
    heavy = ("torch", "ray", "mlflow", "optuna", "pandas", "pydantic")
    code = f"import sys, velodrome; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "[]", done.stderr


def test_velodrome_exports_the_family_class() -> None:
    from trainers.family import Family

    assert velodrome.Family is Family
    assert "Family" in dir(velodrome)
    with pytest.raises(AttributeError, match="sweeep"):
        _ = velodrome.sweeep


def test_velodrome_public_names_are_those_of_the_table_of_commands() -> None:
    """And each is what the command line has; a type checker sees them all from the same modules."""
    from flows.cli.app import SECTIONS

    typed = next(
        node for node in ast.parse(Path(velodrome.__file__).read_text()).body if isinstance(node, ast.If)
    )
    seen = {node.names[0].name: node.module for node in typed.body if isinstance(node, ast.ImportFrom)}
    assert seen == velodrome._PLACES
    assert set(velodrome.__all__) == {*seen, "__version__"}
    assert [function.__name__ for section in SECTIONS.values() for function in section] == list(PLACES)
    assert seen.keys() - PLACES.keys() == {
        "Family", "Options", "try_out", "choice", "integers", "loguniform", "uniform",
    }  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_velodrome_command_is_a_function_of_its_name(name: str) -> None:
    assert getattr(velodrome, name).__name__ == name


def test_velodrome_version_is_the_projects() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert velodrome.__version__ == project["version"]


def test_velodrome_loader_gives_what_mlflow_wraps(tmp_path: Path) -> None:
    linear_bundle(tmp_path / "b")
    model = _load_pyfunc(str(tmp_path / "b"), {"device": "cpu", "of_mlflow": 1})
    rows = pd.DataFrame({"a": [2.0], "b": [1.0]})
    assert model.predict(rows)["prediction"].tolist() == [13.0]
    assert model.predict(rows, params={"batch_size": 1})["prediction"].tolist() == [13.0]
    with pytest.raises(InputError):
        _load_pyfunc(str(tmp_path / "b"), {"manifest_sha256": "0" * 64})
