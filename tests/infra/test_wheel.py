"""The wheel of the running version."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from infra.wheel import PACKAGES, ProjectMetadata, build_wheel, pin_requirements, read_project


def test_wheel_of_same_version_has_same_bytes(tmp_path: Path) -> None:
    first, second = build_wheel(tmp_path / "a"), build_wheel(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert first.name == f"velodrome-{read_project().version}-py3-none-any.whl"


def test_wheel_records_every_file_with_its_hash(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
        names = set(wheel.namelist())
        (record,) = (name for name in names if name.endswith("/RECORD"))
        lines = [line.rsplit(",", 2) for line in wheel.read(record).decode().splitlines()]
        assert {name for name, _, _ in lines} == names
        for name, digest, size in lines:
            if name != record:
                expected = hashlib.sha256(wheel.read(name)).digest()
                assert digest == "sha256=" + base64.urlsafe_b64encode(expected).rstrip(b"=").decode()
                assert int(size) == len(wheel.read(name))
        assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == set(PACKAGES)
        assert not any("__pycache__" in name or name.startswith("tests") for name in names)


def test_wheel_installs_without_an_index_and_imports(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path / "wheels")
    install(wheel, tmp_path / "site")
    found = subprocess.run(
        [sys.executable, "-c", "import velodrome, importlib.metadata as m; print(m.version('velodrome'))"],
        env={"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert found.stdout.strip() == read_project().version


def test_wheel_requirements_are_pinned_without_local_labels() -> None:
    project = ProjectMetadata(
        version="1",
        metadata="",
        entry_points="",
        requirements=("torch>=2.10", "numpy>=1", "nowhere-to-be-found>=1", "pytest>=8; extra == 'dev'"),
    )
    pinned = dict(line.split("==") for line in pin_requirements(project))
    assert set(pinned) == {"torch", "numpy"}
    assert "+" not in pinned["torch"]


def test_lean_wheel_asks_for_everything_by_its_extra_all(tmp_path: Path) -> None:
    install(build_wheel(tmp_path / "wheels", lean=True), tmp_path / "site")
    (folder,) = (tmp_path / "site").glob("*.dist-info")
    needed = [Requirement(text) for text in metadata.PathDistribution(folder).requires or ()]

    def asked(extra: str) -> set[str]:
        return {each.name for each in needed if not each.marker or each.marker.evaluate({"extra": extra})}

    assert asked("") == set()
    assert {"ray", "torch", "mlflow"} <= asked("all")
    assert asked("trees") == {"lightgbm"}


def install(wheel: Path, target: Path) -> None:
    """As `pip install --no-deps --target` does it."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*command, "--target", str(target), str(wheel)], timeout=600, check=True)
