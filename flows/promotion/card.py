"""`velodrome card`: a registered version's model card, printed, in a file, and in MLflow."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flows.promotion.card_text import CardFacts, card_body, card_head, write_card
from flows.terminal.json_results import PlainResult
from infra.errors import Unavailable, WrongInput
from infra.home import Home
from infra.names import quote_input
from infra.registry.artifacts import fetch_version
from infra.registry.chain import ChainEntry
from infra.registry.records import Records
from infra.registry.store import CARD_TAG, ModelVersion, Registry, registry_uri
from infra.secrets import redact
from infra.serving.model_reference import find_version, parse_reference
from infra.tracking.client import TrackingError
from trainers.errors import TrainerError
from trainers.types import JsonObject

README = "README.md"  # as the Hugging Face Hub reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCard(PlainResult):
    """A model's card.

    Attributes:
        path: the file that has it; None where none was asked for.
        beside: the file in the version's own folder that has it; None where its folder is not written to.
    """

    model: str
    version: int
    text: str
    path: str | None = None
    beside: str | None = None


def card(
    model: str, *, out: str | None = None, registry: str | None = None, home: Home | None = None
) -> WrittenCard:
    """The card of a registered version, which also becomes the version's description in MLflow, and the
    README.md in its folder.

    Args:
        model: `NAME` (its champion), `NAME@ALIAS` or `NAME/VERSION`.
        out: a new file for the card.
        registry: the registry's address; by default `MLFLOW_TRACKING_URI` or the embedded store.

    Raises:
        WrongInput: no such version, not one of Velodrome's, or the file exists.
        Unavailable: the registry does not answer.
    """
    place = home or Home.from_environment()
    there = Registry.open(registry_uri(place, registry), place)
    version = _find_version(there, model)
    known = gather_facts(there, version)
    text = redact(write_card(known))
    path = None if out is None else _write_new(Path(out), text)
    beside = _describe_version(there, version, known)
    return WrittenCard(
        model=version.model, version=version.number, text=text, path=path,
        beside=f"{there.location(version)}/{README}" if beside else None,
    )  # fmt: skip


def describe_in_mlflow(registry: Registry, model: str, number: int, *, champion: bool) -> str:
    """Writes a version's card as its description and beside its bundle, and the champion's first lines as the
    model's description.

    Returns:
        Why that did not succeed, which never undoes a promotion; empty where it did.
    """
    try:
        version = registry.version(model, number)
        if version is None:
            return ""
        known = gather_facts(registry, version)
        _describe_version(registry, version, known)
        if champion:
            text = redact(f"Champion: version {number}. {card_head(known)}")
            registry.call("update_registered_model", model, description=text)
    except (Unavailable, WrongInput, TrackingError, TrainerError) as error:
        do = f"`velodrome card {model}/{number}` writes it"
        return f"the card of {model}/{number} is not whole in MLflow: {error}; {do}"
    return ""


def _read_card_tag(version: ModelVersion) -> JsonObject:
    """What the sweep's file said of its models."""
    text = version.tags.get(CARD_TAG, "{}")
    with suppress(ValueError):
        if isinstance(written := json.loads(text), dict):
            return written
    do = "delete the tag, and the card has what else is known"
    raise WrongInput(f"the tag {CARD_TAG} of {version.label} must be what a promotion wrote", text[:60], do)


def gather_facts(registry: Registry, version: ModelVersion) -> CardFacts:
    """What is known of a version: its bundle, its tags, and what its model's history has of it."""
    from trainers.bundle.bundle import read_description
    from trainers.bundle.requirements import model_origin

    with tempfile.TemporaryDirectory(prefix="velodrome-card-") as aside:
        files = fetch_version(registry, version, Path(aside))
        if files.bundle is None:
            raise WrongInput("a card needs a model of Velodrome's", f"{version.label} is none", "")
        document = read_description(files.bundle).document
    entry, evidence = _newest_evidence(registry, version)
    return CardFacts(
        label=version.label,
        written=_read_card_tag(version),
        family=model_origin(document),
        params=document["params"],
        facts=document["facts"],
        versions=document["versions"],
        evidence=evidence,
        outcome="" if entry is None else _outcome(entry),
    )


def _newest_evidence(registry: Registry, version: ModelVersion) -> tuple[ChainEntry | None, JsonObject]:
    records = Records(registry, version.model)
    judged = [entry for entry in records.read_chain().entries if entry.kind in ("promotion", "refusal")]
    entries = [entry for entry in judged if entry.target == version.number and entry.content]
    if not entries:
        return None, {}
    return entries[-1], records.read_document(str(entries[-1].content))


def _outcome(entry: ChainEntry) -> str:
    became = {"passed": "It became the champion", "refused": "Its promotion was refused"}
    return f"{became.get(entry.verdict or '', 'It was judged')} (entry {entry.number} of its history)."


def _describe_version(registry: Registry, version: ModelVersion, known: CardFacts) -> bool:
    """Whether the card is in the version's folder too."""
    text = redact(card_body(known, listed=True))
    registry.call("update_model_version", version.model, str(version.number), description=text)
    return registry.write_beside(version, README, redact(write_card(known)))


def _find_version(registry: Registry, text: str) -> ModelVersion:
    reference = parse_reference(text)
    if not reference.name:
        raise WrongInput(
            "a card is of a registered version", quote_input(text), "write NAME, NAME@ALIAS or NAME/VERSION"
        )
    found = find_version(registry, reference)
    if found is None:
        do = f"`velodrome history {reference.name}` shows what was promoted"
        raise WrongInput("a card is of a registered version", f"no {reference.text}", do)
    return found


def _write_new(path: Path, text: str) -> str:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise WrongInput("--out must name a new file", str(path), "give another name") from None
    except OSError as error:
        raise WrongInput("--out must name a file that can be written", f"{path}: {error.strerror}") from error
    return str(path)
