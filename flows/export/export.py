"""`velodrome export`: a sweep in one archive: what it was run from, what came of it, how to run it again."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.config.lookup import sweep_in_ledger
from flows.export.atomic_file import write_atomic
from flows.export.files import SWEEP_FILE, SweepFiles, collect_sweep_files
from flows.export.tables import metrics_csv, trials_csv
from flows.terminal.json_results import PlainResult
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.extract import extract_sweep
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger
from infra.secrets import redact
from infra.tracking.sent_runs import run_ids
from trainers.types import Json, JsonObject

LEDGER = ".velodrome/ledger.db"
CONTENTS = "contents.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveEntry:
    """One file of the archive."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(PlainResult):
    """An archive of a sweep.

    Attributes:
        path: the archive; `sha256` is its own.
        files: what is in it, by name, in order; within a folder of the sweep's name.
        commands: what unpacks it and runs it again, in order.
        warnings: what it lacks.
    """

    sweep: str
    path: Path
    size_bytes: int
    sha256: str
    files: tuple[ArchiveEntry, ...]
    commands: tuple[str, ...]
    warnings: tuple[str, ...]


def export(name: str, *, out: Path | str | None = None, home: Home | None = None) -> Export:
    """Packs a sweep: its files, versions, ledger, tables, and the command to run it again.

    The data is not packed; its source and fingerprint are. Nor are models: a registry keeps those.

    Args:
        name: the sweep's name or its file.
        out: where to write; by default NAME.tar.gz in the current folder.

    Raises:
        WrongInput: no such sweep, its file or code is gone, or the archive exists already.
        StorageUnavailable: the archive cannot be written.
    """
    place = home or Home.from_environment()
    with sweep_in_ledger(name, place) as (ledger, row):
        path = Path(out) if out is not None else Path(f"{row.label}.tar.gz")
        _check_new(path)
        written = collect_sweep_files(row)
        files = {**written.files, **_generate_files(ledger, row, written, place)}
    packed = [_archive_entry(name, content) for name, content in sorted(files.items())]
    files[CONTENTS] = _json_bytes([asdict(entry) for entry in packed])
    archive = pack_archive(files, row.label)
    write_atomic(path, archive, "archive")
    return Export(
        sweep=row.label,
        path=path.absolute(),
        size_bytes=len(archive),
        sha256=hashlib.sha256(archive).hexdigest(),
        files=tuple(packed),
        commands=(shlex.join(["tar", "xzf", path.name]), *_commands(row, written)),
        warnings=tuple(written.warnings),
    )


def pack_archive(files: Mapping[str, bytes], folder: str) -> bytes:
    """A gzipped tar file: the same bytes for the same files, whenever and by whomever it is made."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(content.getvalue(), mtime=0)


def _check_new(path: Path) -> None:
    if path.exists():
        raise WrongInput("the archive must not exist yet", str(path), "remove it, or give --out another name")
    if not path.absolute().parent.is_dir():
        raise WrongInput("the archive's folder must exist", str(path.absolute().parent), "make it first")


def _generate_files(ledger: Ledger, row: SweepRow, written: SweepFiles, home: Home) -> dict[str, bytes]:
    trials = views.trials(ledger, row.id, role=None)
    with TemporaryDirectory(prefix="velodrome-export-") as aside:
        path = Path(aside) / "ledger.db"
        extract_sweep(ledger, row.id, path, facts=json.dumps(_portable_facts(row, written)), clean=redact)
        content = path.read_bytes()
    return {
        LEDGER: content,
        "trials.csv": redact(trials_csv(row, trials, run_ids(home, row))).encode(),
        "metrics.csv": metrics_csv(ledger, row).encode(),
        "requirements.txt": _requirements().encode(),
        "versions.json": _json_bytes(_versions(row)),
        "README.txt": _readme(row, written).encode(),
    }


def _portable_facts(row: SweepRow, written: SweepFiles) -> JsonObject:
    """The sweep's facts with paths that start from the unpacked folder."""
    kept = {name: value for name, value in row.facts.items() if name not in {"file", "base", "own_code"}}
    kept["command"] = redact(str(kept.get("command", "")))
    kept["file_text"] = written.files[SWEEP_FILE].decode()
    kept["overrides"] = written.overrides
    return {**kept, "file": SWEEP_FILE, "base": ".", "own_code": written.code_root}


def _versions(row: SweepRow) -> JsonObject:
    return {
        "sweep": row.facts.get("versions", {}),
        "git": row.facts.get("git", {}),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _requirements() -> str:
    """What is installed, as `pip freeze` names it, without addresses: they may hold passwords."""
    found = {str(entry.metadata["Name"]): entry.version for entry in metadata.distributions()}
    lines = [f"{name}=={version}" for name, version in found.items() if name and name != "velodrome"]
    own = f"# velodrome {found.get('velodrome', '')}: install its wheel or its checkout\n"
    return own + "\n".join(sorted(lines, key=str.lower)) + "\n"


def _commands(row: SweepRow, written: SweepFiles) -> tuple[str, ...]:
    given = [word for override in written.overrides for word in ("--set", override)]
    return (
        shlex.join(["cd", row.label]),
        shlex.join(["velodrome", "status", row.label]),
        shlex.join(["velodrome", "plan", SWEEP_FILE, *given]),
        shlex.join(["velodrome", "sweep", SWEEP_FILE, "--new", *given]),
    )


def _readme(row: SweepRow, written: SweepFiles) -> str:
    source, rows = row.spec.data.get("source", "none"), (row.facts.get("data") or {}).get("rows")
    data = f"{source}{f', {rows} rows' if rows else ''}, fingerprint {row.fingerprint}"
    return "\n".join(
        [
            f"The sweep {row.label}, as Velodrome's ledger has it.",
            "",
            f"Data (not in here): {data}",
            "",
            "In this folder, with Velodrome and requirements.txt installed:",
            *(f"  {line}" for line in _commands(row, written)[1:]),
            "The last one runs it again, beside the recorded one.",
            "",
            f"{SWEEP_FILE}: what was run; {LEDGER}: all that happened; trials.csv, metrics.csv: the same",
            f"as tables; {CONTENTS}: size and SHA-256 of each file.",
            *(f"Note: {warning}." for warning in written.warnings),
            "",
        ]
    )


def _archive_entry(name: str, content: bytes) -> ArchiveEntry:
    return ArchiveEntry(name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _json_bytes(value: Json) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
