"""MLflow stores with nothing in them: making one takes seconds, copying it none."""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from infra.home import Home
from infra.tracking.client import prepare_tracking


@cache
def empty_store_file() -> Path:
    """The file of an empty store, which this process makes once."""
    folder = Path(tempfile.mkdtemp(prefix="mlflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = Home(folder)
    prepare_tracking(home.mlflow_uri, home)
    copy_store(home.path / "mlflow.db", home.path / "whole.db")
    return home.path / "whole.db"


def prepare_empty_store(home: Home) -> None:
    """Gives a new home its embedded store."""
    home.path.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(empty_store_file(), home.path / "mlflow.db")
    prepare_tracking(home.mlflow_uri, home)


def copy_store(source: Path, target: Path) -> None:
    """Makes one database the same as another, with what is still in the write-ahead log."""
    with closing(sqlite3.connect(source)) as made, closing(sqlite3.connect(target)) as copied:
        made.backup(copied)


def copy_home(source: Path, target: Path) -> None:
    """Makes one home the same as another, databases with what is still in their logs."""
    shutil.rmtree(target, ignore_errors=True)
    fill_home(source, target)


def fill_home(source: Path, target: Path) -> None:
    """Gives an empty home what another has; its databases stay the files that they are, which may be open."""
    ignored = shutil.ignore_patterns("*.db", "*.db-*")
    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
    for path in source.glob("*.db"):
        copy_store(path, target / path.name)
