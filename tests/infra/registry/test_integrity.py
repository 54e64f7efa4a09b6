"""A version against its history: all its files are sealed, whatever flavour of MLflow's it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.registry.artifacts import FetchedFiles
from infra.registry.chain import Chain
from infra.registry.integrity import hash_files, version_mismatch
from infra.registry.store import ModelVersion
from tests.infra.registry.test_records import entry


def foreign_files(folder: Path) -> FetchedFiles:
    """A model of another flavour than ours."""
    (folder / "parts").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {onnx: {}}\n")
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "parts" / "one").write_bytes(b"1")
    return FetchedFiles(folder=folder, bundle=None, manifest_sha256=None)


def swap(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"WEIGHTS")


def rename(folder: Path) -> None:
    (folder / "parts" / "one").rename(folder / "parts" / "two")


def add(folder: Path) -> None:
    (folder / "code.py").write_text("")


def remove(folder: Path) -> None:
    (folder / "parts" / "one").unlink()


@pytest.mark.parametrize("tamper", [swap, rename, add, remove])
def test_changed_file_of_another_flavours_model_is_found(
    tmp_path: Path, tamper: Callable[[Path], None]
) -> None:
    files = foreign_files(tmp_path / "model")
    first = entry(Chain(model="m"), "promotion", target=1, facts={"files": hash_files(files)})
    chain = Chain(model="m", texts=(first.text,))
    version = ModelVersion(
        model="m", number=1, source="models:/m-1", manifest_sha256=None, run_id=None, tags={}
    )
    (tmp_path / "model" / "README.md").write_text("its card\n")
    assert version_mismatch(chain, version, files) == ""
    tamper(tmp_path / "model")
    assert version_mismatch(chain, version, files) == "m/1: its files are not those of entry 1"
