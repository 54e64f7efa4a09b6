"""`velodrome history`: who moved what, when, and on which evidence; checked, and written out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.promotion.registry_access import open_mover
from infra.errors import RefusedError, WrongInput
from infra.home import Home
from infra.registry.artifacts import fetch_version
from infra.registry.chain import Chain, ChainEntry, ChainFlaw, alias_state, find_flaws
from infra.registry.integrity import version_mismatch
from infra.registry.moves import Mover
from trainers.types import Json, JsonObject

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A model's records, oldest first.

    Attributes:
        champion: where the alias points; None where nowhere.
        state: `settled`, `cut-off`, `foreign` or `unknown` (`infra.registry.chain.alias_state`).
        last_hash: worth noting elsewhere: with `--anchor` it shows later that nothing before was changed.
        applied: number of a move → when the alias was seen to stand there.
        verified: None where that was not asked for.
    """

    model: str
    champion: int | None
    state: str
    entries: tuple[ChainEntry, ...]
    last_hash: str
    applied: Mapping[int, float]
    contents: Mapping[str, Json]
    verified: bool | None = None

    def to_json(self) -> JsonObject:
        """All of it; each entry with its own hash and, where one is kept, its document."""
        return {
            "model": self.model,
            "champion": self.champion,
            "state": self.state,
            "last_hash": self.last_hash,
            "verified": self.verified,
            "entries": [
                {
                    **asdict(entry),
                    "hash": entry.hash,
                    "applied": self.applied.get(entry.number),
                    "document": self.contents.get(entry.content or ""),
                }
                for entry in self.entries
            ],
        }


class BrokenHistory(RefusedError):
    """The history is not what was written."""


def history(
    model: str,
    *,
    verify: bool = False,
    anchor: str | None = None,
    export: str | None = None,
    registry: str | None = None,
    home: Home | None = None,
) -> History:
    """A registered model's history.

    Args:
        verify: also check that every entry follows from the one before it, that every document is whole, and
            that the alias, the versions' tags and their files are what the entries say.
        anchor: the hash of an entry, noted earlier; it must be in the chain. Implies `verify`.
        export: a file that gets the entries and documents exactly as they are kept.
        registry: the registry's address; by default `MLFLOW_TRACKING_URI` or the embedded store.

    Raises:
        WrongInput: no such model, or the file exists.
        BrokenHistory: the chain does not hold; says which entries.
        Unavailable: the registry does not answer.
    """
    mover = open_mover(model, home or Home.from_environment(), registry)
    chain, alias = mover.read_state()
    texts = mover.records.read_documents()
    flaws: list[ChainFlaw] | None = None
    if verify or anchor is not None:
        flaws = find_flaws(chain.texts, model, texts, anchor)
        flaws = flaws or _find_foreign_state(mover, chain, alias)
    if export is not None:
        _write_export(Path(export), {"format": FORMAT, "model": model, "entries": list(chain.texts),
                              "applied": {str(number): at for number, at in chain.applied.items()},
                              "contents": texts})  # fmt: skip
    if flaws:
        raise _broken_history_error(model, flaws)
    return History(
        model=model,
        champion=alias,
        state=alias_state(chain, alias),
        entries=chain.entries,
        last_hash=chain.last_hash,
        applied=chain.applied,
        contents={digest: _read_document(model, digest, text) for digest, text in texts.items()},
        verified=None if flaws is None else True,
    )


def _read_document(model: str, digest: str, text: str) -> Json:
    try:
        document: Json = json.loads(text)
    except ValueError:
        flaw = ChainFlaw(number=0, found=f"the document {digest[:16]} cannot be read")
        raise _broken_history_error(model, [flaw]) from None
    return document


def _find_foreign_state(mover: Mover, chain: Chain, alias: int | None) -> list[ChainFlaw]:
    """Where the alias, a version's tag or its files are not what the chain has."""
    found = []
    if alias_state(chain, alias) in ("foreign", "unknown"):
        move = chain.last_move
        has = "nowhere" if move is None or move.target is None else f"version {move.target}"
        at = "nowhere" if alias is None else f"version {alias}"
        found.append(ChainFlaw(number=0, found=f"the champion is {at}, the history has it {has}"))
    for number in sorted({entry.target for entry in chain.entries if entry.target is not None}):
        version = mover.registry.version(mover.model, number)
        if version is None:
            if number == alias:
                found.append(ChainFlaw(number=0, found=f"the champion, version {number}, was deleted"))
            continue
        with tempfile.TemporaryDirectory(prefix="velodrome-verify-") as aside:
            try:
                wrong = version_mismatch(chain, version, fetch_version(mover.registry, version, Path(aside)))
            except WrongInput as error:
                wrong = f"{version.label}: {error.found or error.must}"
        if wrong:
            found.append(ChainFlaw(number=0, found=wrong))
    return found


def _broken_history_error(model: str, flaws: list[ChainFlaw]) -> BrokenHistory:
    listed = "; ".join(f"entry {f.number}: {f.found}" if f.number else f.found for f in flaws[:5])
    more = f" and {len(flaws) - 5} more" if len(flaws) > 5 else ""
    do = "compare it with an exported history; whoever can write to the registry's database can change it"
    return BrokenHistory(f"the history of {model} must be what was written", f"{listed}{more}", do)


def _write_export(path: Path, document: Mapping[str, Json]) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(document, file, indent=1, sort_keys=True)
    except FileExistsError:
        raise WrongInput("--export must name a new file", str(path), "give another name") from None
    except OSError as error:
        raise WrongInput(
            "--export must name a file that can be written", f"{path}: {error.strerror}"
        ) from error
