"""What a confirmation looks like where nothing was tested: no column of dashes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flows.confirmation.result import Confirmation, ConfirmedRow, Scores
from flows.confirmation.screens import print_confirmation


@pytest.mark.parametrize(("tested", "shown"), [((), False), ((0.8, 0.9), True)])
def test_test_columns_are_there_only_where_a_test_part_was_read(
    tested: tuple[float, ...], shown: bool
) -> None:
    row = ConfirmedRow(
        family="forest", number=3, params={"trees": 5}, validation=Scores(values=(0.7, 0.8)),
        test=Scores(values=tested),
    )  # fmt: skip
    found = Confirmation(
        sweep="own", metric="val/accuracy", direction="maximize", rows=(row,), test_reads=len(tested)
    )
    out = io.StringIO()
    print_confirmation(Console(file=out, width=160), found)
    assert ("95 % interval" in out.getvalue()) == shown
    assert ("the test split of own was read" in out.getvalue()) == shown
    assert "validation" in out.getvalue()
