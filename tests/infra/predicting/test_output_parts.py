"""Parts of an output are carried on with their own input, and none are no obstacle."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import WrongInput
from infra.predicting.output_parts import open_parts


def test_output_of_an_input_that_gave_nothing_is_free_for_another(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with open_parts(out, ".csv", {"input": "damaged"}, overwrite=False):
        pass
    with open_parts(out, ".csv", {"input": "mended"}, overwrite=False) as parts:
        parts.commit_part(0, Path.touch)
    with (
        pytest.raises(WrongInput, match="unfinished predictions"),
        open_parts(out, ".csv", {"input": "other"}, overwrite=False),
    ):
        pass


def test_output_that_is_there_is_kept_though_another_input_gave_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("of yesterday")
    with open_parts(out, ".csv", {"input": "damaged"}, overwrite=True):
        pass
    with (
        pytest.raises(WrongInput, match="the output must not be there yet"),
        open_parts(out, ".csv", {"input": "mended"}, overwrite=False),
    ):
        pass
