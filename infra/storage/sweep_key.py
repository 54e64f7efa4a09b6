"""With which key a sweep's models and checkpoints are encrypted, as its ledger knows it."""

from __future__ import annotations

from collections.abc import Mapping

from infra.errors import WrongInput
from trainers.storage.encryption import FILE_VARIABLE, VARIABLE, storage_key
from trainers.types import Document

FACT = "storage_key"


def current_key_name() -> str:
    """The name of this process's key; empty without one."""
    key = storage_key()
    return "" if key is None else key.name


def note_key(label: str, facts: Mapping[str, object]) -> Document | None:
    """What a sweep's facts become where its first key is here; None where nothing changes.

    Raises:
        WrongInput: the sweep has another key, whose files could not be read.
    """
    name, recorded = current_key_name(), facts.get(FACT)
    if recorded and name != recorded:
        raise WrongInput(
            f"{label} must be carried on with its key, {recorded}", f"key {name}" if name else "none",
            f"set {VARIABLE}, or {FILE_VARIABLE}, to the key that it began with",
        )  # fmt: skip
    return {**facts, FACT: name} if name and not recorded else None


def check_lane_key(expected: str) -> None:
    """Refuses to train in a process that would write in another way than the driver's.

    Raises:
        WrongInput: it has another key, or none.
    """
    name = current_key_name()
    if name != expected:
        raise WrongInput(
            f"each lane must have the driver's key, {expected}" if expected else "lanes must have no key",
            f"key {name}" if name else "none",
            f"set {VARIABLE}, or {FILE_VARIABLE}, on each machine before Ray is started there",
        )  # fmt: skip
