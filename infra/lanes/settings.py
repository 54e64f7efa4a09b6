"""What a lane is told when it starts; the same again after its process died."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from infra.errors import WrongInput
from infra.spec import Resources

_RHYTHM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|epochs?)?\s*")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """One run's lanes.

    Attributes:
        run: the Ray Train run's name; a lane is called `<run>-<rank>`.
        shape, resources: what each of its workers has.
        spec: the sweep (`SweepSpec.to_json`).
        base: the folder that relative paths of the sweep file start from.
        storage, cache, logs: folders; `storage` is shared where lanes are on several machines.
        sys_path: folders from which people's own code is imported.
    """

    run: str
    shape: str
    resources: Resources
    spec: dict[str, Any]
    base: str
    storage: str
    cache: str
    logs: str
    sys_path: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def checkpoint_rhythm(text: str) -> tuple[float | None, int | None]:
    """`30s`, `2m` or `5 epochs` as (seconds, None) or (None, epochs).

    Raises:
        WrongInput: it is none of these.
    """
    match = _RHYTHM.fullmatch(str(text))
    if match is None:
        raise WrongInput("checkpoint.every must be a time or a number of epochs", repr(text), "30s or 5 epochs")
    number, unit = float(match[1]), match[2] or "s"
    if unit.startswith("epoch"):
        return None, max(1, int(number))
    return number * _SECONDS[unit], None
