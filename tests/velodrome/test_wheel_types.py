"""The types reach who installs the wheel: a user's file is checked strictly against it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("velodrome", "flows", "infra", "trainers", "search_spaces")
USER_FILE = '''
"""What somebody writes who trains, compares and promotes from Python."""

from __future__ import annotations

from pathlib import Path

import velodrome


class Mine(velodrome.Family):
    """A family of one's own."""

    name = "mine"


def work(file: Path) -> float | None:
    plan = velodrome.plan(file)
    reveal_type(plan.trials)
    result = velodrome.sweep(file)
    reveal_type(result)
    found = velodrome.status("digits")
    reveal_type(found)
    rows = velodrome.compare("digits").rows
    reveal_type(rows[0].values)
    moved = velodrome.promote("digits")
    reveal_type(moved)
    outcome = velodrome.try_out("image_cnn", {"learning_rate": 1e-3}, data="builtin:digits")
    reveal_type(outcome.values)
    velodrome.promote("digits", trail=3)
    velodrome.status(3)
    return outcome.values[0]
'''
REVEALED = {
    "plan.trials": "int",
    "result": "flows.sweeps.views.sweep_status.SweepStatus",
    "found": "flows.sweeps.views.sweep_status.SweepStatus | flows.sweeps.views.sweep_status.Overview",
    "rows[0].values": "tuple[float, ...]",
    "moved": "flows.promotion.judging.outcome.Promotion",
    "outcome.values": "tuple[float, ...]",
}


# What others' packages say of themselves is not the point, and takes minutes to read.
CONFIG = "[mypy]\nstrict = True\nfollow_imports = skip\n" + "".join(
    f"[mypy-{package}.*]\nfollow_imports = normal\n" for package in PACKAGES
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment that holds the project's wheel, and what it needs from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *build], cwd=source, check=True, timeout=600, stdin=subprocess.DEVNULL)
    (wheel,) = folder.glob("velodrome-*.whl")
    venv.create(folder / "env", with_pip=False)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    shutil.unpack_archive(wheel, site, "zip")
    (site / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "env" / "bin" / "python"


@pytest.mark.slow
def test_types_of_the_wheel_are_seen_by_a_strict_check(installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "user.py"
    file.write_text(USER_FILE)
    config = tmp_path / "mypy.ini"
    config.write_text(CONFIG)
    command = [
        sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", str(tmp_path / "cache"),
        "--config-file", str(config), "--python-executable", str(installed), str(file),
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    lines = ended.stdout.splitlines()
    errors = [line for line in lines if ": error:" in line]
    revealed = re.findall(r'Revealed type is "([^"]+)"', ended.stdout)
    assert [re.sub(r"builtins\.", "", entry) for entry in revealed] == list(REVEALED.values()), ended.stdout
    # exactly the two mistakes that the file makes on purpose
    assert len(errors) == 2, ended.stdout
    assert 'Unexpected keyword argument "trail"' in errors[0]
    assert "incompatible type" in errors[1]
