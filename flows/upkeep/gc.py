"""`velodrome gc`: what was left behind is listed, and removed if that is asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from flows.config.lookup import open_ledger
from flows.sweeps.ownership import living_owner, own_sweep
from flows.upkeep.leftovers import CACHE_ASIDE, KnownSweep, Leftover, LeftoverKind, LeftoverSearch, know_sweep
from infra.durations import parse_seconds
from infra.errors import OwnedElsewhere, VelodromeError, WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.store import Ledger
from infra.mirror import discard
from infra.storage.sealed_folders import remove_folder
from trainers.storage.shared_folders import FolderBusy, lock_file
from trainers.types import JsonObject

OLDER_THAN = "30d"
# Folders above it that may be empty then: the trial's, the family's, the sweep's.
PARENTS = {LeftoverKind.CHECKPOINTS: 3, LeftoverKind.TRIAL: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class GcResult:
    """What can go, or went.

    Attributes:
        applied: whether it was removed; else this is a dry run.
        older_than_s, larger_than_bytes: what was asked for.
        leftovers: the largest first.
        passed_over: by path, why what might look like a leftover stays.
        failed: by path, why it could not be removed.
    """

    applied: bool
    older_than_s: float
    larger_than_bytes: int
    leftovers: tuple[Leftover, ...]
    passed_over: dict[str, str]
    failed: dict[str, str]

    @property
    def size_bytes(self) -> int:
        """Of all of it together."""
        return sum(leftover.size_bytes for leftover in self.leftovers)

    def to_json(self) -> JsonObject:
        """All of it, with the sum."""
        return {
            "applied": self.applied,
            "older_than_s": self.older_than_s,
            "larger_than_bytes": self.larger_than_bytes,
            "size_bytes": self.size_bytes,
            "leftovers": [leftover.to_json() for leftover in self.leftovers],
            "passed_over": self.passed_over,
            "failed": self.failed,
        }


def gc(
    *, apply: bool = False, older_than: str = OLDER_THAN, larger_than_bytes: int = 0, home: Home | None = None
) -> GcResult:
    """What was left behind and nothing will read again: a dry run unless `apply` is given.

    Checkpoints of failed trials (until then `retry` goes on from them) and of trials that ended otherwise,
    folders of trials that the ledger does not know, what commands that died left half-written, and caches of
    data, which are made again. A kept model never goes, nor anything of a sweep that is running.

    Args:
        apply: remove it.
        older_than: only what nothing wrote to for so long; of a cache, what nothing read either.
        larger_than_bytes: only what takes at least so much.

    Raises:
        WrongInput: a duration that is none.
        LedgerUnavailable: the ledger cannot be read; nothing was removed.
    """
    older_than_s = _parse_age(older_than)
    place = home or Home.from_environment()
    with _open_ledgers(place) as ledgers:
        search = LeftoverSearch(now=time.time())
        found = _find_leftovers(search, place, ledgers)
        chosen = [
            leftover
            for leftover in found
            if leftover.age_s >= older_than_s and leftover.size_bytes >= larger_than_bytes
        ]
        failed = _remove_all(chosen, place, ledgers) if apply else {}
    gone = (leftover for leftover in chosen if str(leftover.path) not in failed)
    return GcResult(
        applied=apply,
        older_than_s=older_than_s,
        larger_than_bytes=larger_than_bytes,
        leftovers=tuple(sorted(gone, key=lambda leftover: (-leftover.size_bytes, leftover.path))),
        passed_over=search.passed_over,
        failed=failed,
    )


def _parse_age(text: str) -> float:
    try:
        return parse_seconds(text)
    except WrongInput as error:
        must = "--older-than must be a number above 0 with s, m, h or d"
        raise WrongInput(must, error.found, "write --older-than 30d") from None


@contextmanager
def _open_ledgers(home: Home) -> Iterator[list[Ledger]]:
    """The one that commands use, and the home's own where that is another: both may fill `home.storage`."""
    written = [None, home.ledger_url] if os.environ.get("VELODROME_LEDGER") else [None]
    opened = [ledger for name in written if (ledger := open_ledger(home, name)) is not None]
    try:
        yield opened
    finally:
        for ledger in opened:
            ledger.close()


def _find_leftovers(search: LeftoverSearch, home: Home, ledgers: Sequence[Ledger]) -> list[Leftover]:
    known: list[KnownSweep] = []
    complete = bool(ledgers)
    for ledger in ledgers:
        for row in views.sweeps(ledger):
            owner = living_owner(ledger, row)
            run_by = "" if owner is None else f"pid {owner.pid} on {owner.host}"
            sweep = know_sweep(row, home, views.trials(ledger, row.id, role=None), run_by)
            if sweep is None:
                complete = False
                search.passed_over[row.label] = "its storage names a variable that is not set"
            else:
                known.append(sweep)
    return list(search.find(home, known, orphans=complete))


def _remove_all(chosen: Iterable[Leftover], home: Home, ledgers: Iterable[Ledger]) -> dict[str, str]:
    """Removes each; returns by path what could not be removed."""
    failed = {}
    for leftover in chosen:
        try:
            with _own_place(leftover, home, ledgers):
                _remove(leftover)
        except (VelodromeError, FolderBusy, OSError) as error:
            failed[str(leftover.path)] = str(error)
    return failed


@contextmanager
def _own_place(leftover: Leftover, home: Home, ledgers: Iterable[Ledger]) -> Iterator[None]:
    """Keeps everybody else away from it, and looks once more whether it is what it was found to be."""
    label = leftover.sweep or _unknown_sweep(leftover.path, home)
    with ExitStack() as owned:
        sweeps = []
        for ledger in ledgers if label else ():
            for row in [row for row in views.sweeps(ledger) if row.label == label]:
                owned.enter_context(own_sweep(ledger, row))
                sweeps.append(know_sweep(row, home, views.trials(ledger, row.id, role=None), ""))
        again = LeftoverSearch(now=time.time()).find_of_sweeps(sweep for sweep in sweeps if sweep)
        if sweeps and not any(other.path == leftover.path for other in again):
            raise OwnedElsewhere(
                "a leftover must stay one until it is removed",
                f"{leftover.path} is in use by now",
                "nothing of it was removed",
            )
        yield


def _unknown_sweep(path: Path, home: Home) -> str:
    """The sweep in whose folder it lies, which was in no ledger when it was found."""
    return path.relative_to(home.storage).parts[0] if path.is_relative_to(home.storage) else ""


def _remove(leftover: Leftover) -> None:
    """Renamed away first, so that no reader meets a part of it; empty folders above it go too."""
    path = leftover.path
    aside = CACHE_ASIDE.fullmatch(path.name)
    if leftover.kind is LeftoverKind.CACHE or aside:
        name = aside["entry"] if aside else path.name
        with lock_file(path.with_name(f".{name}.lock"), 0.0):
            _delete(path)
    else:
        _delete(path)
        discard(path)
    with suppress(OSError):  # not empty: something else is there
        for parent in path.parents[: PARENTS.get(leftover.kind, 0)]:
            parent.rmdir()


def _delete(path: Path) -> None:
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)
