"""Latency of kept models on this machine, each measured once: kept in the home by manifest and machine.

A model is loaded as its user would, in a new interpreter, by MLflow where it is logged there; so what is
measured is what a caller waits for, from raw rows to answers.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from flows.comparison.latency_probe import LatencyAnswer
from flows.comparison.records import Row
from infra.errors import WrongInput
from infra.home import Home, tracking_uri
from infra.ledger.rows import SweepRow
from infra.mirror import fetch
from infra.secrets import redact

LATENCIES: tuple[Literal["latency_ms", "latency_p99_ms", "latency_batch_ms", "latency_batch_p99_ms"], ...] = (
    "latency_ms",
    "latency_p99_ms",
    "latency_batch_ms",
    "latency_batch_p99_ms",
)
BUDGET_S = 1.0  # for single rows, and again for batches
START_S = 90.0
EACH_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyJob:
    """A model to be measured. `uri`: of the tracking store that may have it; `key`: its logged model's tag.

    `experiment`: where the logged model is; empty where it was never sent. `path`: what its own code needs.
    """

    manifest: str
    folder: str
    uri: str = ""
    experiment: str = ""
    key: str = ""
    path: str = ""


def add_latency(
    rows: Sequence[Row], sweeps: Mapping[str, SweepRow], home: Home, say: Callable[[str], None] | None = None
) -> list[Row]:
    """The rows with the latencies of this machine, where there is a kept model; what is not known is
    measured first. A row without one has no latency then: what its lane timed was another thing. Where
    nothing could be measured, all keep the figures of their lanes.
    """
    known = {row.manifest: _read_cache(home, row.manifest) for row in rows if row.manifest}
    missing = {row.manifest: row for row in rows if row.manifest and known[row.manifest] is None}
    if missing:
        tell = say or _print_nothing
        tell(f"measuring the latency of {len(missing)} model{'s' * (len(missing) > 1)} (--no-latency: don't)")
        wanted = [_latency_job(row, sweeps[row.sweep], home) for row in missing.values()]
        for manifest, found in measure_models(wanted, tell):
            _write_cache(home, manifest, found)
            known[manifest] = found
    if not any(known.values()):
        return list(rows)
    return [_fill_latency(row, known.get(row.manifest or "")) for row in rows]


def _print_nothing(_text: str) -> None:
    return


def _fill_latency(row: Row, found: LatencyAnswer | None) -> Row:
    figures: dict[str, float | None] = {name: found[name] if found else None for name in LATENCIES}
    return replace(row, costs={**row.costs, **figures}, latency_from="measured" if found else None)


# -- what is known -----------------------------------------------------------------------------------------


def machine_key() -> str:
    """12 hex digits for what a latency depends on: host, processor, cores, interpreter, torch."""
    from importlib.metadata import version

    parts = [platform.node(), _processor(), os.cpu_count(), platform.python_version(), version("torch")]
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return hashlib.sha256(json.dumps([*parts, threads]).encode()).hexdigest()[:12]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.processor())


def _cache_path(home: Home, manifest: str) -> Path:
    return home.latencies / machine_key() / f"{manifest[:32]}.json"


def _read_cache(home: Home, manifest: str) -> LatencyAnswer | None:
    try:
        found: LatencyAnswer = json.loads(_cache_path(home, manifest).read_text())
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and found.get("manifest") == manifest and set(LATENCIES) <= found.keys()
    return found if whole else None


def _write_cache(home: Home, manifest: str, found: LatencyAnswer) -> None:
    path = _cache_path(home, manifest)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps({**found, "manifest": manifest}))
    aside.replace(path)


# -- measuring ---------------------------------------------------------------------------------------------


def _latency_job(row: Row, sweep: SweepRow, home: Home) -> LatencyJob:
    from infra.tracking.mapping import sweep_identity
    from infra.tracking.model_logger import model_key_by_name
    from infra.tracking.outbox import Outbox

    if row.model is not None:
        fetch(Path(row.model), exact=True)
    identity = sweep_identity(sweep)
    plain = LatencyJob(
        manifest=row.manifest or "", folder=row.model or "", path=str(sweep.facts.get("own_code") or "")
    )
    try:
        uri = tracking_uri(home, sweep.spec)
    except WrongInput:  # a variable that only the driver's environment has
        return plain
    if not home.outbox.exists():
        return plain
    outbox = Outbox(home.outbox, uri, identity)
    with closing(outbox):
        known = outbox.cursor()
    key = model_key_by_name(identity, row.family, row.number, row.manifest or "")
    return replace(plain, uri=uri, experiment=known[1] if known else "", key=key)


def measure_models(
    wanted: Sequence[LatencyJob],
    tell: Callable[[str], None],
    *,
    start_s: float = START_S,
    each_s: float = EACH_S,
) -> Iterator[tuple[str, LatencyAnswer]]:
    """Measures models one after another in one new interpreter; those that cannot be measured are told of.

    Args:
        start_s, each_s: seconds that the interpreter's start and each model may take; then it is ended.
    """
    left = {entry.manifest for entry in wanted}
    with _probe_answers(wanted, start_s + each_s * len(wanted)) as lines:
        for line in lines:
            answer: LatencyAnswer = json.loads(line)
            left.remove(answer["manifest"])
            if "error" in answer:
                tell(f"not measured: {redact(str(answer['error']))}")
            else:
                yield answer["manifest"], answer
    if left:
        tell(f"not measured: {len(left)} of {len(wanted)}; the process that measures ended or took too long")


@contextmanager
def _probe_answers(wanted: Sequence[LatencyJob], limit_s: float) -> Iterator[Iterable[str]]:
    """The lines of a new interpreter that measures; it is ended at the limit, and when it is left."""
    paths = dict.fromkeys([*(entry.path for entry in wanted if entry.path), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.comparison.latency_probe"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    limit = threading.Timer(limit_s, process.kill)
    limit.start()
    try:
        with suppress(BrokenPipeError):  # it ended before it read: then it has no answers
            process.stdin.write(json.dumps({"budget_s": BUDGET_S, "wanted": [asdict(job) for job in wanted]}))
            process.stdin.close()
        yield process.stdout
    finally:
        limit.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
