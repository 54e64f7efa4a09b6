"""Ranges of parameters, as a sweep file has them."""

from __future__ import annotations

from collections.abc import Sequence

from trainers.types import Json, JsonObject


def uniform(low: float, high: float) -> JsonObject:
    """Any number from `low` to `high`."""
    return {"type": "float", "low": float(low), "high": float(high)}


def loguniform(low: float, high: float) -> JsonObject:
    """Any number from `low` to `high`, each order of magnitude alike."""
    return {**uniform(low, high), "log": True}


def integers(low: int, high: int, *, log: bool = False) -> JsonObject:
    """A whole number from `low` to `high`, both included."""
    return {"type": "int", "low": int(low), "high": int(high), **({"log": True} if log else {})}


def choice(choices: Sequence[Json]) -> JsonObject:
    """One of the values."""
    return {"type": "categorical", "choices": list(choices)}
