"""How a sweep looks in MLflow: names, tags, parameters and points, as functions of the ledger's rows."""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import TypeGuard

from infra.ledger.rows import EventRow, SweepRow, TrialRow
from infra.secrets import redact
from infra.spec import FamilySpec
from search_spaces.values import ParamValue, plain_text
from trainers.metric_names import FOR_ALL, names_of_classes, names_of_groups
from trainers.types import Json, Params

FACTS = (*FOR_ALL, "train_flops")
STATUS = {
    "waiting": "SCHEDULED",
    "running": "RUNNING",
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
}
SWEEP_STATUS = {"running": "RUNNING", "finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
ENDED = frozenset({"FINISHED", "KILLED", "FAILED"})

KEY = "velodrome.key"
SWEEP = "velodrome.sweep_id"
PARENT = "sweep"  # the parent run's part of the key
BY_CLASS = "value by class"  # a section of MLflow's UI, which sorts them by name: behind train and val

BY_GROUP = "value by group"

_INACTIVE = "inactive"
_PARAM_CHARACTERS = 6_000  # MLflow's limits
_TAG_CHARACTERS = 8_000
_KEY_CHARACTERS = 250
_SAFE = re.compile(r"[\w.:-]{1,128}", re.ASCII)

Point = tuple[str, float, int, int]  # name, value, milliseconds since 1970, step


def sweep_identity(sweep: SweepRow) -> str:
    """12 hex digits that no other sweep has, of the same name in another ledger neither."""
    parts = [sweep.spec.name, sweep.spec.version, sweep.created_at, sweep.fingerprint]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def trial_key(identity: str, role: str, family: str, number: int) -> str:
    """What identifies a trial's run in any tracking store; safe inside quotes of MLflow's filters."""
    safe = family if _SAFE.fullmatch(family) else hashlib.sha256(family.encode()).hexdigest()[:16]
    return f"{identity}/{role}/{safe}/{number}"


def parent_key(identity: str) -> str:
    """What identifies a sweep's parent run."""
    return f"{identity}/{PARENT}"


def run_name(trial: TrialRow) -> str:
    """`image_cnn-0007`; a confirmation says that it is one."""
    name = f"{trial.family}-{trial.number:04d}"
    return name if trial.role == "search" else f"{trial.role}-{name}"


def best_name(metric: str) -> str:
    """The name of a metric at the kept epoch: `best/accuracy` for `val/accuracy`."""
    return clean_name("best/" + metric.removeprefix("val/").replace("/", "_"))


def class_name(metric: str) -> str:
    """The name of a class's metric: in a section of its own, behind those of all."""
    prefix, _, rest = metric.rpartition("/")
    return clean_name(f"{BY_CLASS}/{rest}" if prefix == "val" else f"{BY_CLASS}/{prefix} {rest}")


def group_name(metric: str) -> str:
    """The name of a metric of a sensitive column's group: in a section of its own too."""
    prefix, _, rest = metric.partition("/")
    return clean_name(f"{BY_GROUP}/{rest}" if prefix == "val" else f"{BY_GROUP}/{prefix} {rest}")


def sweep_label_query(label: str) -> str:
    """MLflow's filter for the runs of a sweep."""
    return f"tags.`velodrome.sweep` = '{label}'"


def clean_name(name: str) -> str:
    """The name with characters that MLflow refuses replaced."""
    plain = re.sub(r"[^\w.\-/ :]", "_", name)
    parts = [part for part in plain.split("/") if part.strip(". ")]
    return "/".join(parts)[:_KEY_CHARACTERS] or "_"


def to_milliseconds(seconds: float) -> int:
    """MLflow's clock."""
    return int(seconds * 1000)


# -- tags --------------------------------------------------------------------------------------------------


def sweep_tags(sweep: SweepRow) -> dict[str, str]:
    """What is so for the sweep as a whole; on its children too, so that they can be grouped by it."""
    git = sweep.facts.get("git") or {}
    versions = sweep.facts.get("versions") or {}
    tags = {
        SWEEP: sweep_identity(sweep),
        "velodrome.sweep": sweep.label,
        "velodrome.version": str(sweep.spec.version),
        "velodrome.seed": str(sweep.spec.seed),
        "velodrome.objective": ", ".join(f"{o.direction} {o.metric}" for o in sweep.spec.objectives),
        "velodrome.data": str(sweep.spec.data.get("source", "")),
        "velodrome.fingerprint": sweep.fingerprint,
        "velodrome.git_commit": str(git.get("commit") or ""),
        "velodrome.git_dirty": str(git.get("dirty", "")).lower(),
        "velodrome.code_changed": ", ".join(sweep.facts.get("code_changed", ())),
        "velodrome.packages": ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
        "mlflow.source.git.commit": str(git.get("commit") or ""),
        "mlflow.source.name": str(sweep.facts.get("command") or "velodrome"),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": str(sweep.facts.get("user") or _user_name()),
    }
    return _truncate_tags(tags)


def trial_tags(sweep: SweepRow, trial: TrialRow, inactive: Iterable[str]) -> dict[str, str]:
    """What a trial's run is created with, beside `sweep_tags`."""
    tags = {
        KEY: trial_key(sweep_identity(sweep), trial.role, trial.family, trial.number),
        "velodrome.family": trial.family,
        "velodrome.trial": str(trial.number),
        "velodrome.role": trial.role,
        "velodrome.trial_seed": str(trial.seed),
        "velodrome.inactive": ", ".join(inactive),
        "velodrome.origin": json.dumps(trial.origin) if trial.origin else "",
        **_beginning_tags(sweep, trial.family),
    }
    return _truncate_tags({**tags, **state_tags(trial)})


def _beginning_tags(sweep: SweepRow, family: str) -> dict[str, str]:
    """Whose weights a family's trials began with: a name for people, the run and its key for queries."""
    spec = next((spec for spec in sweep.spec.families if spec.name == family), None)
    found = {} if spec is None else spec.begins_with
    if not found:
        return {}
    return {
        "velodrome.begins_with": f"{found['sweep']} {found['family']}-{found['number']:04d}",
        "velodrome.begins_with_key": str(found["key"]),
        "velodrome.begins_with_run": str(found.get("run_id") or ""),
    }


def state_tags(trial: TrialRow) -> dict[str, str]:
    """What changes while a trial lives; an empty reason takes an earlier one back."""
    tags = {"velodrome.state": trial.state, "velodrome.attempts": str(trial.attempts)}
    if (width := trial.facts.get("stack")) is not None:
        tags["velodrome.stack"] = str(width)
    for name, value in trial.facts.get("place", {}).items():
        tags |= {f"velodrome.{name}": str(value)} if value else {}
    return {**tags, "velodrome.reason": truncate_text(redact(trial.reason or ""), _TAG_CHARACTERS)}


def _truncate_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {
        name: truncate_text(redact(value), _TAG_CHARACTERS) for name, value in tags.items() if value != ""
    }


def truncate_text(text: str, characters: int) -> str:
    """The text, cut with an ellipsis where MLflow would refuse its length."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


# -- parameters --------------------------------------------------------------------------------------------


def run_parameters(family: FamilySpec, trial: TrialRow, defaults: Params) -> tuple[dict[str, str], list[str]]:
    """Every name of the family's space with what training uses, and the names that a `when` left out.

    Own code has no defaults: what it was not given is `inactive`, and a choice of that text is quoted.

    Args:
        family: whose space says which names there are.
        trial: whose sampled values come first.
        defaults: what training uses for a name that was not sampled.
    """
    inactive = [name for name in space_names(family) if name not in trial.params]
    values = {**trial.params, **{name: defaults[name] for name in inactive if name in defaults}}
    texts = {name: _param_text(value) for name, value in values.items()}
    texts |= {name: _INACTIVE for name in inactive if name not in defaults}
    return {clean_name(name): text for name, text in texts.items()}, sorted(inactive)


def space_names(family: FamilySpec, *, searched_only: bool = False) -> list[str]:
    """The names of a family's space, in order; constants too unless only what is searched is wanted."""
    entries = family.space.get("parameters", ())
    return [e["name"] for e in entries if not searched_only or e.get("type") != "constant"]


def _param_text(value: ParamValue) -> str:
    text = redact(json.dumps(value) if value == _INACTIVE else plain_text(value))
    if len(text) <= _PARAM_CHARACTERS:
        return text
    mark = f"… ({hashlib.sha256(text.encode()).hexdigest()[:12]})"  # two long texts may begin alike
    return text[: _PARAM_CHARACTERS - len(mark)] + mark


# -- points ------------------------------------------------------------------------------------------------


def report_points(event: EventRow) -> list[Point]:
    """One `reported` event's numbers at its epoch, with the ledger's time."""
    at, epoch = to_milliseconds(event.at), int(event.payload["epoch"])
    return _make_points(event.payload["metrics"], at, epoch)


def final_points(sweep: SweepRow, trial: TrialRow) -> list[Point]:
    """What is known at a trial's end: its numbers at the kept epoch, and its facts.

    All at step 0: the UI draws bars, one a trial, where no run has a later step.
    """
    at = to_milliseconds(trial.ended_at or trial.created_at)
    best = {best_name(n): v for n, v in trial.metrics.items() if n.startswith("val/")}
    named = zip(sweep.spec.objectives, trial.objective or (), strict=False)
    best |= {best_name(goal.metric): value for goal, value in named}
    best |= {"best/epoch": trial.epoch} if best else {}
    if trial.role != "search":  # no bar among those of the trials
        best = {name.replace("best/", f"{trial.role}/", 1): value for name, value in best.items()}
    test = {n: v for n, v in trial.metrics.items() if n.startswith("test/")}
    facts = {n: v for n, v in trial.facts.items() if n in FACTS or n.startswith("system/")}
    return _make_points({**best, **test, **facts}, at, 0)


def _make_points(values: Mapping[str, Json], at: int, step: int) -> list[Point]:
    by_class, by_group = names_of_classes(values), names_of_groups(values)
    return [
        (
            class_name(n) if n in by_class else group_name(n) if n in by_group else clean_name(n),
            float(v),
            at,
            step,
        )
        for n, v in values.items()
        if _is_plottable(v)
    ]


def _is_plottable(value: Json) -> TypeGuard[float]:
    # MLflow stores infinity as 1.8e308, which flattens every axis, and NaN as 0 with a mark.
    return isinstance(value, (int, float)) and math.isfinite(value)
