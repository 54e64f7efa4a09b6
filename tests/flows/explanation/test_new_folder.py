"""Folders that explain and inspect make: whole or not there, and nothing of a killed command stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.explanation.new_folder import open_new_folder
from infra.errors import WrongInput

HELD_OPEN = """
import sys, time
from pathlib import Path
from flows.explanation.new_folder import open_new_folder
with open_new_folder(Path(sys.argv[1]), what="explanation", files=("a.txt",), overwrite=False) as folder:
    (folder / "a.txt").write_text("rows of somebody")
    print(folder, flush=True)
    time.sleep(60)
"""


def write_folder(place: Path, text: str, *, overwrite: bool = False) -> None:
    with open_new_folder(place, what="explanation", files=("a.txt",), overwrite=overwrite) as folder:
        (folder / "a.txt").write_text(text)


def test_next_command_clears_what_a_killed_one_left_aside_but_not_a_living_ones(tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", HELD_OPEN, str(tmp_path / name)], stdout=subprocess.PIPE, text=True
        )
        for name in ("dead", "living")
    ]
    try:
        dead, living = (Path(str(process.stdout.readline()).strip()) for process in running if process.stdout)
        running[0].send_signal(signal.SIGKILL)
        running[0].wait(timeout=30)
        assert dead.is_dir()
        write_folder(tmp_path / "made", "mine")
        assert {path.name for path in tmp_path.iterdir()} == {"made", living.name}
    finally:
        for process in running:
            process.kill()
            process.wait(timeout=30)
            assert process.stdout is not None
            process.stdout.close()


def test_folder_that_fails_half_way_leaves_the_one_of_before(tmp_path: Path) -> None:
    write_folder(tmp_path / "made", "before")
    with (
        pytest.raises(RuntimeError),
        open_new_folder(tmp_path / "made", what="explanation", files=("a.txt",), overwrite=True) as folder,
    ):
        (folder / "a.txt").write_text("half")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["made"]
    assert (tmp_path / "made" / "a.txt").read_text() == "before"
    write_folder(tmp_path / "made", "after", overwrite=True)
    assert (tmp_path / "made" / "a.txt").read_text() == "after"
    with pytest.raises(WrongInput, match="give --overwrite"):
        write_folder(tmp_path / "made", "again")
