"""A sweep whose file and code lie elsewhere by now, as a job's do each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.sweeps.preparation import prepare_sweep
from flows.sweeps.sweep import _register_sweep
from infra.home import Home
from infra.ledger import views
from infra.ledger.store import Ledger

FILE = """name: own
data: {source: none}
objective: {metric: accuracy, direction: maximize}
families:
  moved_train:train: {space: {rate: {type: float, low: 0.1, high: 0.2}}}
"""


def test_carried_on_sweep_reads_data_and_code_where_they_lie_now(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(views, "has_journal", lambda *_: True)
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", create=True)
    try:
        for name in ("first", "second"):
            folder = tmp_path / name
            folder.mkdir()
            monkeypatch.chdir(folder)
            (folder / "own.yaml").write_text(FILE)
            (folder / "moved_train.py").write_text("def train(trial):\n    trial.report(accuracy=1.0)\n")
            prepared = prepare_sweep("own.yaml", (), home)
            row = _register_sweep(ledger, prepared, new=False, accept_code_change=False)
            assert (row.facts["base"], row.facts["own_code"]) == (str(folder), str(folder))
        assert len(views.sweeps(ledger)) == 1
    finally:
        ledger.close()
