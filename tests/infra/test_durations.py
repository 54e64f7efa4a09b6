from __future__ import annotations

import pytest

from infra.durations import parse_seconds, parse_seconds_or_epochs
from infra.errors import WrongInput


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30s", 30.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("0.5s", 0.5),
        ("1 d", 86400.0),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, value: float) -> None:
    assert parse_seconds(text) == value
    assert parse_seconds_or_epochs(text) == (value, None)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "0s", "0.0s", "1e3s", "1s ", "1 s s", "5 epochs", "inf s", "9" * 400 + "s"]
)
def test_duration_in_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(WrongInput):
        parse_seconds(text)


def test_duration_in_epochs_is_a_whole_number() -> None:
    assert parse_seconds_or_epochs("5 epochs") == (None, 5)
    assert parse_seconds_or_epochs("1 epoch") == (None, 1)
    for wrong in ("0 epochs", "1.5 epochs", "epochs", "5 reports"):
        with pytest.raises(WrongInput):
            parse_seconds_or_epochs(wrong)
