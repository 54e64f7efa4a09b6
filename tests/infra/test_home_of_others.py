"""Paths with the `~` of a user whom nobody knows are wrong input, whichever option names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.report.report import report
from flows.sweeps.new import rebase_source
from infra.home import Home, storage_place
from infra.packing import excluded_files
from infra.secrets import expand_variables
from trainers.errors import InputError
from trainers.pretrained.hub import find_folder

OTHER = "~nobody-here/x"
OPTIONS: dict[str, Callable[[Path], Any]] = {
    "VELODROME_HOME": lambda _: Home.from_environment({"VELODROME_HOME": OTHER}),
    "storage": lambda home: storage_place(Home(home), None, {"VELODROME_STORAGE": OTHER}),
    "a secret's file": lambda _: expand_variables("${NAME}", {"NAME_FILE": OTHER}),
    "a key's file": lambda home: excluded_files(home, Home(home), {"VELODROME_KEY_FILE": OTHER}),
    "pretrained": lambda _: find_folder(OTHER),
    "source": lambda home: rebase_source({"source": f"csv:{OTHER}"}, home, home / "other"),
    "--out": lambda home: report("any", out=OTHER),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_path_of_an_unknown_user_is_refused_by_name(option: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"user that is known.*~nobody-here"):
        OPTIONS[option](tmp_path)
