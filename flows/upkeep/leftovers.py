"""What commands and lanes left behind that nothing will read again: found here, removed by `gc`.

A kept model is never among it: what holds one, or a trial's kept files, is passed over.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from flows.terminal.json_results import PlainResult
from infra.bucket import StoredObject
from infra.errors import WrongInput
from infra.home import Home, storage_root
from infra.ledger.liveness import process_started_at
from infra.ledger.rows import SweepRow, TrialRow
from infra.mirror import MIRRORS, list_stored
from infra.storage.paths import CHECKPOINTS, KEPT, trial_folder
from infra.storage.sealed_folders import ASIDE, is_abandoned

TRIAL_FOLDER = re.compile(r"[a-z]+-[0-9]{4,}")
SWEEP_FOLDER = re.compile(r"[a-z0-9][a-z0-9._-]*(?:@[1-9][0-9]*)?")
TEMPORARY = re.compile(r"velodrome-(?:(?P<pid>[0-9]+)|(?:[a-z]+-)?)-?[a-z0-9_]{8}")
CACHE_ASIDE = re.compile(r"\.(?P<entry>.+)\.[0-9a-f]{8}\.aside")
DAY_S = 86_400.0
RAY_FOLDER = ".ray"


class LeftoverKind(StrEnum):
    """What sort of thing was left."""

    CHECKPOINTS = "checkpoints"
    TRIAL = "trial"
    TEMPORARY = "temporary"
    CACHE = "cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover(PlainResult):
    """One folder or file that can go.

    Attributes:
        why: what makes it one.
        size_bytes: of all files in it.
        age_s: since any of them was last written; of a cache, since it was last written or read.
        sweep: whose storage it lies in, None where it is nobody's.
    """

    kind: LeftoverKind
    path: Path
    why: str
    size_bytes: int
    age_s: float
    sweep: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSweep:
    """A sweep of the ledger, its trials by their folder, and who runs it (empty: nobody)."""

    row: SweepRow
    root: Path
    trials: Mapping[Path, TrialRow]
    run_by: str = ""

    @property
    def folder(self) -> Path:
        """Where its trials' folders lie."""
        return self.root / self.row.label


@dataclass(slots=True, kw_only=True)
class LeftoverSearch:
    """One look around.

    Attributes:
        now: the time of day, in seconds since 1970, as files have theirs.
        passed_over: by path, why what might look like a leftover stays.
    """

    now: float
    passed_over: dict[str, str] = field(default_factory=dict)

    def find(self, home: Home, sweeps: Iterable[KnownSweep], *, orphans: bool) -> Iterator[Leftover]:
        """Everything that was left, in no order.

        Args:
            orphans: whether `home.storage` is these sweeps' alone, so that other folders in it are nobody's.
        """
        known = list(sweeps)
        yield from self.find_of_sweeps(known)
        if orphans:
            yield from self._find_orphans(home, {sweep.folder for sweep in known})
        if any(sweep.run_by for sweep in known):
            self.passed_over[str(home.cache)] = "a sweep runs, which may read it"
        else:
            yield from self._find_caches(home.cache)
            yield from self._find_caches(home.path / MIRRORS)
            for root in {home.storage, *(sweep.root for sweep in known)}:
                yield from self._find_old(root / RAY_FOLDER, "of a Ray that has ended")
        yield from self._find_temporary(Path(tempfile.gettempdir()))

    def find_of_sweeps(self, known: Iterable[KnownSweep]) -> Iterator[Leftover]:
        """What lies in the folders of these sweeps; two ledgers may have one of the same name."""
        by_folder: dict[Path, list[KnownSweep]] = {}
        for sweep in known:
            by_folder.setdefault(sweep.folder, []).append(sweep)
        for folder, sweeps in by_folder.items():
            if run_by := next((sweep.run_by for sweep in sweeps if sweep.run_by), ""):
                self.passed_over[str(folder)] = f"{run_by} runs it"
            else:
                yield from self._find_of_folder(folder, [sweep.trials for sweep in sweeps])

    def _find_of_folder(
        self, sweep_folder: Path, known: Sequence[Mapping[Path, TrialRow]]
    ) -> Iterator[Leftover]:
        label = sweep_folder.name
        stored = list_stored(sweep_folder)
        if stored is not None:
            yield from self._find_stored(sweep_folder, stored, known)
        for folder in _trial_folders(sweep_folder) if stored is None else ():
            trials = [trials[folder] for trials in known if folder in trials]
            if not trials:
                yield from self._find_orphan(folder, f"{label} has no such trial", label)
            elif (why := _why_ended(trials)) and (folder / CHECKPOINTS).is_dir():
                yield self._describe(LeftoverKind.CHECKPOINTS, folder / CHECKPOINTS, why, label)
        yield from self._find_aside(sweep_folder, label)

    def _find_stored(
        self, sweep_folder: Path, stored: Iterable[StoredObject], known: Sequence[Mapping[Path, TrialRow]]
    ) -> Iterator[Leftover]:
        """The same of a bucket: what of it is here is only a copy."""
        by_trial: dict[Path, dict[str, StoredObject]] = {}
        for entry in stored:
            family, _, rest = entry.name.partition("/")
            trial, _, name = rest.partition("/")
            if name and TRIAL_FOLDER.fullmatch(trial):
                by_trial.setdefault(sweep_folder / family / trial, {})[name] = entry
        label = sweep_folder.name
        for folder, entries in by_trial.items():
            trials = [trials[folder] for trials in known if folder in trials]
            why, orphan = _why_ended(trials), f"{label} has no such trial in the bucket"
            saved = [entry for name, entry in entries.items() if name.startswith(f"{CHECKPOINTS}/")]
            if not trials and any(name.startswith(("model-", f"{KEPT}/")) for name in entries):
                self.passed_over[str(folder)] = f"{orphan}, but it holds a kept model or kept files"
            elif not trials:
                yield self._describe_stored(LeftoverKind.TRIAL, folder, orphan, label, [*entries.values()])
            elif why and saved:
                place = folder / CHECKPOINTS
                yield self._describe_stored(LeftoverKind.CHECKPOINTS, place, why, label, saved)

    def _describe_stored(
        self, kind: LeftoverKind, path: Path, why: str, sweep: str, entries: Sequence[StoredObject]
    ) -> Leftover:
        age_s = max(0.0, self.now - max(entry.written_at for entry in entries))
        size_bytes = sum(entry.size_bytes for entry in entries)
        return Leftover(kind=kind, path=path, why=why, size_bytes=size_bytes, age_s=age_s, sweep=sweep)

    def _find_orphans(self, home: Home, known: Collection[Path]) -> Iterator[Leftover]:
        for folder in _folders(home.storage):
            if folder in known or not SWEEP_FOLDER.fullmatch(folder.name):
                continue
            if (home.logs / folder.name).is_dir():  # `remove` deletes both: it may be of another ledger
                self.passed_over[str(folder)] = "no such sweep is in the ledger, but its logs are here"
            else:
                for orphan in _trial_folders(folder):
                    yield from self._find_orphan(orphan, f"no sweep {folder.name} is in the ledger")
                yield from self._find_aside(folder)

    def _find_orphan(self, folder: Path, why: str, sweep: str | None = None) -> Iterator[Leftover]:
        if any(name.startswith("model-") or name == KEPT for name in os.listdir(folder)):
            self.passed_over[str(folder)] = f"{why}, but it holds a kept model or kept files"
        else:
            yield self._describe(LeftoverKind.TRIAL, folder, why, sweep)

    def _find_aside(self, folder: Path, sweep: str | None = None) -> Iterator[Leftover]:
        for place, names, _ in os.walk(folder):
            for name in [name for name in names if name.startswith(ASIDE)]:
                names.remove(name)
                if is_abandoned(Path(place) / name):
                    why = "its writer died before it was whole"
                    yield self._describe(LeftoverKind.TEMPORARY, Path(place) / name, why, sweep)

    def _find_caches(self, cache: Path) -> Iterator[Leftover]:
        for room in _folders(cache):
            for entry in room.iterdir():
                if entry.is_symlink():
                    continue
                if CACHE_ASIDE.fullmatch(entry.name) or entry.name.startswith(ASIDE):
                    why = "its writer died before it was whole"
                    yield self._describe(LeftoverKind.TEMPORARY, entry, why)
                elif not entry.name.startswith("."):
                    why = "the next command that needs it makes it again"
                    yield self._describe(LeftoverKind.CACHE, entry, why)

    def _find_temporary(self, folder: Path) -> Iterator[Leftover]:
        for entry in folder.glob("velodrome-*"):
            found = TEMPORARY.fullmatch(entry.name)
            with suppress(FileNotFoundError):
                status = entry.lstat()
                if found is None or not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                    continue
                pid = found["pid"]
                if pid is None:
                    yield from self._find_old(entry, "of a command that has ended", itself=True)
                elif process_started_at(int(pid)) is None:
                    yield self._describe(LeftoverKind.TEMPORARY, entry, f"process {pid} has ended")

    def _find_old(self, folder: Path, why: str, *, itself: bool = False) -> Iterator[Leftover]:
        """What nothing tells the owner of: taken for left after a day without a write."""
        for entry in [folder] if itself else _folders(folder):
            found = self._describe(LeftoverKind.TEMPORARY, entry, why)
            if found.age_s > DAY_S:
                yield found

    def _describe(self, kind: LeftoverKind, path: Path, why: str, sweep: str | None = None) -> Leftover:
        size_bytes, touched = 0, 0.0
        for status in _statuses(path):
            size_bytes += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            read = status.st_atime if kind is LeftoverKind.CACHE and not stat.S_ISDIR(status.st_mode) else 0.0
            touched = max(touched, status.st_mtime, read)
        age_s = max(0.0, self.now - touched)
        return Leftover(kind=kind, path=path, why=why, size_bytes=size_bytes, age_s=age_s, sweep=sweep)


def _why_ended(trials: Sequence[TrialRow]) -> str:
    """Why checkpoints of a trial can go, which may be in several ledgers; empty where they cannot."""
    if not trials or not all(trial.has_ended for trial in trials):
        return ""
    if trials[0].state == "failed":
        return "the trial failed; `velodrome retry` will begin it anew"
    return f"the trial is {trials[0].state}, and nothing goes on from it"


def know_sweep(row: SweepRow, home: Home, trials: Iterable[TrialRow], run_by: str) -> KnownSweep | None:
    """The sweep and its folders; None where its storage cannot be named here."""
    try:
        root = storage_root(home, row.spec)
    except WrongInput:  # a variable that is not set in this shell
        return None
    folders = {root / trial_folder(row.label, *trial.key): trial for trial in trials}
    return KnownSweep(row=row, root=root, trials=folders, run_by=run_by)


def _trial_folders(sweep_folder: Path) -> Iterator[Path]:
    for family in _folders(sweep_folder):
        yield from (folder for folder in _folders(family) if TRIAL_FOLDER.fullmatch(folder.name))


def _folders(parent: Path) -> list[Path]:
    """The folders in a folder, links left out; none where it is not there, or is a link itself."""
    if parent.is_symlink() or not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """Of the path and all that lies in it; what goes meanwhile is left out."""
    for place in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):
            yield place.lstat()
