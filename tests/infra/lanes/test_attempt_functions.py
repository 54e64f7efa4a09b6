"""Where a lane calls a command: in the sweep's own folder, or in Ray's copy of its code."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.lanes.attempt_functions import find_call_folder


@pytest.mark.parametrize(
    ("there", "travelled", "copied"),
    [
        ({"train.py": "new", "data.csv": "more"}, True, False),  # the driver's machine, or a shared folder
        ({"train.py": "old"}, True, True),  # another machine's older checkout
        ({"other.py": "new"}, True, True),
        (None, True, True),
        ({"train.py": "old"}, False, False),  # a Ray of this machine alone
        (None, False, True),
    ],
)
def test_command_is_called_where_the_code_is_the_sweeps(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: dict[str, str] | None,
    travelled: bool,
    copied: bool,
) -> None:
    copy, root = tmp_path / "copy", tmp_path / "root"
    copy.mkdir()
    (copy / "train.py").write_text("new")
    monkeypatch.chdir(copy)
    if there is not None:
        root.mkdir()
        for name, text in there.items():
            (root / name).write_text(text)
    assert find_call_folder((str(root),), travelled=travelled) == (copy if copied else root)
