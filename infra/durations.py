"""Lengths of time as people write them: `30s`, `10m`, `2h`, and `5 epochs` where epochs are meant."""

from __future__ import annotations

import re

from infra.errors import WrongInput

DURATION = r"(?:0*[1-9][0-9]{0,8}(?:\.[0-9]{1,6})?|0\.0*[1-9][0-9]{0,5}) ?(?:ms|s|m|h|d)"
EPOCHS = r"[1-9][0-9]{0,8} ?epochs?"
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PARTS = re.compile(r"(?P<count>[0-9.]+) ?(?P<unit>ms|s|m|h|d|epochs?)")


def parse_seconds(text: str) -> float:
    """A duration in seconds.

    Raises:
        WrongInput: it is not a number above 0 with a unit.
    """
    if not re.fullmatch(DURATION, text):
        raise WrongInput("a duration must be a number above 0 with s, m or h", repr(text[:80]), "write 30s")
    return _parse_duration(text)


def parse_seconds_or_epochs(text: str) -> tuple[float | None, int | None]:
    """What `checkpoint.every` says: seconds and None, or None and epochs.

    Raises:
        WrongInput: it is neither.
    """
    if re.fullmatch(EPOCHS, text):
        return None, int(text.removesuffix("s").removesuffix("epoch"))
    if not re.fullmatch(DURATION, text):
        must = "it must be a duration (30s, 2m) or a number of epochs (5 epochs)"
        raise WrongInput(must, repr(text[:80]), "write 30s or 5 epochs")
    return _parse_duration(text), None


def _parse_duration(text: str) -> float:
    parts = _PARTS.fullmatch(text)
    assert parts is not None
    return float(parts["count"]) * _SECONDS[parts["unit"]]
