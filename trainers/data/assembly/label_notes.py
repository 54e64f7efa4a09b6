"""What a person should know of a target's classes that they may take for one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from trainers.data.cell_values import are_yes_and_no, find_alike


def note_alike_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """A note for classes that a person would take for one."""
    if are_yes_and_no(labels):
        listed = ", ".join(map(repr, labels[:6]))
        return (f"classes {listed} seem to be two, yes and no, in several spellings: each is learned",)
    numbers = (", ".join(map(repr, same)) for same in _same_numbers(labels))
    return (
        *(f"classes {alike} differ by blanks or case alone: each is learned" for alike in find_alike(labels)),
        *(f"classes {same} are one number: each is learned" for same in numbers),
    )


def _same_numbers(labels: Sequence[str]) -> list[list[str]]:
    """Labels that are spelt as numbers, as 1 and 01, those of one number together."""
    found: dict[float, list[str]] = {}
    for label in labels:
        with suppress(ValueError):
            found.setdefault(float(label), []).append(label)
    return [same for same in found.values() if len(same) > 1]
