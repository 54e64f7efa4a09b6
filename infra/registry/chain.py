"""The chain of records of a registered model: what an entry is, how entries hang together, what they add up
to. Pure: no registry is asked.

An entry is one JSON text. Each holds the SHA-256 of the one before it, so that whoever knows the last hash
knows the whole history; the first holds the hash of the model's name.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import UnionType
from typing import Literal, TypedDict, Unpack

from infra.errors import RefusedError
from trainers.types import Json

Kind = Literal["promotion", "refusal", "rollback", "adoption", "foreign", "policy", "approval"]
MOVES: frozenset[str] = frozenset({"promotion", "rollback", "adoption"})
FORMAT = 1


class EntryFacts(TypedDict, total=False):
    """What whoever writes an entry says in it: attributes of `ChainEntry`."""

    source: int | None
    reason: str
    verdict: str
    manifest: str | None
    content: str | None
    facts: Mapping[str, Json]


class EntryValues(EntryFacts, total=False):
    """What is its own in an entry, apart from its place in the chain."""

    target: int | None
    at: float
    who: str
    pid: int
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEntry:
    """One record.

    Attributes:
        number: from 1, without gaps.
        before: SHA-256 of the entry before it.
        kind: promotion, rollback and adoption say where `champion` points from then on; `foreign` says that
            it was found elsewhere than the chain has it.
        at: seconds since 1970.
        who: user@host of the process that wrote it, `pid` after it.
        source: the version that `champion` pointed at; None where it pointed nowhere.
        target: the version that it is about; of a move: where `champion` points from then on.
        reason: what the person gave.
        verdict: `passed` or `refused`, where gates were applied.
        manifest: SHA-256 of the target's manifest.
        content: SHA-256 of a document kept beside the chain: evidence, or a policy.
        facts: small things worth seeing; of a promotion also `policy`, the SHA-256 of the document that
            became the model's policy with it; `files`, of all the target's files.
        nonce: makes each entry a text of its own.
    """

    number: int
    before: str
    kind: Kind
    model: str
    at: float
    who: str
    pid: int = 0
    source: int | None = None
    target: int | None = None
    reason: str = ""
    verdict: str = ""
    manifest: str | None = None
    content: str | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)
    nonce: str = ""

    @property
    def text(self) -> str:
        """The entry as it is kept: ASCII JSON with sorted keys."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """SHA-256 of the text."""
        return hash_text(self.text)

    @property
    def is_move(self) -> bool:
        """Whether it says where `champion` points."""
        return self.kind in MOVES

    @property
    def policy(self) -> str | None:
        """SHA-256 of the policy that the model has since this entry; None where it sets none."""
        given = self.content if self.kind == "policy" else self.facts.get("policy") if self.is_move else None
        return given if isinstance(given, str) else None

    @property
    def files(self) -> str | None:
        """SHA-256 of all the target's files, those beside its bundle too; None in entries of before."""
        given = self.facts.get("files")
        return given if isinstance(given, str) else None


_TYPES: dict[str, type | UnionType] = {
    **dict.fromkeys(("before", "kind", "model", "who", "reason", "verdict", "nonce"), str),
    **dict.fromkeys(("source", "target"), int | None),
    **dict.fromkeys(("manifest", "content"), str | None),
    "number": int,
    "pid": int,
    "at": float | int,
    "facts": dict,
}


class DamagedChain(RefusedError, ValueError):
    """A record of a model's history is not what any version of Velodrome writes."""


def damaged_chain(model: str, found: str) -> DamagedChain:
    """The error of a record that cannot be read."""
    do = f"`velodrome history {model} --verify` says what else; compare it with an exported history"
    return DamagedChain(f"the history of {model} must be what was written", found, do)


def parse_entry(text: str) -> ChainEntry:
    """The inverse of `ChainEntry.text`."""
    document = json.loads(text)
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise ValueError(f"an entry must be of format {FORMAT}")
    try:
        entry = ChainEntry(**document)
    except TypeError as error:
        raise ValueError(f"an entry must have an entry's fields: {error}") from error
    wrong = [name for name, types in _TYPES.items() if not isinstance(getattr(entry, name), types)]
    if wrong or not math.isfinite(entry.at):
        raise ValueError(f"an entry's fields must have their types: {', '.join(wrong) or 'at'}")
    return entry


def hash_text(text: str) -> str:
    """SHA-256, 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def first_hash(model: str) -> str:
    """What the first entry of a model holds as the hash before it."""
    return hash_text(f"velodrome registry {FORMAT}: {model}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A model's records, oldest first.

    Attributes:
        texts: the entries exactly as they are kept.
        applied: number of an entry that moves → when the alias was seen to stand there.
    """

    model: str
    texts: tuple[str, ...] = ()
    applied: Mapping[int, float] = field(default_factory=dict)

    @property
    def entries(self) -> tuple[ChainEntry, ...]:
        """The entries.

        Raises:
            DamagedChain: one cannot be read.
        """
        found = []
        for number, text in enumerate(self.texts, start=1):
            try:
                found.append(parse_entry(text))
            except ValueError as error:
                raise damaged_chain(self.model, f"entry {number}: {error}") from None
        return tuple(found)

    @property
    def last_hash(self) -> str:
        """What the next entry has to hold; worth noting elsewhere as an anchor."""
        return hash_text(self.texts[-1]) if self.texts else first_hash(self.model)

    @property
    def last_move(self) -> ChainEntry | None:
        """The entry that says where `champion` points."""
        return next((entry for entry in reversed(self.entries) if entry.is_move), None)

    @property
    def last_policy(self) -> ChainEntry | None:
        """The entry that set the newest policy."""
        return next((entry for entry in reversed(self.entries) if entry.policy is not None), None)

    def manifest_entry(self, number: int) -> ChainEntry | None:
        """The first entry that says what a version's manifest hashes to: the word for it from then on."""
        return next((entry for entry in self.entries if entry.target == number and entry.manifest), None)

    def files_entry(self, number: int) -> ChainEntry | None:
        """The first entry that says what all of a version's files hash to."""
        return next((entry for entry in self.entries if entry.target == number and entry.files), None)

    def make_next(self, kind: Kind, **values: Unpack[EntryValues]) -> ChainEntry:
        """An entry that follows the last one."""
        return ChainEntry(
            number=len(self.texts) + 1, before=self.last_hash, kind=kind, model=self.model, **values
        )


State = Literal["settled", "cut-off", "foreign", "unknown"]


def alias_state(chain: Chain, alias: int | None) -> State:
    """How the alias stands to the chain.

    `settled`: where the last move left it. `cut-off`: that move was written and not marked as applied, and
    the alias is where it was before or where it was to go: whoever sees it finishes it. `foreign`: somebody
    else moved it. `unknown`: the alias points somewhere, and the chain knows of no move.
    """
    move = chain.last_move
    if move is None:
        return "settled" if alias is None else "unknown"
    if move.number not in chain.applied:
        return "cut-off" if alias in (move.source, move.target) else "foreign"
    return "settled" if alias == move.target else "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFlaw:
    """What is wrong with a chain. `number`: of the entry; 0 for the chain as a whole."""

    number: int
    found: str


def find_flaws(
    texts: Sequence[str], model: str, contents: Mapping[str, str], anchor: str | None = None
) -> list[ChainFlaw]:
    """Everything that is wrong with a chain; empty where it holds.

    Args:
        texts: the entries as they are kept, oldest first.
        contents: the documents beside the chain by their hash.
        anchor: the hash of an entry that was noted elsewhere, at least its first 16 digits: it must be here.
    """
    flaws: list[ChainFlaw] = []
    before, seen = first_hash(model), [first_hash(model)]
    first: dict[tuple[str, int], ChainEntry] = {}
    for number, text in enumerate(texts, start=1):
        flaws += [
            ChainFlaw(number=number, found=found)
            for found in _entry_flaws(text, number, model, before, contents, first)
        ]
        before = hash_text(text)
        seen.append(before)
    if anchor is not None and not (len(anchor) >= 16 and any(known.startswith(anchor) for known in seen)):
        flaws.append(ChainFlaw(number=0, found=f"no entry with the anchor's hash {anchor[:16]}"))
    return flaws


def _entry_flaws(
    text: str,
    number: int,
    model: str,
    before: str,
    contents: Mapping[str, str],
    first: dict[tuple[str, int], ChainEntry],
) -> list[str]:
    try:
        entry = parse_entry(text)
    except ValueError as error:
        return [f"a text that is no entry ({error})"]
    found = []
    if entry.text != text:
        found.append("a text that no entry has")
    if entry.number != number:
        found.append(f"number {entry.number} in the place of {number}")
    if entry.model != model:
        found.append("an entry of another model")
    if entry.before != before:
        found.append("another hash than that of the entry before it: something there was changed or left out")
    if any(hash_text(contents.get(digest, "")) != digest for digest in _named_documents(entry, contents)):
        found.append("its document is missing or was changed")
    return found + _changed_words(entry, first)


def _named_documents(entry: ChainEntry, contents: Mapping[str, str]) -> list[str]:
    """The documents that an entry rests on: its own, the policy that it sets, its evidence's answers."""
    named = [digest for digest in (entry.content, entry.policy) if digest is not None]
    try:
        evidence = json.loads(contents.get(entry.content or "", "null"))
    except ValueError:
        evidence = None
    answers = evidence.get("answers") if isinstance(evidence, dict) else None
    return [*named, answers] if isinstance(answers, str) else named


def _changed_words(entry: ChainEntry, first: dict[tuple[str, int], ChainEntry]) -> list[str]:
    """What an entry says otherwise of its version than the first that said it."""
    found = []
    for what in ("manifest", "files"):
        if entry.target is not None and (told := getattr(entry, what)):
            earlier = first.setdefault((what, entry.target), entry)
            if getattr(earlier, what) != told:
                found.append(f"another {what} of version {entry.target} than entry {earlier.number} has")
    return found
