"""What lanes keep in memory: after many trials, with data larger than their limit, and beside each other.

    python -m benchmarks.memory [--parts trials stream shared] [--trials 200] [--json memory.json]

`trials`: a lane's resident memory after 20 and after all trials of `image_cnn` on the digits, its own space.
`stream`: one attempt on images that are larger than the memory it may have. Where this user may make a
cgroup, the kernel enforces that limit, page cache included; elsewhere only the attempt's own (anonymous)
memory is compared with it. `shared`: two lanes on one node map the same file of decoded examples.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.figures import Measurements, parser, print_progress
from benchmarks.sweeps import MEBIBYTE, ROOT, SweepSample, run_sweep, temporary_home

TRIALS = """
name: memory
data: {{source: builtin:digits}}
objective: {{metric: accuracy}}
budget: {{trials: {trials}, epochs: 2}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 1}}
families:
  image_cnn: {{}}
"""
SHARED = """
name: shared
data: {{source: "npz:{path}"}}
objective: {{metric: accuracy}}
budget: {{trials: 4, epochs: 2}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 2}}
families:
  image_cnn: {{space: {{learning_rate: 1e-3, channels: [4], dense: [8], batch_size: 256}}}}
"""
ATTEMPT_MIB = 600  # what one attempt may take in all: its own code, torch among it, is some 450 of them
CGROUPS = Path("/sys/fs/cgroup/memory")


def write_images(path: Path, mebibytes: int) -> Path:
    """An .npz file of that many MiB of made-up colour images, 64 x 64, in two classes."""
    each = 64 * 64 * 3
    rows = mebibytes * MEBIBYTE // each
    generator = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    images = generator.integers(0, 128, (rows, 64, 64, 3), np.uint8)
    images[labels == 1, 16:48, 16:48] += 127
    np.savez(path, images=images, labels=labels)
    return path


# -- many trials -------------------------------------------------------------------------------------------


def measure_trials(figures: Measurements, trials: int, limit_s: float) -> None:
    """A lane after 20 and after all trials."""
    with temporary_home() as folder:
        swept = run_sweep(folder, TRIALS.format(trials=trials), limit_s=limit_s, look_every_s=0.25)
        lane = [look for look in swept.seen if look.memory.get("lane")]
        early = [look.memory["lane"] for look in lane if 20 <= look.ended < 30]
        late = [look.memory["lane"] for look in lane if look.ended >= trials - 10]
    first, last = sum(early) / len(early), sum(late) / len(late)
    figures.add("a lane after 20 trials", first, "MiB")
    figures.add(f"a lane after {trials} trials", last, "MiB")
    figures.add("the one beside the other", last / first, at_most=1.05)


# -- data larger than memory -------------------------------------------------------------------------------


@contextlib.contextmanager
def memory_limit(limit_bytes: int) -> Iterator[Path | None]:
    """A cgroup with that limit, or None where this user cannot make one."""
    group = CGROUPS / f"velodrome-{time.time_ns()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
    except OSError:
        yield None
        return
    try:
        yield group
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


@dataclass(slots=True)
class PeakMemory:
    """The largest anonymous memory of a process, looked at some times a second, in MiB."""

    process: subprocess.Popen[str]
    own: float = 0.0

    def watch(self) -> None:
        """Until it has ended."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup")
        while self.process.poll() is None:
            with contextlib.suppress(OSError):
                found = re.search(r"^Anonymous:\s+(\d+) kB", rollup.read_text(), re.MULTILINE)
                self.own = max(self.own, int(found[1]) / 1024 if found else 0.0)
            time.sleep(0.1)


def measure_stream(figures: Measurements, mebibytes: int, limit_s: float) -> None:
    """One attempt on data larger than its limit."""
    with temporary_home() as folder:
        path = write_images(folder / "images.npz", mebibytes)
        limit = ATTEMPT_MIB
        assert limit < mebibytes
        with memory_limit(limit * MEBIBYTE) as group:
            print_progress(
                f"{mebibytes} MiB of images, limit {limit} MiB, {'a cgroup' if group else 'no cgroup'}"
            )
            words = [sys.executable, "-m", "benchmarks.memory", "--attempt", str(path), str(folder / "cache")]
            if group is not None:
                words = ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *words]
            began = time.perf_counter()
            process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            peak = PeakMemory(process)
            watch = threading.Thread(target=peak.watch, daemon=True)
            watch.start()
            out, _ = process.communicate(timeout=limit_s)
            watch.join(5)
    if process.returncode:
        raise RuntimeError(f"the attempt ended with {process.returncode}")
    kernel = "enforced by a cgroup" if group else "no cgroup could be made here"
    figures.add("data beside the limit of memory", mebibytes / limit, "times", at_least=1.0, note=kernel)
    figures.add("own memory of an attempt that streams", peak.own, "MiB", at_most=limit)
    figures.add("that attempt", time.perf_counter() - began, "s", note=out.strip())


def run_attempt(path: Path, cache: Path) -> None:
    """What a lane does: opens the data, encodes it, trains an epoch of a small CNN."""
    from trainers.data.sources.opening import open_dataset
    from trainers.families.image_cnn import ImageCNN
    from trainers.inputs.encoded_arrays import encode_dataset
    from trainers.job import Job, SilentHooks
    from trainers.loop.training import train
    from trainers.types import Goal, Length

    dataset = open_dataset({"source": f"npz:{path}"}, base=path.parent, cache=cache)
    family = ImageCNN({})
    params = family.complete({"channels": [4], "dense": [8], "batch_size": 64})
    arrays = encode_dataset(family, dataset, params, cache)
    job = Job(
        family=family, params=params, seed=0, length=Length(epochs=1), threads=1,
        goals=(Goal(metric="val/accuracy", maximize=True),),
    )  # fmt: skip
    outcome = train(job, arrays, SilentHooks())
    print(f"accuracy {outcome.values[0]:.3f}")


# -- lanes side by side ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedFile:
    """A file in a process's memory, in MiB: pages that are there, and its share of them."""

    inode: int
    resident: float
    share: float


def mapped_files(pid: int, below: Path) -> dict[str, MappedFile]:
    """Files below a folder that a process maps."""
    found: dict[str, MappedFile] = {}
    text = Path(f"/proc/{pid}/smaps").read_text()
    head = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+)\s+(/.*)$", re.MULTILINE)
    places = list(head.finditer(text))
    for place, after in zip(places, [*places[1:], None], strict=True):
        if not place[2].startswith(str(below)):
            continue
        rest = text[place.end() : after.start() if after else len(text)]
        size = {name: _kilobytes(rest, name) / 1024 for name in ("Rss", "Pss")}
        known = found.get(place[2])
        found[place[2]] = MappedFile(
            inode=int(place[1]),
            resident=size["Rss"] + (known.resident if known else 0),
            share=size["Pss"] + (known.share if known else 0),
        )
    return found


def _kilobytes(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0


def lane_pids(driver: psutil.Process) -> list[int]:
    """Pids of the lanes that a driver's Ray has started."""
    found = []
    for child in driver.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


def measure_shared(figures: Measurements, mebibytes: int, limit_s: float) -> None:
    """What two lanes map, while they train."""
    best: list[tuple[float, float, int]] = []

    def note_shared(seen: SweepSample) -> bool:
        """Notes what both lanes map at the time, and goes on."""
        maps = []
        with contextlib.suppress(OSError, psutil.Error):
            for pid in lane_pids(psutil.Process(seen.driver)):
                maps.append(mapped_files(pid, folder / "cache" / "encoded"))
        if len(maps) == 2 and all(maps):
            common = {name for name in maps[0] if name in maps[1]}
            inodes = {entry[name].inode for entry in maps for name in common}
            resident = sum(entry[name].resident for entry in maps for name in common)
            share = sum(entry[name].share for entry in maps for name in common)
            best.append((resident, share, len(inodes) == len(common)))
        return False

    with temporary_home() as folder:
        path = write_images(folder / "images.npz", mebibytes)
        run_sweep(folder, SHARED.format(path=path), limit_s=limit_s, look_every_s=0.2, until=note_shared)
    resident, share, same = max(best)
    figures.add("decoded examples that two lanes have mapped, added up", resident, "MiB")
    figures.add("pages that these are", share, "MiB", at_most=0.6 * resident, note="proportional set size")
    figures.add("files of theirs with one inode", float(same), at_least=1.0)


def main() -> None:
    """The parts asked for."""
    made = parser(__doc__ or "")
    made.add_argument("--parts", nargs="+", default=["trials", "stream", "shared"])
    made.add_argument("--trials", type=int, default=200)
    made.add_argument("--mebibytes", type=int, default=1_200, help="of images for `stream`")
    made.add_argument("--limit", type=float, default=900, help="seconds that one part may take")
    made.add_argument("--attempt", nargs=2, type=Path, metavar=("DATA", "CACHE"), help="one attempt, alone")
    options = made.parse_args()
    if options.attempt:
        run_attempt(*options.attempt)
        return
    figures = Measurements("memory", options.json)
    for part in options.parts:
        print_progress(part)
        if part == "trials":
            measure_trials(figures, options.trials, options.limit)
        elif part == "stream":
            measure_stream(figures, options.mebibytes, options.limit)
        else:
            measure_shared(figures, min(options.mebibytes, 300), options.limit)
    figures.conclude()


if __name__ == "__main__":
    main()
