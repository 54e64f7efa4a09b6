"""`velodrome rollback`: a former champion again, once it is known to load still."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.promotion.card import describe_in_mlflow
from flows.promotion.registry_access import check_reason, open_mover
from flows.terminal.json_results import PlainResult
from infra.errors import RefusedError, WrongInput
from infra.home import Home
from infra.registry.artifacts import fetch_version
from infra.registry.chain import Chain
from infra.registry.contents import loading_objection
from infra.registry.integrity import hash_files, version_mismatch
from infra.registry.isolated_predict import UnusableModel, predict_isolated
from infra.registry.moves import Mover, champion_line
from infra.registry.store import ModelVersion
from trainers.errors import TrainerError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback(PlainResult):
    """Where the champion points now. `checked`: what was seen of the version before; `note`: what a person
    should know, or empty."""

    model: str
    version: int
    former: int | None
    checked: str
    entry: int
    hash: str
    note: str = ""


def rollback(
    model: str,
    *,
    to: int | None = None,
    reason: str = "",
    registry: str | None = None,
    home: Home | None = None,
) -> Rollback:
    """Points the champion at a former one again.

    Also settles an alias that somebody moved by hand.

    Args:
        to: which former champion; by default the one before the present one.
        reason: kept in the history.
        registry: the registry's address; by default `MLFLOW_TRACKING_URI` or the embedded store.

    Raises:
        WrongInput: no such model, or no former champion of that number.
        RefusedError: the former champion does not load any more.
        ConcurrentChange: somebody else moved the champion meanwhile.
        Unavailable: the registry does not answer.
    """
    check_reason(reason)
    mover = open_mover(model, home or Home.from_environment(), registry)
    chain = mover.finish_pending(foreign=True)
    alias = mover.registry.alias_target(model, "champion")
    number = _target_version(model, chain, alias, to)
    version = mover.registry.version(model, number)
    if version is None:
        there = {version.number for version in mover.registry.versions(model)} - {alias}
        left = sorted(there & {entry.target for entry in chain.entries if entry.is_move})
        do = f"name one that is left with --to: {', '.join(map(str, left))}" if left else "promote another"
        raise RefusedError("a former champion must be in the registry", f"{model}/{number} was deleted", do)
    checked, files = _check_loads(mover, chain, version)
    entry = mover.move_champion(
        chain, "rollback", target=number, source=alias, reason=reason, manifest=version.manifest_sha256,
        facts={"files": files},
    )  # fmt: skip
    unwritten = describe_in_mlflow(mover.registry, model, number, champion=True)
    return Rollback(
        model=model, version=number, former=alias, checked=checked, entry=entry.number, hash=entry.hash,
        note=unwritten,
    )  # fmt: skip


def _target_version(model: str, chain: Chain, alias: int | None, to: int | None) -> int:
    line = champion_line(chain)
    before = [
        number for number in (line[:-1] if alias == (line[-1] if line else None) else line) if number != alias
    ]
    ever = {entry.target for entry in chain.entries if entry.is_move and entry.target is not None}
    if to is None:
        if not before:
            raise WrongInput(
                "a rollback needs a former champion", f"none of {model}", f"see `velodrome history {model}`"
            )
        return before[-1]
    if to not in ever:
        known = ", ".join(map(str, sorted(ever))) if ever else "there are none"
        do = f"former champions: {known}; `velodrome promote models:/{model}/{to}` judges another version"
        raise WrongInput("a rollback must go to a former champion", f"version {to}", do)
    if to == alias:
        raise WrongInput(
            "a rollback must go to another version", f"{to} is the champion", "name another with --to"
        )
    return to


def _check_loads(mover: Mover, chain: Chain, version: ModelVersion) -> tuple[str, str]:
    """Refuses a version whose files have changed or that does not load any more; what was seen of it, and
    what its files hash to."""
    must = f"{version.label} must load as it did"
    with tempfile.TemporaryDirectory(prefix="velodrome-rollback-") as aside:
        files = fetch_version(mover.registry, version, Path(aside))
        if why := version_mismatch(chain, version, files) or loading_objection(files.folder):
            raise RefusedError(must, why, "name another former champion with --to")
        try:
            if files.bundle is not None:
                from trainers.bundle.bundle import load_bundle

                predictor = load_bundle(files.bundle, manifest_sha256=version.manifest_sha256)
                predictor.predict(predictor.example)
                return "its hashes match, and it predicts its example", hash_files(files)
            predict_isolated(files.folder, _input_example(files.folder))
            return "it predicts its example in a new interpreter", hash_files(files)
        except (TrainerError, UnusableModel) as error:
            raise RefusedError(must, str(error), "name another former champion with --to") from error


def _input_example(folder: Path) -> pd.DataFrame:
    from mlflow.models import Model

    example = Model.load(str(folder)).load_input_example(str(folder))
    if example is None:
        raise UnusableModel("no input example to try it on")
    import pandas as pd

    return example if isinstance(example, pd.DataFrame) else pd.DataFrame(example)
