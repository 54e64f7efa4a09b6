"""From what a person typed for a model to the model's files."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flows.config.lookup import sweep_in_ledger
from flows.config.recorded_code import find_code_of_row, find_code_of_sweep
from infra.errors import Unavailable, WrongInput
from infra.home import Home, storage_root
from infra.ledger import views
from infra.ledger.ranking import best_trial
from infra.mirror import fetch
from infra.registry.store import CHAMPION, ModelVersion, Registry, registry_uri
from infra.serving.artifact import Artifact, read_artifact
from infra.serving.model_reference import ModelReference, find_version, parse_reference
from infra.serving.registry_source import RegistrySource
from infra.tracking.client import is_unused
from trainers.storage.encryption import plain_content


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """What answers.

    Attributes:
        name: fit for a key and a file's name.
        version: the registered version, where it is one.
        follows: the alias that it was found by; None where it is pinned.
        artifact: its files; None for a registered version that was not fetched.
        warning: what a person should know of the choice; may be empty.
    """

    name: str
    version: ModelVersion | None = None
    follows: str | None = None
    artifact: Artifact | None = None
    warning: str = ""


def registry_of(home: Home) -> Registry | None:
    """The registry that commands use; None where nothing was ever tracked in the embedded store."""
    uri = registry_uri(home)
    return None if is_unused(uri) else Registry.open(uri, home)


def choose_model(text: str, home: Home) -> ModelChoice:
    """The model that is meant; registered versions are found, but not yet fetched.

    Raises:
        WrongInput: no such model, version, run or sweep.
        Unavailable: the registry or the ledger does not answer.
    """
    reference = parse_reference(text)
    if reference.sweep:
        return _choose_sweep(reference.sweep, home, "")
    registry = registry_of(home)
    if reference.uri:
        return _choose_uri(reference.uri, registry, home)
    version = find_version(registry, reference) if registry else None
    if version is not None:
        find_code_of_sweep(version.tags.get("velodrome.sweep"), home)
        alias = None if reference.version else reference.alias or CHAMPION
        return ModelChoice(name=reference.name, version=version, follows=alias)
    if reference.alias or reference.version:
        raise _not_registered_error(reference)
    try:
        return _choose_sweep(reference.name, home, f"no registered model {reference.name} has a champion; ")
    except WrongInput as error:
        do = "`velodrome promote` makes a sweep's winner the champion of a model"
        must = "a model must be registered with a champion, or be a sweep's name"
        raise WrongInput(must, f"no champion of {reference.name}; {error.found or error.must}", do) from None


def fetch_artifact(chosen: ModelChoice, home: Home) -> Artifact:
    """The files of what was chosen."""
    if chosen.artifact is not None:
        return chosen.artifact
    registry = registry_of(home)
    assert registry is not None
    assert chosen.version is not None
    with tempfile.TemporaryDirectory(prefix="velodrome-fetch-") as folder:
        return RegistrySource(registry).fetch(chosen.version.label, Path(folder))


def _choose_uri(uri: str, registry: Registry | None, home: Home) -> ModelChoice:
    if registry is None:
        raise WrongInput("a model must be there", f"{uri}: nothing was ever tracked in this home")
    with tempfile.TemporaryDirectory(prefix="velodrome-fetch-") as folder:
        artifact = RegistrySource(registry).fetch_uri(uri, Path(folder))
    if artifact.bundle:
        find_code_of_sweep(
            json.loads(plain_content("model.json", artifact.files["model.json"]))["facts"].get("sweep"), home
        )
    name = uri.partition(":/")[2].replace("/", "-")
    return ModelChoice(name=name, artifact=artifact, warning=f"{uri}: nobody promoted this model")


def _choose_sweep(name: str, home: Home, because: str) -> ModelChoice:
    with sweep_in_ledger(name, home) as (ledger, sweep):
        trials = [t for t in views.trials(ledger, sweep.id, role="search") if t.model is not None]
    find_code_of_row(sweep)
    winner = best_trial(trials, sweep.spec.objectives)
    if winner is None or winner.model is None:
        raise WrongInput(
            "a sweep must have a trial whose model was kept",
            f"{sweep.label}: none of {len(trials)}" if trials else f"{sweep.label} has none",
            "run it to its end; own functions must return `trial.model(…)`",
        )
    root = storage_root(home, sweep.spec).resolve()
    folder = (root / winner.model).resolve()
    fetch(folder, exact=True)
    if not folder.is_relative_to(root) or not folder.is_dir():
        raise Unavailable("the model must be where the ledger says", f"{folder} is not there")
    key = f"{sweep.label}/{winner.family}-{winner.number}"
    warning = f"{because}using the best trial of the sweep {sweep.label}, {winner.family} #{winner.number}"
    return ModelChoice(
        name=sweep.label.replace("@", "-"),
        artifact=read_artifact(key, folder),
        warning=f"{warning}, which nobody promoted",
    )


def _not_registered_error(reference: ModelReference) -> WrongInput:
    return WrongInput(
        "a version must be registered, and an alias point at one", f"no {reference.text}",
        "`velodrome history MODEL` shows what was promoted; `velodrome ui` the registry",
    )  # fmt: skip
