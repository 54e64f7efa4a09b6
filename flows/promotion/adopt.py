"""`velodrome adopt`: accepts where somebody moved a champion by hand."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from flows.promotion.registry_access import check_reason, open_mover
from flows.terminal.json_results import PlainResult
from infra.errors import RefusedError
from infra.home import Home
from infra.registry.artifacts import fetch_version
from infra.registry.chain import Chain
from infra.registry.integrity import version_mismatch
from infra.registry.moves import Mover
from infra.registry.store import ModelVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption(PlainResult):
    """Where the champion points, and since which record the history says so too.

    Attributes:
        former: where the history had it.
        changed: False where there was nothing to adopt.
    """

    model: str
    version: int | None
    former: int | None
    changed: bool
    entry: int | None


def adopt(model: str, *, reason: str = "", registry: str | None = None, home: Home | None = None) -> Adoption:
    """Records that the champion is where the alias points; no gate was applied to it.

    Args:
        model: a registered model.
        reason: kept in the history.
        registry: the registry's address; by default `MLFLOW_TRACKING_URI` or the embedded store.

    Raises:
        WrongInput: no such model.
        RefusedError: the version is not what the history has.
        ConcurrentChange: somebody else moved the champion meanwhile.
        Unavailable: the registry does not answer.
    """
    check_reason(reason)
    mover = open_mover(model, home or Home.from_environment(), registry)
    chain = mover.finish_pending(foreign=True)
    alias = mover.registry.alias_target(model, "champion")
    move = chain.last_move
    former = None if move is None else move.target
    if alias == former:
        return Adoption(
            model=model,
            version=alias,
            former=former,
            changed=False,
            entry=None if move is None else move.number,
        )
    version = None if alias is None else mover.registry.version(model, alias)
    manifest = None if version is None else version.manifest_sha256
    if version is not None and (found := _find_mismatch(mover, chain, version)):
        do = f"`velodrome rollback {model} --to N` goes back to another"
        raise RefusedError("an adopted version must be what its history has", found, do)
    entry = mover.move_champion(
        chain, "adoption", target=alias, source=alias, reason=reason, manifest=manifest
    )
    return Adoption(model=model, version=alias, former=former, changed=True, entry=entry.number)


def _find_mismatch(mover: Mover, chain: Chain, version: ModelVersion) -> str:
    """How a version differs from what the chain has of it; a version that no entry names is not fetched."""
    if chain.manifest_entry(version.number) is None and chain.files_entry(version.number) is None:
        return ""
    with tempfile.TemporaryDirectory(prefix="velodrome-adopt-") as aside:
        return version_mismatch(chain, version, fetch_version(mover.registry, version, Path(aside)))
