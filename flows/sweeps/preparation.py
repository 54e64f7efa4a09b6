"""From a sweep file to a sweep that can be run: the file, its data and its families, all checked.

Whatever can be wrong is found here, before a ledger is written or Ray is started.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from flows.config.code_root import code_root
from flows.config.families import check_with_data
from flows.config.loading import SweepFile, load_sweep
from flows.config.resolving import resolve_families, resolve_sweep
from infra.home import Home
from infra.secrets import redact
from infra.spec import SweepSpec
from trainers.code.versions import installed_versions
from trainers.errors import InputError
from trainers.loop.energy import require_energy

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset
    from trainers.data_profile import DataProfile
    from trainers.types import Json, JsonObject

SweepSource: TypeAlias = "Path | str | Mapping[str, Json]"

GIT_LIMIT_S = 5.0
_VERSIONS_OF = ("velodrome", "torch", "ray", "optuna", "mlflow", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSweep:
    """A checked sweep file.

    Attributes:
        spec: every key with its value; `version` is 1 until the ledger says otherwise.
        dataset: decoded; None for `data: none`.
        look: what a person should know of the data; None for `data: none`.
        base: the folder that the file's relative paths start from.
        cache: where what is derived from the data is kept.
        own_code: the folder that people's own families are imported from; None where there are none.
    """

    file: SweepFile
    spec: SweepSpec
    dataset: Dataset | None
    look: DataProfile | None
    base: Path
    cache: Path
    own_code: Path | None

    @property
    def fingerprint(self) -> str:
        """Of the data; `none` where own code reads its own."""
        return self.dataset.fingerprint if self.dataset is not None else "none"

    def split_as(self, recorded: str) -> PreparedSweep:
        """The same sweep with its rows on the sides that they had when its data had this fingerprint."""
        if self.dataset is None or recorded == self.fingerprint:
            return self
        from trainers.data.sources.opening import open_dataset
        from trainers.data_profile import profile_dataset

        dataset = open_dataset(self.file.data, base=self.base, cache=self.cache, recorded=recorded)
        if dataset.fingerprint != recorded:
            return self
        return replace(self, dataset=dataset, look=profile_dataset(dataset))


def prepare_sweep(path: SweepSource, overrides: Sequence[str], home: Home) -> PreparedSweep:
    """Reads and checks a sweep file, or a mapping that is one, its data and its families."""
    file = load_sweep(path, overrides)
    resolve_families(
        file
    )  # what needs no data first: a wrong file is refused before torch or pandas are loaded
    base = file.folder
    dataset = _open_data(file, base, home)
    default = None
    if dataset is not None and dataset.task is not None:
        from trainers.metric_names import USUAL

        default = USUAL[dataset.task]
    spec = resolve_sweep(file, default_metric=default)
    try:
        require_energy([objective.metric for objective in spec.objectives])
    except InputError as error:
        raise file.locate_error(error) from error
    own = any(":" in family.reference for family in spec.families)
    if dataset is not None:
        for family in spec.families:
            check_with_data(file, family, dataset)
    look = None
    if dataset is not None:
        from trainers.data_profile import profile_dataset

        look = profile_dataset(dataset)
    return PreparedSweep(
        file=file, spec=spec, dataset=dataset, look=look, base=base, cache=home.cache,
        own_code=code_root(file) if own else None,
    )  # fmt: skip


def _open_data(file: SweepFile, base: Path, home: Home) -> Dataset | None:
    if file.data.get("source") == "none":
        return None
    from trainers.data.sources.opening import open_dataset

    try:
        return open_dataset(file.data, base=base, cache=home.cache)
    except InputError as error:
        raise file.locate_error(error) from error


def sweep_facts(prepared: PreparedSweep) -> JsonObject:
    """What a ledger keeps of a sweep beside its specification."""
    facts: JsonObject = {
        "git": git_facts(prepared.base),
        "versions": installed_versions(_VERSIONS_OF),
        "command": redact(shlex.join(["velodrome", *sys.argv[1:]])),
        **file_facts(prepared),
        **place_facts(prepared),
    }
    look = prepared.look
    if look is not None and prepared.dataset is not None:
        keys, splits = prepared.dataset.row_keys(), prepared.dataset.splits
        facts["data"] = {
            "rows": look.rows,
            "parts": {str(part): rows for part, rows in look.parts.items()},
            "different": {str(part): len(np.unique(keys[rows])) for part, rows in splits.items()},
            "kind": look.kind,
            "task": look.task,
            **_group_facts(prepared.dataset),
        }
        if look.guess is not None:
            facts["trivial"] = dict(look.guess.scores)
    return facts


def _group_facts(dataset: Dataset) -> JsonObject:
    """How many validation rows each group of each sensitive column has, copies counted and not."""
    if not dataset.groups:
        return {}
    rows = dataset.splits["validation"]
    keys = dataset.row_keys()[rows]
    return {
        "groups": {
            name: {
                group: {"rows": int(there.sum()), "different": len(np.unique(keys[there]))}
                for place, group in enumerate(column.names)
                for there in [column.codes[rows] == place]
            }
            for name, column in dataset.groups.items()
        }
    }


def place_facts(prepared: PreparedSweep) -> JsonObject:
    """Where the file and the code lie now: a job's folder is another one each time."""
    return {"base": str(prepared.base), "own_code": str(prepared.own_code) if prepared.own_code else None}


def file_facts(prepared: PreparedSweep) -> JsonObject:
    """The sweep file as it is now, kept so that an export has what was run."""
    return {
        "file": str(prepared.file.path),
        "file_text": redact(prepared.file.text),
        "overrides": [redact(override.written) for override in prepared.file.written.overrides],
    }


def git_facts(folder: Path) -> dict[str, str | bool]:
    """Commit and whether files were changed since; empty where the folder is in no repository."""
    commit = _run_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = _run_git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes)}


def _run_git(folder: Path, *words: str) -> str | None:
    """What it prints; None where there is no git, or it fails."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True, text=True, timeout=GIT_LIMIT_S, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
