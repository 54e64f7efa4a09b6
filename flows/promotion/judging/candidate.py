"""What is to be promoted: a sweep's winner, one of its trials, or a model that MLflow has already."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flows.config.lookup import open_sweep, sweep_in_ledger
from flows.config.recorded_code import find_code_of_row
from flows.sweeps.ownership import living_owner, owner_error
from infra.errors import WrongInput
from infra.home import Home, ledger_url, storage_root, tracking_uri
from infra.ledger import views
from infra.ledger.ranking import rank_trials
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.names import check_name, quote_input, spell_family
from infra.registry.logged_models import check_ready, find_logged_model, is_logged_uri
from infra.registry.registry_errors import registry_error
from infra.registry.store import CARD_TAG, KEY_TAG, MANIFEST_TAG, Registry
from infra.tracking.client import Connect, TrackingError, connect
from trainers.code.carried import is_carried
from trainers.registry import COMMAND

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

    from infra.tracking.sender import Sender

_VERSION = re.compile(r"models:/([^/@:#?%\\\s]{1,200})/([1-9][0-9]{0,8})")
_ALIAS = re.compile(r"models:/([^/@:#?%\\\s]{1,200})@([\w-]{1,100})")
_CARRIED = (
    "velodrome.sweep",
    "velodrome.family",
    "velodrome.trial",
    "velodrome.fingerprint",
    "velodrome.sweep_id",
    CARD_TAG,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that is in MLflow.

    Attributes:
        model: the registered model that it is to be a version of.
        label: for people.
        key: what identifies its content, for the registry.
        location: where its files are.
        source: what a version of the same store is made of: `models:/m-…`, or the location.
        manifest: what its bundle's manifest hashes to, as the store says; None where it is none of ours.
        sweep: the label of the sweep that it came from, where that is known.
        gates: of that sweep's file, for a model without a policy.
    """

    model: str
    label: str
    key: str
    location: str
    source: str
    run_id: str | None
    manifest: str | None
    sweep: str | None
    gates: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def is_uri(text: str) -> bool:
    """Whether a URI was meant, of whatever kind."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text))


def source_uri(what: str, home: Home, registry: str) -> str:
    """Where the candidate is: the sweep's own tracking store, or the registry that commands use."""
    if is_uri(what):
        return registry
    ledger, row = open_sweep(what, home)
    ledger.close()
    return tracking_uri(home, row.spec)


def candidate_of_sweep(
    name: str,
    home: Home,
    *,
    trial: int | None,
    family: str | None,
    model: str | None,
    connect: Connect = connect,
) -> Candidate:
    """The sweep's winner, or the trial of that number, as a logged model; it is logged now if it was not.

    Raises:
        WrongInput: no such sweep or trial, or none with a model.
        OwnedElsewhere: the sweep is running.
        Unavailable: tracking does not take or give the model.
    """
    with sweep_in_ledger(name, home) as (ledger, row):
        if (owner := living_owner(ledger, row)) is not None:
            raise owner_error(row, owner)
        chosen = _select_trial(ledger, row, family, trial)
        find_code_of_row(row)
        logged = _log_model(row, chosen, home, connect)
    return _candidate_of_logged(
        logged,
        model=check_name(model or row.spec.model or row.spec.name, "model"),
        label=f"{row.label}, {_trial_label(chosen)}",
        gates=row.spec.gates,
        sweep=row.label,
        tags={CARD_TAG: json.dumps({**row.spec.card, "data": row.spec.data})},
    )


def _trial_label(trial: TrialRow) -> str:
    number = (trial.origin or {}).get("number", trial.number) if trial.role == "confirm" else trial.number
    seed = f", seed {trial.seed}" if trial.role == "confirm" else ""
    return f"{trial.family} #{number}{seed}"


def _select_trial(ledger: Ledger, row: SweepRow, family: str | None, number: int | None) -> TrialRow:
    """Of the winner's confirmed runs the one with the median validation value; else the trial itself."""
    from flows.confirmation.runs import median_run

    family = spell_family(family)
    if family is not None and family not in {entry.name for entry in row.spec.families}:
        known = ", ".join(entry.name for entry in row.spec.families)
        raise WrongInput(f"--family must be one of {row.label}'s: {known}", quote_input(family))
    trials = [t for t in views.trials(ledger, row.id) if family in (None, t.family)]
    named = [t for t in trials if t.number == number]
    if number is not None and len(named) != 1:
        found = f"{len(named)} trials #{number} in {row.label}"
        raise WrongInput("--trial must name one trial", found, "give --family too" if named else "")
    confirmed = median_run(ledger, row, family=family, number=number)
    if confirmed is not None:
        return confirmed.trial
    best = named or rank_trials(trials, row.spec.objectives)[:1]
    if not best or best[0].state != "complete":
        do = f"`velodrome status {row.label}` tells how its trials ended"
        raise WrongInput("a promoted trial must be complete", f"none such in {row.label}", do)
    if best[0].model is None:
        do = _advise_keeping(row.spec.family(best[0].family).reference)
        raise WrongInput("a promoted trial must have a model", f"{_trial_label(best[0])} kept none", do)
    return best[0]


def _advise_keeping(reference: str) -> str:
    """What to do so that trials of a family keep their models."""
    kept = "sweep with keep: {models: all}, or confirm it first"
    if reference == COMMAND:
        return f"write keep: and predict: for the command; where it has them, {kept}"
    if ":" not in reference:
        return kept
    named = f"have the function name its model by trial.model; where it does, {kept}"
    if not is_carried(reference):
        return named
    return f"move the notebook's function into a file with its build and predict, sweep that one, and {named}"


def _log_model(row: SweepRow, trial: TrialRow, home: Home, connect: Connect) -> LoggedModel:
    from infra.tracking.sender import Sender

    sender: Sender = Sender(
        ledger_url(home, row.spec.ledger), row.id, uri=tracking_uri(home, row.spec), home=home,
        storage=storage_root(home, row.spec), connect=connect,
    )  # fmt: skip
    try:
        return sender.log_model(trial)
    except TrackingError as error:
        raise registry_error(error, tracking_uri(home, row.spec)) from None
    finally:
        sender.stop()


def candidate_of_uri(uri: str, registry: Registry, *, model: str | None) -> Candidate:
    """A model by `models:/m-…`, `models:/NAME/VERSION`, `models:/NAME@ALIAS` or `runs:/RUN/NAME`.

    Raises:
        WrongInput: another scheme or form, no such model, or no name to register it under.
    """
    if is_logged_uri(uri):
        return _candidate_of_logged(
            find_logged_model(registry, uri), model=_require_model_name(model, uri), label=uri
        )
    if (found := _VERSION.fullmatch(uri)) or (found := _ALIAS.fullmatch(uri)):
        return _candidate_of_version(registry, found[1], found[2], uri, model)
    raise _uri_error(uri)


def check_uri(uri: str) -> None:
    """Refuses what names no model, before a registry is opened, or made, for it.

    Raises:
        WrongInput: another scheme or form.
    """
    if not is_logged_uri(uri) and not any(form.fullmatch(uri) for form in (_VERSION, _ALIAS)):
        raise _uri_error(uri)


def _uri_error(uri: str) -> WrongInput:
    return WrongInput(
        "a model must be given as models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-… or runs:/RUN/NAME",
        quote_input(uri),
        "name a sweep, or one of these",
    )


def _require_model_name(model: str | None, uri: str) -> str:
    if model is None:
        raise WrongInput(
            "a model from elsewhere needs a name to be registered under",
            quote_input(uri),
            "give --model NAME",
        )
    return check_name(model, "model")


def _candidate_of_version(
    registry: Registry, name: str, which: str, uri: str, model: str | None
) -> Candidate:
    number = int(which) if which.isdecimal() else registry.alias_target(name, which)
    version = None if number is None else registry.version(name, number)
    if version is None:
        raise WrongInput("a registered version must be there", quote_input(uri))
    return Candidate(
        model=check_name(model or name, "model"),
        label=uri,
        key=version.tags.get(KEY_TAG) or f"{version.label} of {version.source}",
        location=registry.location(version),
        source=version.source,
        run_id=version.run_id,
        manifest=version.manifest_sha256,
        sweep=version.tags.get("velodrome.sweep"),
        tags={name: version.tags[name] for name in _CARRIED if name in version.tags},
    )


def _candidate_of_logged(
    logged: LoggedModel,
    *,
    model: str,
    label: str,
    gates: Mapping[str, object] | None = None,
    sweep: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Candidate:
    check_ready(logged, label)
    tags = {**(logged.tags or {}), **(tags or {})}
    return Candidate(
        model=model,
        label=label,
        key=tags.get(KEY_TAG) or str(logged.model_id),
        location=str(logged.artifact_location),
        source=f"models:/{logged.model_id}",
        run_id=logged.source_run_id or None,
        manifest=tags.get(MANIFEST_TAG),
        sweep=sweep or tags.get("velodrome.sweep"),
        gates=gates or {},
        tags={name: tags[name] for name in _CARRIED if name in tags},
    )
