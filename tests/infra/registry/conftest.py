"""An embedded registry of its own for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infra.home import Home
from infra.registry.store import Registry


@pytest.fixture
def registry(tmp_path: Path, empty_store: Path) -> Registry:
    """An empty one, in a home of its own."""
    home = Home(tmp_path / "home")
    home.path.mkdir()
    shutil.copyfile(empty_store, home.path / "mlflow.db")
    return Registry.open(home.mlflow_uri, home)
