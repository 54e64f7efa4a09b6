"""What tests of several packages share."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings

# no test fails for a busy machine; pytest-timeout ends what hangs
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Importing makes no garbage, and looking for some is a tenth of what collecting tests takes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


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
def empty_store() -> Path:
    """The file of an MLflow store with nothing in it."""
    from tests.tracking_stores import empty_store_file

    return empty_store_file()


@pytest.fixture(autouse=True, scope="session")
def library_parsed_once() -> Iterator[None]:
    """`builtin:docstrings` is parsed anew in each home: more than a second of processor time in each."""
    from trainers.data.sources import docstrings

    parse = docstrings._parse_library
    with patch.object(docstrings, "_parse_library", functools.cache(lambda place: tuple(parse(place)))):
        yield
