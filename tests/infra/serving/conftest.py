"""Bundles of small models, once a session, and a registry for each test that wants one."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.serving.model_schema import Field
from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle, shift_bias
from trainers.bundle.bundle import read_description


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear model of ten numbers."""
    folder = tmp_path_factory.mktemp("bundles")
    return a_bundle("linear_regression", folder / "one", folder / "cache")


@pytest.fixture(scope="session")
def other(bundle: Path) -> Path:
    """The same with other answers."""
    return shift_bias(bundle, bundle.parent / "other", 5.0)


@pytest.fixture(scope="session")
def fields(bundle: Path) -> list[Field]:
    """What it takes."""
    signature = read_description(bundle).signature
    assert signature is not None
    return [Field(name=column.name, type=column.type) for column in signature.inputs]


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> RegistryFixture:
    """A registry that nobody writes to."""
    return RegistryFixture(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def registered(tmp_path: Path) -> RegistryFixture:
    """A registry of its own."""
    return RegistryFixture(tmp_path)
