"""How wide a stack is to be: what the sweep file says, or what a few steps of several widths show."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from infra.coordinator.messages import Assignment, StackChoice
from infra.lanes.attempt import AttemptRunner
from trainers.data.dataset import EncodedDataset
from trainers.errors import OutOfMemory
from trainers.job import Job, Outcome, SilentHooks
from trainers.loop.device_memory import find_device_memory
from trainers.loop.memory import peak_bytes, restart_peak
from trainers.loop.micro_batches import MicroBatchFeed, PartSources
from trainers.loop.progress import plan_steps
from trainers.stacking.structure import structure_key
from trainers.types import Length

_log = logging.getLogger(__name__)

WIDTHS = (1, 4, 16, 64)
FEW_STEPS, MANY_STEPS, MOST_STEPS = 2, 16, 256
LONGEST_S = 10.0
HARMLESS_RATE = 1e-6  # a trial's own may diverge within these steps
WIDTH_HELPS = 1.25  # by what a step must get shorter where stacks are four times as wide
LEAST_GAIN = 1.1  # below it what filling and emptying a stack costs is not won back
MEASURING_SHARE = 0.1  # of all steps there are to make
LEAST_STEPS = 2 * FEW_STEPS + MANY_STEPS  # that measuring a width takes


class StackWidths:
    """Decides for one lane's process, once a structure."""

    def __init__(self, runner: AttemptRunner, record: Callable[[StackChoice], None]) -> None:
        """Nothing was measured yet.

        Args:
            record: called with each choice.
        """
        self._runner, self._record = runner, record
        self._choices: dict[tuple[str, str], StackChoice] = {}

    def find_width(self, assignment: Assignment) -> int:
        """How many attempts beside and with this one are trained as one program; 1: alone."""
        if assignment.structure is None:
            return 1
        place = (assignment.family, assignment.structure)
        if place not in self._choices:
            self._choices[place] = self._choose(assignment, assignment.structure)
            self._record(self._choices[place])
        width = self._choices[place].width
        return width if assignment.stack_limit is None else min(width, assignment.stack_limit)

    def note_width(self, assignment: Assignment, width: int) -> None:
        """A stack had room for so many, and the next one begins with them."""
        place = (assignment.family, assignment.structure or "")
        if assignment.stack_limit is None and width < self._choices[place].width:
            reason = "a wider one failed, for want of memory or otherwise"
            self._choices[place] = replace(self._choices[place], width=width, reason=reason)
            self._record(self._choices[place])

    def _choose(self, assignment: Assignment, structure: str) -> StackChoice:
        written = self._runner.spec.family(assignment.family).stack
        width, gain, reason = (written, None, "") if isinstance(written, int) else self._measure(assignment)
        return StackChoice(
            family=assignment.family, structure=structure, width=width, gain=gain, reason=reason
        )

    def _measure(self, assignment: Assignment) -> tuple[int, float | None, str]:
        try:
            job = self._runner.jobs.make_job(assignment)
            encoded = self._runner.jobs.encode(job)
            steps = assignment.companions * count_steps(job, encoded)
            return choose_width(measure_widths(job, encoded, self._runner.jobs.cache, steps=steps))
        except Exception as error:  # people's code may raise anything: where it is alone it fails in its log
            _log.exception("%s cannot be stacked", assignment.family)
            return 1, None, f"a stack fails: {type(error).__name__}"
        finally:
            self._runner.free_memory()


def choose_width(seconds: Mapping[int, float]) -> tuple[int, float, str]:
    """The width at which a trial's step takes least, how many times less than one by one, and why if alone.

    Args:
        seconds: of a step, for each of those that are stacked, by how many are; one by one among them.
            Empty: nothing was measured.
    """
    if not seconds:
        return 1, 1.0, "all are trained sooner than stacks are measured"
    best = min(seconds, key=lambda width: seconds[width])
    gain = seconds[1] / seconds[best]
    if gain >= LEAST_GAIN:
        return best, gain, ""
    others = [seconds[1] / took for width, took in seconds.items() if width > 1]
    return (
        1,
        1.0,
        f"stacks take {1 / max(others):.1f} times as long"
        if others
        else "its steps are too long, or memory too small, to try more",
    )


def count_steps(job: Job, encoded: EncodedDataset) -> int:
    """Steps of a whole trial, were it not ended early."""
    feed = MicroBatchFeed(PartSources(encoded, "cpu")["train"], job.params, job.seed, job.ranks)
    return plan_steps(job.length, feed.steps_per_epoch)[0]


def measure_widths(
    job: Job, encoded: EncodedDataset, cache: Path, *, steps: int, most: int = WIDTHS[-1]
) -> dict[int, float]:
    """Seconds of a step for each member, by how many are stacked: measured once a node for a structure, on
    this data, device and number of threads. Widths that memory would not hold, or from which nothing is to
    be hoped for, are not tried; all of it takes a tenth of all steps at most.

    Args:
        cache: a folder of the node.
        steps: of all trials that are to be trained, those of each counted.
        most: how many may be stacked.
    """
    path = cache / "stacks" / f"{_measurement_key(job, encoded)}.json"
    known: dict[int, float] = {}
    if path.exists():
        known = {int(width): took for width, took in json.loads(path.read_text()).items()}
    allowed = int(steps * MEASURING_SHARE)
    if not known and allowed < WIDTHS[1] * LEAST_STEPS:
        return {}
    for width in WIDTHS:
        if width > most or (known and width not in known and not _is_worth_trying(known, width, allowed)):
            break
        if width not in known:
            took = _try_width(job, encoded, width, allowed // width)
            if took is None:
                break
            known[width] = took
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(known))
    aside.replace(path)
    return {width: took for width, took in known.items() if width <= most}


def _is_worth_trying(known: Mapping[int, float], width: int, allowed: int) -> bool:
    """Not where it would take long: whose steps are long by themselves gains little. A narrow stack may be
    slower than trials alone, by what a stacked step costs however many are in it; a wider one is tried as
    long as width still helps."""
    *before, last = sorted(known)
    if len(before) > 1 and known[last] * WIDTH_HELPS > known[before[-1]]:
        return False
    return width * LEAST_STEPS <= allowed and known[last] * width * LEAST_STEPS <= LONGEST_S


def _try_width(job: Job, encoded: EncodedDataset, width: int, allowed: int) -> float | None:
    """Seconds of a step for each member; None where memory does not hold so many, or half as much again."""
    memory = MemoryRoom(job.device)
    try:
        took = _time_steps(job, encoded, width, allowed)
    except (OutOfMemory, MemoryError):
        return None
    return took if memory.holds_more(1.5) else None


def _time_steps(job: Job, encoded: EncodedDataset, width: int, allowed: int) -> float:
    """Seconds that more steps take beyond what beginning, the first steps and an evaluation do: so many more,
    where they are allowed, that the difference is no accident."""
    least = min(_train_for(job, encoded, width, FEW_STEPS) for _ in range(2))  # the first finds all cold
    steps = MANY_STEPS
    while True:
        more = _train_for(job, encoded, width, steps) - least
        if more >= least / 2 or 4 * steps > min(MOST_STEPS, allowed):
            return max(more, least / 10) / (steps - FEW_STEPS) / width
        steps *= 4


def _train_for(job: Job, encoded: EncodedDataset, width: int, steps: int) -> float:
    from trainers.loop.training import train
    from trainers.stacking.training import Member, train_stack

    short = replace(
        job, length=Length(steps=steps, report_every=steps), checkpoint_seconds=None, checkpoint_epochs=None,
        samples=None, read_test=False, params={**job.params, "learning_rate": HARMLESS_RATE},
    )  # fmt: skip

    def end(_member: Member, ended: Outcome | Exception) -> None:
        if isinstance(ended, Exception):
            raise ended

    began = time.monotonic()
    if width == 1:
        train(short, encoded, SilentHooks())
    else:
        members = [Member(job=replace(short, seed=seed), hooks=SilentHooks()) for seed in range(width)]
        train_stack(members, encoded, refill=lambda: None, ended=end, width=width)
    return time.monotonic() - began


class MemoryRoom:
    """Whether the memory that was free when this was made holds what was taken since, and more."""

    def __init__(self, device: str) -> None:
        """Looks at what is free and begins to count."""
        import torch

        self._device = torch.device(device)
        restart_peak(self._device)
        self._free, self._before = self._look()

    def holds_more(self, factor: float) -> bool:
        """Whether so many times what was taken at most would have fitted."""
        taken = (peak_bytes(self._device) or self._before) - self._before
        return taken * factor <= self._free

    def _look(self) -> tuple[float, float]:
        """Bytes that are free, and that are taken by what is counted."""
        import psutil

        memory = find_device_memory(self._device)
        if memory is not None:
            return float(memory.free_bytes()), float(memory.held_bytes())
        return float(psutil.virtual_memory().available), float(psutil.Process().memory_info().rss)


def _measurement_key(job: Job, encoded: EncodedDataset) -> str:
    import torch

    cuda = job.device.startswith("cuda")
    facts = {
        "structure": structure_key(job.family, job.params), "data": encoded.fingerprint,
        "device": torch.cuda.get_device_name(job.device) if cuda else "cpu", "threads": job.threads,
        "torch": torch.__version__,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
