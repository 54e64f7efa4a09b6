"""Parameters as axes: numbers, logarithms or places in a list, with a place for "not used"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.terminal.formatting import number, param_text
from infra.ledger.rows import TrialRow
from infra.spec import FamilySpec
from search_spaces.values import canonical_text
from trainers.types import Json, Params

MISSING = "not used"
MOST_CHOICES = 40
_LEFT_OUT: Any = object()  # by a `when`: a null of the sweep file is a value


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One parameter over a family's trials.

    Attributes:
        values: a coordinate a trial; for a logarithmic axis the logarithm to base 10.
        ticks: coordinates that have a label, ascending, and `labels`: theirs.
    """

    name: str
    values: tuple[float, ...]
    ticks: tuple[float, ...]
    labels: tuple[str, ...]


def parameter_axes(family: FamilySpec, trials: Sequence[TrialRow]) -> list[Axis]:
    """An axis for every searched parameter with at least two values (left out by a `when` is one)."""
    axes = []
    for entry in family.space.get("parameters", ()):
        if entry.get("type") == "constant":
            continue
        axis = parameter_axis(entry["name"], [trial.params for trial in trials], log=is_log(entry))
        if axis is not None and len(set(axis.values)) > 1:
            axes.append(axis)
    return axes


def is_log(entry: Mapping[str, Json]) -> bool:
    """Whether a parameter of a space is searched by its logarithm."""
    return bool(entry.get("log"))


def parameter_axis(name: str, params: Sequence[Params], *, log: bool) -> Axis | None:
    """The axis of one parameter; None where no trial has it."""
    found = [entry.get(name, _LEFT_OUT) for entry in params]
    there = [value for value in found if value is not _LEFT_OUT]
    if not there:
        return None
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in there):
        numbers = [None if value is _LEFT_OUT else value for value in found]
        return _numeric_axis(name, numbers, log=log and min(there) > 0)
    return _category_axis(name, found)


def _numeric_axis(name: str, found: Sequence[float | None], *, log: bool) -> Axis:
    numbers = [None if v is None else (math.log10(v) if log else float(v)) for v in found]
    there = [value for value in numbers if value is not None]
    low, high = min(there), max(there)
    ticks = [low + (high - low) * part / 4 for part in range(5)] if high > low else [low]
    labels = [number(10**tick if log else tick, 3) for tick in ticks]
    if len(there) < len(numbers):  # below the least value, so that no line of a real value passes through
        below = low - 0.15 * ((high - low) or 1.0)
        ticks, labels = [below, *ticks], [MISSING, *labels]
        numbers = [below if value is None else value for value in numbers]
    coordinates = tuple(value for value in numbers if value is not None)
    return Axis(name=name, values=coordinates, ticks=tuple(ticks), labels=tuple(labels))


def _category_axis(name: str, found: Sequence[Json]) -> Axis:
    """A place for each value, `null` and what is left out among them; `1` and `true` have two."""
    labels = {_identify(value): MISSING if value is _LEFT_OUT else param_text(value) for value in found}
    choices = sorted(labels, key=lambda key: (key != "", labels[key], key))
    place = {key: float(index) for index, key in enumerate(choices)}
    shown = choices if len(choices) <= MOST_CHOICES else []
    written = [labels[key] for key in shown]
    return Axis(
        name=name,
        values=tuple(place[_identify(value)] for value in found),
        ticks=tuple(place[key] for key in shown),
        labels=tuple(text if len(text) <= 18 else text[:17] + "…" for text in written),
    )


def _identify(value: Json) -> str:
    return "" if value is _LEFT_OUT else canonical_text(value)
