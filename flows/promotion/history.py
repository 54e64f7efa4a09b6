"""`velodrome history`: who moved what, when, and on which evidence; checked, and written out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.promotion.registry_access import opened
from infra.errors import Refused, WrongInput
from infra.home import Home
from infra.registry.chain import Entry, Flaw, state_of, verify

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A model's records, oldest first.

    Attributes:
        champion: where the alias points; None where nowhere.
        state: `settled`, `cut-off`, `foreign` or `unknown` (`infra.registry.chain.state_of`).
        last_hash: worth noting elsewhere: with `--anchor` it shows later that nothing before was changed.
        applied: number of a move → when the alias was seen to stand there.
        verified: None where that was not asked for.
    """

    model: str
    champion: int | None
    state: str
    entries: tuple[Entry, ...]
    last_hash: str
    applied: Mapping[int, float]
    contents: Mapping[str, Any]
    verified: bool | None = None

    def to_json(self) -> dict[str, Any]:
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


class Broken(Refused):
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
        verify: also check that every entry follows from the one before it, and every document is whole.
        anchor: the hash of an entry, noted earlier; it must be in the chain. Implies `verify`.
        export: a file that gets the entries and documents exactly as they are kept.
        registry: the registry's address; by default `MLFLOW_TRACKING_URI` or the embedded store.

    Raises:
        WrongInput: no such model, or the file exists.
        Broken: the chain does not hold; says which entries.
        Unavailable: the registry does not answer.
    """
    mover = opened(model, home or Home.here(), registry)
    chain, alias = mover.look()
    texts = mover.records.contents()
    flaws = _verify(chain.texts, model, texts, anchor) if verify or anchor is not None else None
    if export is not None:
        _write(Path(export), {"format": FORMAT, "model": model, "entries": list(chain.texts),
                              "applied": dict(chain.applied), "contents": texts})  # fmt: skip
    if flaws:
        raise _broken(model, flaws)
    return History(
        model=model,
        champion=alias,
        state=state_of(chain, alias),
        entries=chain.entries,
        last_hash=chain.last_hash,
        applied=chain.applied,
        contents={digest: json.loads(text) for digest, text in texts.items()},
        verified=None if flaws is None else True,
    )


_verify = verify  # the option has the same name


def _broken(model: str, flaws: list[Flaw]) -> Broken:
    listed = "; ".join(f"entry {f.number}: {f.found}" if f.number else f.found for f in flaws[:5])
    more = f" and {len(flaws) - 5} more" if len(flaws) > 5 else ""
    do = "compare it with an exported history; whoever can write to the registry's database can change it"
    return Broken(f"the history of {model} must be what was written", f"{listed}{more}", do)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(document, file, indent=1, sort_keys=True)
    except FileExistsError:
        raise WrongInput("--export must name a new file", str(path), "give another name") from None
    except OSError as error:
        raise WrongInput(
            "--export must name a file that can be written", f"{path}: {error.strerror}"
        ) from error
