"""What is kept of a trial's files."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from infra.storage.kept_files import keep_files


@pytest.mark.parametrize("name", ["model/", "model", "model/a.bin"])
def test_a_file_or_folder_is_copied_and_replaces_the_former(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "files", tmp_path / "kept"
    (source / "model").mkdir(parents=True)
    (source / "model/a.bin").write_text("new")
    target.mkdir()
    (target / "old").touch()
    keep_files(source, target, name)
    (source / "model/a.bin").write_text("later")
    assert [path.read_text() for path in target.rglob("*") if path.is_file()] == ["new"]


@pytest.mark.parametrize("name", ["missing", "out"])
def test_kept_file_that_is_missing_or_lies_elsewhere_is_left_with_a_warning(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "files"
    source.mkdir()
    (source / "out").symlink_to("/etc")
    with caplog.at_level(logging.WARNING):
        keep_files(source, tmp_path / "kept", name)
    assert not (tmp_path / "kept").exists()
    assert f"keep: {name} is not there" in caplog.text


@pytest.mark.parametrize("name", ["model", "model/a.bin"])
def test_first_copy_makes_its_place_and_leaves_links_as_they_are(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "files", tmp_path / "deep" / "kept"
    (source / "model").mkdir(parents=True)
    (source / "model/a.bin").write_text("new")
    (source / "model/link").symlink_to("/etc/hostname")
    keep_files(source, target, name)
    kept = target / name.rpartition("/")[2]
    assert kept.is_dir() == (name == "model")
    if name == "model":
        assert (kept / "link").is_symlink()


def test_nothing_is_kept_where_nothing_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "files").mkdir()
    keep_files(tmp_path / "files", tmp_path / "kept", "")
    assert not (tmp_path / "kept").exists()
    assert caplog.text == ""
