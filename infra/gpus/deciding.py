"""How many lanes one GPU gets where the sweep file says `gpus: auto`: decided from figures alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from infra.gpus.use import GpuUse
from trainers.loop.device_memory import gibibytes
from trainers.types import Document

LEVELS = (1, 2, 4, 8)
MARGIN = 1.25  # a trial to come may be larger by so much than the largest so far
ENOUGH_TRIALS = 2
WORTH_S = 60.0  # lanes that begin anew stand idle for ten to twenty seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRoom:
    """What a cluster has for the lanes of a family, beside memory of GPUs.

    Attributes:
        gpus: how many there are for it.
        lanes: how many of its lanes each may have by processors, by memory and by `resources.lanes`.
    """

    gpus: int
    lanes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyMemory:
    """What is known of a family's trials on GPUs, and how many lanes a GPU has for them.

    Attributes:
        lanes: a GPU, as it was decided.
        trials: that ended and were measured, `ENOUGH_TRIALS` at most.
        peak_bytes: of the largest, its context among it.
        total_bytes: of the smallest GPU.
        most: lanes a GPU at most: fewer than there were on one that was full.
    """

    lanes: int = 1
    trials: int = 0
    peak_bytes: int = 0
    total_bytes: int = 0
    most: int = LEVELS[-1]

    def to_json(self) -> Document:
        """As a sweep's facts have it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Document) -> FamilyMemory:
        """The inverse of `to_json`; what a later version wrote beside it is left out."""
        return cls(**{name: int(document[name]) for name in cls.__dataclass_fields__ if name in document})


def add_use(known: FamilyMemory, use: GpuUse, *, ended: bool) -> FamilyMemory:
    """What is known once an attempt's use is.

    Args:
        ended: whether it came to where a trial may come; one that failed may have taken more later.
    """
    totals = [total for total in (known.total_bytes, use.total_bytes) if total]
    counted = int(ended and use.peak_bytes > 0)
    return replace(
        known,
        trials=min(ENOUGH_TRIALS, known.trials + counted),
        peak_bytes=max(known.peak_bytes, use.peak_bytes),
        total_bytes=min(totals, default=0),
        most=min(known.most, max(1, use.lanes // 2)) if use.full and use.lanes > 1 else known.most,
    )


def merge_families(families: Sequence[FamilyMemory]) -> FamilyMemory:
    """What is known of several families whose lanes are the same: of the largest trial of all, and of as many
    trials as have ended in each."""
    totals = [known.total_bytes for known in families if known.total_bytes]
    return FamilyMemory(
        lanes=max(known.lanes for known in families),
        trials=min(known.trials for known in families),
        peak_bytes=max(known.peak_bytes for known in families),
        total_bytes=min(totals, default=0),
        most=min(known.most for known in families),
    )


def count_fitting(known: FamilyMemory) -> int:
    """How many lanes a GPU has memory for, as far as is known; 1 where nothing is."""
    if not known.peak_bytes or not known.total_bytes:
        return 1
    return _level(min(known.most, math.floor(known.total_bytes / (known.peak_bytes * MARGIN))))


def decide_lanes(
    known: FamilyMemory, room: GpuRoom, trials_left: int, trial_seconds: float = math.inf
) -> int:
    """How many lanes a GPU is to have from now on.

    Fewer than now as soon as memory does not suffice. More once enough trials have ended, where there are
    processors and trials for them, and what is left takes longer than to begin lanes anew; those that are
    there stay, also when trials get fewer.

    Args:
        trial_seconds: that a trial takes; infinite where no lane has begun yet.
    """
    fitting = count_fitting(known)
    if fitting < known.lanes:
        return fitting
    left_s = trials_left and trials_left * trial_seconds / max(1, room.gpus * known.lanes)
    if known.trials < ENOUGH_TRIALS or left_s < WORTH_S:
        return known.lanes
    useful = min(fitting, room.lanes, math.ceil(trials_left / max(1, room.gpus)))
    return max(known.lanes, _level(useful))


def describe_lanes(known: FamilyMemory) -> str:
    """`4 lanes a GPU, the largest trial so far took 3.1 GiB of 24.0 GiB`, or what else is the reason."""
    lanes = f"{known.lanes} lane{'s' if known.lanes > 1 else ''} a GPU"
    if not known.peak_bytes:
        return f"{lanes}, until trials have shown what they take"
    took = f"the largest trial so far took {gibibytes(known.peak_bytes)} of {gibibytes(known.total_bytes)}"
    if known.most < LEVELS[-1] and known.most == known.lanes:
        return f"{lanes}, {took}, and with {2 * known.most} a GPU was full"
    if known.trials < ENOUGH_TRIALS:
        return f"{lanes}, {took}; {ENOUGH_TRIALS} trials of each family are to have shown what they take"
    fitting = count_fitting(known)
    if fitting > known.lanes:
        return f"{lanes}, {took}; {fitting} have room, but processors or trials are too few for more"
    return f"{lanes}, {took}"


def _level(lanes: int) -> int:
    return max((level for level in LEVELS if level <= lanes), default=1)
