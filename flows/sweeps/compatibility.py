"""What may not change between two runs of a sweep, and what may: growth, and how it is run. Pure."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import Any

from flows.terminal.formatting import printable_text
from infra.errors import WrongInput
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.broken_families import mark_outdated
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger
from infra.spec import FamilySpec, SweepSpec
from search_spaces.values import plain_text

# Of a family: growth, code (which is asked about), and what is said of weights that options name by hash.
_MAY_CHANGE = {"trials", "compressed", "source_hash", "name", "begins_with"}
# Of a family's resources only these make other trials: with N workers a step sees N times the batch.
_RESOURCES = ("workers", "sharding")
# Of a sweep: budgets may grow, and how it is run may change; none of these changes a trial's result.
_FREE = {
    "families",
    "version",
    "minutes",
    "gpu_hours",
    "cost",
    "prices",
    "lanes",
    "weight",
    "limits",
    "gates",
    "model",
}
_FREE |= {"card", "code", "tracking_uri", "experiment", "ledger", "storage", "keep_checkpoints"}
_FREE |= {"objectives"}  # told as `objective`, as in a file
_WRITTEN_AS = {"keep_models": "keep.models", "warm_start": "search.warm_start"}
_FAMILY_WRITTEN_AS = {"checkpoint_every": "checkpoint.every"}
_ABSENT: Any = object()  # of what one side does not have: no value of a file is that
_SHOWN, _BEFORE = 120, 40  # characters of a value in a message, and how many of them before the difference
_ABSENT_TEXT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecChange:
    """How a sweep goes on with what a file, its data and its code say now.

    Attributes:
        spec: the sweep as it will be run: the larger budget of both, new families added.
        grown: family → number of trials, where there are more now.
        refused: `key: before → now` for each change that would make another sweep of it.
        code_changed: families whose source is not the same any more.
    """

    spec: SweepSpec
    grown: Mapping[str, int]
    refused: tuple[str, ...]
    code_changed: tuple[str, ...]


def compare_sweep(known: SweepRow, now: SweepSpec, fingerprint: str) -> SpecChange:
    """Compares the ledger's sweep with what its specification, its code and its data are now."""
    change = compare_specs(known.spec, now)
    if known.fingerprint == fingerprint:
        return change
    data = f"data: fingerprint {known.fingerprint[:12]} → {fingerprint[:12]}"
    return replace(change, refused=(*change.refused, data))


def compare_specs(before: SweepSpec, now: SweepSpec) -> SpecChange:
    """As `compare_sweep`, of the specifications alone."""
    old = {family.name: family for family in before.families}
    new = {family.name: family for family in now.families}
    refused = [*_differences("", _deciding_keys(before), _deciding_keys(now))]
    for name, known in old.items():
        if name in new:
            if new[name].stack == "auto" or (known.stack, new[name].stack) == (None, "off"):
                # As it began: a sweep of before there were stacks, or before its family could be stacked.
                new[name] = replace(new[name], stack=known.stack)
            if not known.weights:  # of a sweep from before they were hashed
                new[name] = replace(new[name], weights={})
            refused += _family_differences(known, new[name])
        else:
            refused.append(f"families.{name}: removed from the file")
    # Families keep the order in which they were first asked for: their turns depend on it.
    ordered = sorted(new.values(), key=lambda f: list(old).index(f.name) if f.name in old else len(old))
    larger = (_larger_family(old[f.name], f) if f.name in old else f for f in ordered)
    spec = replace(
        now,
        version=before.version,
        families=tuple(larger),
        minutes=_larger_budget(before.minutes, now.minutes),
        gpu_hours=_larger_budget(before.gpu_hours, now.gpu_hours),
        cost=_larger_budget(before.cost, now.cost),
    )
    return SpecChange(
        spec=spec,
        grown={f.name: f.trials for f in new.values() if f.name not in old or f.trials > old[f.name].trials},
        refused=tuple(refused),
        code_changed=tuple(n for n, f in new.items() if n in old and f.source_hash != old[n].source_hash),
    )


def refuse_changes(
    known: SweepRow, change: SpecChange, *, accept_code_change: bool | None, file: str | None = None
) -> None:
    """Refuses what would mix two sweeps in one.

    Args:
        accept_code_change: what the command's option says; None: it has none.
        file: what was compared, where it was a file or a mapping and not only the code and the data as they
            are now.

    Raises:
        WrongInput: names each difference with both values, or the families whose code changed.
    """
    if change.refused:
        what = f"{file} must describe" if file is not None else "code and data must be those of"
        raise WrongInput(
            f"{what} the sweep {known.label} that its ledger has",
            "; ".join(change.refused),
            "undo the change, give the file another name:, or start the next version with --new",
        )
    if change.code_changed and not accept_code_change:
        commit = (known.facts.get("git") or {}).get("commit")
        since = f" (the sweep began at commit {commit[:12]})" if commit else ""
        by = "with" if accept_code_change is not None else "by `velodrome sweep` with its file and"
        raise WrongInput(
            f"the code of {known.label}'s families must be what its trials were made with",
            f"another source of {', '.join(change.code_changed)}",
            f"undo the change{since}, start the next version {by} --new, or carry the sweep on {by} "
            "--accept-code-change (recorded)",
        )


def record_code_change(
    ledger: Ledger, known: SweepRow, change: SpecChange, batch: WriteBatch, at: float
) -> dict[str, Any]:
    """The sweep's facts with an accepted change of code, which every run from here on says; and its event.
    Trials that ended with the former code are marked."""
    if not change.code_changed:
        return dict(known.facts)
    batch.add_event("code-change", at, {"families": list(change.code_changed)})
    said = {*known.facts.get("code_changed", ()), *change.code_changed}
    for trial in mark_outdated(views.trials(ledger, known.id), change.code_changed):
        batch.trials[trial.key] = trial
    return {**known.facts, "code_changed": sorted(said)}


def _larger_family(known: FamilySpec, now: FamilySpec) -> FamilySpec:
    return replace(now, trials=max(now.trials, known.trials), compressed=known.compressed)


def _larger_budget(one: float | None, other: float | None) -> float | None:
    """The larger of two budgets; None is none, and so the largest."""
    return None if one is None or other is None else max(one, other)


def _deciding_keys(spec: SweepSpec) -> dict[str, Any]:
    whole = spec.to_json()
    whole["objective"] = whole["objectives"] if len(spec.objectives) > 1 else {**whole["objectives"][0]}
    return {_WRITTEN_AS.get(key, key): value for key, value in whole.items() if key not in _FREE}


def _family_differences(before: FamilySpec, now: FamilySpec) -> Iterator[str]:
    one, other = (_deciding_family_keys(family) for family in (before, now))
    where = f"families.{now.name}"
    found = list(_differences(where, one, other))
    yield from found
    orders = [list(document["space"]) for document in (one, other)]
    if not found and orders[0] != orders[1]:  # the samplers draw parameters in their order
        yield _difference(f"{where}.space", *orders)


def _deciding_family_keys(family: FamilySpec) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(json.dumps(asdict(family)))  # as a ledger gives it back
    document = {_FAMILY_WRITTEN_AS.get(k, k): value for k, value in whole.items() if k not in _MAY_CHANGE}
    document["resources"] = {key: whole["resources"][key] for key in _RESOURCES}
    document["space"] = {entry.pop("name"): entry for entry in whole["space"].get("parameters", ())}
    return document


def _differences(where: str, before: Any, now: Any) -> Iterator[str]:
    """`key: before → now` of each innermost value that is not the same."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in {**before, **now}:
            inner = f"{where}.{key}" if where else str(key)
            yield from _differences(inner, before.get(key, _ABSENT), now.get(key, _ABSENT))
    elif _are_mappings(before, now):
        for place, pair in enumerate(zip(before, now, strict=True)):
            yield from _differences(f"{where}[{place}]", *pair)
    elif before is _ABSENT or now is _ABSENT or _identify(before) != _identify(now):
        yield _difference(where, before, now)


def _identify(value: Any) -> str:
    """A text that two values share where they are the same in type too."""
    return json.dumps(value, sort_keys=True)


def _are_mappings(before: Any, now: Any) -> bool:
    """Whether both are lists of as many mappings, as several objectives and start configurations are."""
    lists = isinstance(before, list) and isinstance(now, list) and len(before) == len(now)
    return lists and all(isinstance(entry, Mapping) for entry in (*before, *now))


def _difference(where: str, before: Any, now: Any) -> str:
    one, other = (_ABSENT_TEXT if value is _ABSENT else _write_value(value) for value in (before, now))
    if _reads_alike(one, other):
        one, other = (text.encode("ascii", "backslashreplace").decode() for text in (one, other))
    apart = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
    return f"{where}: {_shorten(one, apart)} → {_shorten(other, apart)}"


def _write_value(value: Any) -> str:
    """As in a file of JSON, but texts as they are where they read as nothing else."""
    if isinstance(value, str):
        return json.dumps(value) if value == _ABSENT_TEXT else plain_text(value)
    return printable_text(json.dumps(value, ensure_ascii=False))


def _reads_alike(one: str, other: str) -> bool:
    """Whether only letters of another alphabet, or another spelling of the same ones, set two texts apart."""
    if unicodedata.normalize("NFKC", one) == unicodedata.normalize("NFKC", other):
        return True
    pairs = [(a, b) for a, b in zip(one, other, strict=False) if a != b]
    return len(one) == len(other) and all(a.isascii() != b.isascii() for a, b in pairs)


def _shorten(text: str, apart: int) -> str:
    """The text, or as much of it as shows the place where it differs from another one."""
    if len(text) <= _SHOWN:
        return text
    begin = max(0, min(apart - _BEFORE, len(text) - _SHOWN)) if apart + _BEFORE > _SHOWN else 0
    cut = text[begin : begin + _SHOWN]
    return f"{'…' * (begin > 0)}{cut}{'…' * (begin + len(cut) < len(text))}"
