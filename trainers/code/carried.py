"""Training functions that no other process can import: of a notebook's cell, a shell, or within a function.

They are named `__main__:NAME` and known in the processes that were given them alone: they travel to lanes by
value, and are written nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import FunctionType

PREFIX = "__main__:"
_FUNCTIONS: dict[str, FunctionType] = {}


def carry_function(function: FunctionType) -> str:
    """Makes the function known in this process; a later one of its name takes its place.

    Returns:
        What a sweep names it by.
    """
    reference = f"{PREFIX}{function.__name__}"
    _FUNCTIONS[reference] = function
    return reference


def find_carried(reference: str) -> FunctionType | None:
    """The function of that name; None where this process was given none."""
    return _FUNCTIONS.get(reference)


def is_carried(reference: str) -> bool:
    """Whether a sweep names its function so, given here or not."""
    return reference.startswith(PREFIX)


def pack_carried(references: Iterable[str]) -> dict[str, bytes]:
    """Those of the functions that travel by value, each with the values that it uses."""
    import cloudpickle

    return {name: cloudpickle.dumps(_FUNCTIONS[name]) for name in references if name in _FUNCTIONS}


def unpack_carried(packed: Mapping[str, bytes]) -> None:
    """Makes those functions known in this process of the sweep's own."""
    import cloudpickle

    for name, content in packed.items():
        _FUNCTIONS[name] = cloudpickle.loads(content)
