"""What the driver of a Ray job finds in another place than other processes do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.home import Home
from infra.ray_job import JOB_CONFIG, path_on_nodes

WITH_FOLDER = json.dumps({"runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}})


def test_home_of_a_job_outlives_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Home.from_environment({JOB_CONFIG: WITH_FOLDER}).path == tmp_path / ".velodrome"
    assert Home.from_environment({}).path == Path.cwd() / ".velodrome"
    named = {JOB_CONFIG: WITH_FOLDER, "VELODROME_HOME": "/named"}
    assert Home.from_environment(named).path == Path("/named")


@pytest.mark.parametrize(
    ("config", "given", "meant"),
    [
        (WITH_FOLDER, "src", "src"),
        (WITH_FOLDER, "", "."),
        (WITH_FOLDER, "/elsewhere", "/elsewhere"),
        ('{"runtime_env": {}}', "src", None),
        (None, "src", None),
    ],
)
def test_path_in_a_jobs_folder_is_relative_to_it(
    monkeypatch: pytest.MonkeyPatch, config: str | None, given: str, meant: str | None
) -> None:
    monkeypatch.delenv(JOB_CONFIG, raising=False)
    if config is not None:
        monkeypatch.setenv(JOB_CONFIG, config)
    path = str(Path.cwd() / given)
    assert path_on_nodes(path) == (path if meant is None else meant)
