"""Where things live."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import WrongInput
from infra.home import Home, storage_root
from tests.flows.ledger_sweeps import spec_of

NOWHERE: dict[str, str] = {}


@pytest.mark.parametrize("written", ["s3://", "gs://b", "s3:/b", "abfss://c@a.dfs/x", "file://b", " S3://b"])
def test_storage_that_is_no_folder_is_refused_wherever_it_is_named(tmp_path: Path, written: str) -> None:
    for environ in (NOWHERE | {"VELODROME_STORAGE": written}, NOWHERE | {"BUCKET": written}):
        spec = replace(spec_of("one"), storage="${BUCKET}" if "BUCKET" in environ else None)
        with pytest.raises(WrongInput, match="s3://BUCKET/PREFIX"):
            storage_root(Home(tmp_path), spec, environ)


def test_storage_is_a_folder_by_path_or_file_address(tmp_path: Path) -> None:
    for written in (str(tmp_path / "a"), f"file://{tmp_path / 'a'}"):
        assert (
            storage_root(Home(tmp_path), replace(spec_of("one"), storage=written), NOWHERE) == tmp_path / "a"
        )
    assert storage_root(Home(tmp_path), spec_of("one"), NOWHERE) == tmp_path / "storage"
