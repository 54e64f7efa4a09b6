"""From a family's entry to its specification: its own values over the file's, the file's over defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from flows.config.code_root import code_root
from flows.config.commands import code_reference
from flows.config.errors import Path, redacted_repr
from flows.config.families import CheckedFamily, may_shard, why_alone
from flows.config.family_entry import FamilyEntry, TrialBudget
from flows.config.loading import SweepFile
from flows.config.weights import hash_weights
from infra.names import family_label
from infra.search.pruners import pruner_options
from infra.search.samplers import grid_points
from infra.spec import Budget, FamilySpec, Resources, Stack
from search_spaces.errors import SpaceError
from search_spaces.space import Space
from trainers.registry import source_hash
from trainers.stacking.structure import searched_structure
from trainers.types import Json, JsonObject

_TRIALS = 20
_EPOCHS = 10
_LENGTH = ("epochs", "steps", "report_every")


def resolve_family(file: SweepFile, reference: str, entry: FamilyEntry, checked: CheckedFamily) -> FamilySpec:
    """Every key of a family with its value: its own over the file's, the file's over defaults."""
    budget = _budget(file, reference, entry)
    sampler = _search_options(file, reference, entry, "sampler") or {"name": "tpe"}
    resources = _resources(file, reference, entry, checked)
    space = checked.space.to_json()
    pruner = _pruner(file, reference, entry, budget)
    return FamilySpec(
        name=family_label(reference),
        reference=code_reference(reference, entry),
        options=checked.options,
        space=space,
        start_with=checked.start_with,
        trials=_trials(file, reference, entry, checked, sampler),
        budget=budget,
        sampler=_fill_defaults("sampler", sampler),
        pruner=pruner,
        resources=resources,
        checkpoint_every=_checkpoint(file, entry),
        source_hash=source_hash(code_reference(reference, entry), checked.options, code_root(file)),
        weights=hash_weights(code_reference(reference, entry), checked.options, space),
        begins_with=checked.begins_with,
        stack=_stack(
            file, reference, entry, why_alone(checked.code, checked.options, resources), pruner, checked.space
        ),
    )


# -- budgets -------------------------------------------------------------------------------------------------


def _own_budget(file: SweepFile, reference: str, entry: FamilyEntry) -> dict[str, Any]:
    direct = {key: value for key, value in entry_values(entry).items() if key in TrialBudget.model_fields}
    nested = entry_values(entry.budget)
    _refuse_both(file, reference, direct, nested, "budget")
    return {**nested, **direct}


def _refuse_both(
    file: SweepFile, reference: str, direct: Mapping[str, Json], nested: Mapping[str, Json], under: str
) -> None:
    for key in direct.keys() & nested.keys():
        path = ("families", reference, under, key)
        raise file.written.error_at(path, "stand once", f"{key} in the family and in its {under}", "drop one")


def _budget(file: SweepFile, reference: str, entry: FamilyEntry) -> Budget:
    common = {k: v for k, v in entry_values(file.sweep.budget).items() if k in TrialBudget.model_fields}
    own = _own_budget(file, reference, entry)
    if "epochs" in own or "steps" in own:  # one way of counting replaces the other
        common = {key: value for key, value in common.items() if key not in _LENGTH}
    merged = {**common, **own}
    path = ("families", reference) if own else ("budget",)
    if "epochs" in merged and "steps" in merged:
        raise file.written.error_at(
            path, "have epochs or steps, not both", redacted_repr(merged), "drop one of them"
        )
    if "report_every" in merged and "steps" not in merged:
        raise file.written.error_at(
            (*path, "report_every"), "come with steps", redacted_repr(merged), "add steps, or drop it"
        )
    if merged.get("report_every", 0) > merged.get("steps", 0):
        found = f"{merged['report_every']} of {merged['steps']} steps"
        raise file.written.error_at((*path, "report_every"), "be at most steps", found, "lower it")
    merged.pop("trials", None)
    epochs = None if "steps" in merged else merged.get("epochs", _EPOCHS)
    return Budget(**{**merged, "epochs": epochs})


def _trials(
    file: SweepFile, reference: str, entry: FamilyEntry, checked: CheckedFamily, sampler: Mapping[str, Json]
) -> int:
    """As written; a grid has at most as many trials as there are configurations, those under `start_with`
    among them, and by default all of them."""
    written = _own_budget(file, reference, entry).get("trials", entry_values(file.sweep.budget).get("trials"))
    if sampler["name"] != "grid":
        return int(written or _TRIALS)
    try:
        size = len(checked.start_with) + len(grid_points(checked.space, checked.start_with))
    except SpaceError as error:
        raise file.locate_error(error, ("families", reference, "space")) from error
    return min(int(written or size), size)


# -- search --------------------------------------------------------------------------------------------------


def _search_entry(file: SweepFile, reference: str, entry: FamilyEntry, key: str) -> Any:
    """The sampler, pruner or stack as written for the family, else for the file; None where neither is."""
    direct, nested = getattr(entry, key), getattr(entry.search, key, None)
    if direct is not None and nested is not None:
        _refuse_both(file, reference, {key: direct}, {key: nested}, "search")
    return direct or nested or getattr(file.sweep.search, key, None)


def _search_options(file: SweepFile, reference: str, entry: FamilyEntry, key: str) -> dict[str, Any] | None:
    chosen = _search_entry(file, reference, entry, key)
    return None if chosen is None else dict(chosen.model_dump(exclude_none=True))


def _stack(
    file: SweepFile,
    reference: str,
    entry: FamilyEntry,
    alone: str | None,
    pruner: Mapping[str, Json],
    space: Space,
) -> Stack:
    """How many trials are trained as one; `off` where the family cannot, and, unless somebody said how many,
    where what a pruner decides depends on how many there are or where the structure is searched: few trials
    share one then, and to measure each takes longer than it gains.

    Args:
        alone: why its trials are trained one by one; None where they need not be.
    """
    written: Stack = _search_entry(file, reference, entry, "stack") or "auto"
    own: Stack | None = entry.stack or getattr(entry.search, "stack", None)
    if isinstance(own, int) and alone is not None:
        path: Path = ("families", reference, "stack")
        path = path if entry.stack else ("families", reference, "search", "stack")
        raise file.written.error_at(path, "be off", f"{own}, and {alone}", "write stack: off")
    depends = pruner_options(pruner).awaits_ends or searched_structure(space.to_json())
    if alone is not None or (written == "auto" and depends):
        return "off"
    return written


def _fill_defaults(key: str, written: Mapping[str, Json]) -> dict[str, Any]:
    entry = getattr(FamilyEntry.model_validate({key: written}), key)
    return dict(entry.model_dump(exclude_none=True))


def _pruner(file: SweepFile, reference: str, entry: FamilyEntry, budget: Budget) -> JsonObject:
    written = _search_options(file, reference, entry, "pruner")
    path = _pruner_path(file, reference)
    if len(file.sweep.objective or ()) > 1:
        if written is not None and written["name"] != "none":
            do = "write pruner: none, or keep one objective"
            raise file.written.error_at(path, "be none with several objectives", written["name"], do)
        return {"name": "none"}
    pruner = _fill_defaults("pruner", written or {"name": "asha"})
    earliest = pruner.get("min_epochs", pruner.get("warmup_epochs", 0))
    if earliest > budget.reports:
        found = f"{earliest}, and a trial has {budget.reports}"
        raise file.written.error_at(path, "act before a trial's last epoch", found, "lower it, or write none")
    return pruner


def _pruner_path(file: SweepFile, reference: str) -> Path:
    own: Path = ("families", reference)
    places: list[Path] = [(*own, "pruner"), (*own, "search", "pruner"), ("search", "pruner")]
    return next((path for path in places if file.written.value_at(path) is not None), places[-1])


# -- where and how its trials run ----------------------------------------------------------------------------


def _resources(file: SweepFile, reference: str, entry: FamilyEntry, checked: CheckedFamily) -> Resources:
    merged = {**entry_values(file.sweep.resources), **entry_values(entry.resources)}
    for name in ("lanes", "weight"):
        merged.pop(name, None)
    if merged.get("gpus") == "auto":
        del merged["gpus"]
    if "privacy" in checked.options and merged.get("workers", 1) != 1:
        must = "stand beside one worker, which draws every step"
        path = ("families", reference, "options", "privacy")
        raise file.written.error_at(path, must, f"workers: {merged['workers']}", "write workers: 1")
    if isinstance(checked.code, type) and checked.code.one_process:
        _check_one_process(file, reference, entry, merged)
        merged["gpus"] = 0
    if merged.get("accelerator") == "any":
        del merged["accelerator"]
    if "memory" in merged:
        merged["memory_bytes"] = merged.pop("memory")
    resources = Resources(**merged)
    if resources.sharding != "none":
        _check_sharding(file, reference, entry, checked, resources.workers)
    return resources


def _check_sharding(
    file: SweepFile, reference: str, entry: FamilyEntry, checked: CheckedFamily, workers: int
) -> None:
    own = "sharding" in entry_values(entry.resources)
    path: Path = ("families", reference, "resources", "sharding") if own else ("resources", "sharding")
    if workers == 1:
        do = "write workers: 2 or more, or sharding: none"
        raise file.written.error_at(path, "come with several workers", "workers: 1", do)
    if not may_shard(checked.code):
        do = f"write sharding: none in {reference}"
        raise file.written.error_at(path, "be for families whose steps Velodrome makes", reference, do)


def _check_one_process(
    file: SweepFile, reference: str, entry: FamilyEntry, merged: Mapping[str, Json]
) -> None:
    """Refuses what a family of one process on CPUs has no use for."""
    for name, alone in (("workers", 1), ("gpus", 0)):
        found = merged.get(name, alone)
        if found != alone:
            own = name in entry_values(entry.resources)
            path: Path = ("families", reference, "resources", name) if own else ("resources", name)
            do = f"write {name}: {alone} under families.{reference}.resources"
            must = f"be {alone} for a family that one process trains on CPUs"
            raise file.written.error_at(path, must, f"{found} for {reference}", do)


def _checkpoint(file: SweepFile, entry: FamilyEntry) -> str:
    merged = {**entry_values(file.sweep.checkpoint), **entry_values(entry.checkpoint)}
    return str(merged.get("every", "30s"))


def entry_values(entry: BaseModel | None) -> dict[str, Any]:
    """What is written of a mapping, without what is left out or null."""
    return {} if entry is None else dict(entry.model_dump(exclude_none=True))
