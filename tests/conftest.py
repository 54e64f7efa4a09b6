"""What tests of several packages share."""

from __future__ import annotations

import gc
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from infra.home import Home

# no test fails for a busy machine; pytest-timeout ends what hangs
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def process_without_a_store() -> Iterator[None]:
    """A store that a test leaves MLflow with would take what the tests after it log."""
    yield
    service: Any = sys.modules.get("mlflow.tracking._tracking_service.utils")
    left = service._tracking_uri if service else None
    if left is not None:
        service._tracking_uri = None
    assert left is None, f"MLflow's store is still {left}"


@pytest.fixture(autouse=True, scope="module")
def settled_heap() -> None:
    """What is there before a file's tests stays, as in a lane: a collection of garbage, as each attempt ends
    with, would go through a million imported objects, at half a second of processor time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an MLflow store with nothing in it: making one takes seconds, copying it none."""
    from infra.tracking.client import prepare_tracking

    home = Home(tmp_path_factory.mktemp("empty"))
    prepare_tracking(home.mlflow_uri, home)
    whole = home.path / "whole.db"
    copy_store(home.path / "mlflow.db", whole)
    return whole


def copy_store(source: Path, target: Path) -> None:
    """Makes one database the same as another, with what is still in the write-ahead log."""
    with closing(sqlite3.connect(source)) as made, closing(sqlite3.connect(target)) as copied:
        made.backup(copied)
