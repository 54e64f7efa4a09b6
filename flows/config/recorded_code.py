"""What a sweep was run with, its data and the folder of people's own code: found again for its models."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flows.config.lookup import open_sweep
from infra.errors import VelodromeError
from infra.home import Home
from infra.ledger.rows import SweepRow
from trainers.data.dataset import Dataset

_PATH = "PYTHONPATH"


def find_code_of_sweep(label: str | None, home: Home) -> None:
    """Makes the code of a sweep importable, where the sweep is known here and its folder is still there.

    Whatever cannot be found so is for the import to say: the code may as well be installed.
    """
    if not label:
        return
    try:
        ledger, row = open_sweep(label, home)
    except VelodromeError:
        return
    ledger.close()
    find_code_of_row(row)


def find_code_of_row(row: SweepRow) -> None:
    """The same for a sweep that was read already. The folder comes last on the import path, for this process
    and those that it starts: what is installed goes before it."""
    root = row.facts.get("own_code")
    if root is None or not Path(root).is_dir() or root in sys.path:
        return
    sys.path.append(root)
    os.environ[_PATH] = os.pathsep.join(filter(None, [os.environ.get(_PATH, ""), root]))


def open_recorded_data(row: SweepRow, home: Home) -> Dataset:
    """The sweep's data, read as it was when the sweep began."""
    from trainers.data.sources.opening import open_dataset

    base = Path(row.facts.get("base", "."))
    return open_dataset(row.spec.data, base=base, cache=home.cache, recorded=row.fingerprint)
