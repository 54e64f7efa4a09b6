"""Whether a sweep file carries a known sweep on, and what a person must decide where it does not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from infra.spec import FamilySpec, SweepSpec

if TYPE_CHECKING:
    from trainers.types import Json


_MAY_CHANGE = {"trials", "source_hash"}  # of a family: growth, and code (which is asked about)
# Of a sweep: budgets may grow, and how it is run may change; none of these changes a trial's result.
_FREE = {"families", "version", "minutes", "gpu_hours", "cost", "prices", "lanes", "limits", "gates", "model"}
_FREE |= {"code", "tracking_uri", "experiment", "ledger", "storage", "keep_checkpoints"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecChange:
    """How a file goes on with a sweep.

    Attributes:
        spec: the sweep as it will be run: the larger budget of both, new families added.
        grown: family → number of trials, where the file has more.
        refused: `key: before → now` for each change that would make another sweep of it.
        code_changed: families whose source is not the same any more.
    """

    spec: SweepSpec
    grown: Mapping[str, int]
    refused: tuple[str, ...]
    code_changed: tuple[str, ...]


def compare_specs(before: SweepSpec, now: SweepSpec) -> SpecChange:
    """Compares the ledger's sweep with the file's."""
    old = {family.name: family for family in before.families}
    refused = _differences(before, now)
    families: list[FamilySpec] = []
    grown: dict[str, int] = {}
    for family in now.families:
        known = old.get(family.name)
        if known is None:
            grown[family.name] = family.trials
            families.append(family)
            continue
        refused += _family_differences(known, family)
        if family.trials > known.trials:
            grown[family.name] = family.trials
        families.append(replace(family, trials=max(family.trials, known.trials)))
    missing = [name for name in old if name not in {family.name for family in now.families}]
    refused += [f"families.{name}: removed from the file" for name in missing]
    changed = tuple(
        family.name for family in now.families
        if family.name in old and family.source_hash != old[family.name].source_hash
    )  # fmt: skip
    # Families keep the order in which they were first asked for: their turns depend on it.
    ordered = sorted(families, key=lambda f: list(old).index(f.name) if f.name in old else len(old))
    spec = replace(
        now,
        version=before.version,
        families=tuple(ordered),
        minutes=_larger_budget(before.minutes, now.minutes),
        gpu_hours=_larger_budget(before.gpu_hours, now.gpu_hours),
        cost=_larger_budget(before.cost, now.cost),
    )
    return SpecChange(spec=spec, grown=grown, refused=tuple(refused), code_changed=changed)


def _larger_budget(one: float | None, other: float | None) -> float | None:
    """The larger of two budgets; None is none, and so the largest."""
    return None if one is None or other is None else max(one, other)


def _differences(before: SweepSpec, now: SweepSpec) -> list[str]:
    one, other = before.to_json(), now.to_json()
    return [
        f"{key}: {_shorten(one[key])} → {_shorten(other[key])}"
        for key in one
        if key not in _FREE and one[key] != other[key]
    ]


def _family_differences(before: FamilySpec, now: FamilySpec) -> list[str]:
    found = []
    for key in FamilySpec.__dataclass_fields__:
        one, other = getattr(before, key), getattr(now, key)
        if key not in _MAY_CHANGE and key != "resources" and one != other:
            found.append(f"families.{now.name}.{key}: {_shorten(one)} → {_shorten(other)}")
    return found


def _shorten(value: Json) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}…"
