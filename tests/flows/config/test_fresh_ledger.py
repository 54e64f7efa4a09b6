"""A ledger's database that nobody has written to yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config.lookup import open_ledger, open_sweep
from infra.errors import LedgerAbsent, WrongInput
from infra.home import Home
from infra.ledger.store import Ledger
from tests.postgres import run_postgres


def test_fresh_postgresql_database_is_a_ledger_that_nobody_wrote_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning, listing and looking up come before the first sweep."""
    with run_postgres() as server:
        url = server.database()
        monkeypatch.setenv("VELODROME_LEDGER", url)
        home = Home(tmp_path)
        assert open_ledger(home) is None
        with pytest.raises(WrongInput, match="digits"):
            open_sweep("digits", home)
        with pytest.raises(LedgerAbsent, match="no tables"):
            Ledger(url)
        Ledger(url, create=True).close()
        found = open_ledger(home)
        assert found is not None
        found.close()
