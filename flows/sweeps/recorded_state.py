"""The code and the data of a recorded sweep as they are now, and whether they are still its own."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from flows.config.recorded_code import open_recorded_data
from flows.config.weights import hash_weights
from flows.sweeps.compatibility import SpecChange, compare_sweep, refuse_changes
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger.rows import SweepRow
from infra.spec import FamilySpec
from trainers.registry import source_hash


def check_recorded_sweep(
    row: SweepRow,
    home: Home,
    *,
    families: Collection[str] | None = None,
    accept_code_change: bool | None = None,
) -> SpecChange:
    """Refuses to train for a sweep whose code or data are not those that its trials were made with.

    Args:
        families: those that are to be trained; None for all.
        accept_code_change: what the command's option says; None: it has none.
    """
    make_code_importable(row)
    asked = {family.name for family in row.spec.families} if families is None else set(families)
    root = Path(row.facts.get("own_code") or ".")
    current = [_with_current_hash(f, root) if f.name in asked else f for f in row.spec.families]
    change = compare_sweep(row, replace(row.spec, families=tuple(current)), _current_fingerprint(row, home))
    refuse_changes(row, change, accept_code_change=accept_code_change)
    return change


def make_code_importable(row: SweepRow) -> None:
    """Puts the folder of people's own code, as recorded, first on the import path.

    Raises:
        WrongInput: the folder is not there any more.
    """
    root = row.facts.get("own_code")
    if root is None:
        return
    if not Path(root).is_dir():
        raise WrongInput(
            f"the code of {row.label}'s families must be where it was", f"no folder {root}", "bring it back"
        )
    if root not in sys.path:
        sys.path.insert(0, root)


def _with_current_hash(family: FamilySpec, root: Path) -> FamilySpec:
    """With the hashes of its code and of what it begins with; a sweep that has none of a family cannot tell
    a change of it."""
    if family.weights:
        family = replace(family, weights=hash_weights(family.reference, family.options, family.space))
    if not family.source_hash:
        return family
    return replace(family, source_hash=source_hash(family.reference, family.options, root))


def _current_fingerprint(row: SweepRow, home: Home) -> str:
    if row.fingerprint == "none":  # own code that reads its own data
        return row.fingerprint
    return open_recorded_data(row, home).fingerprint
