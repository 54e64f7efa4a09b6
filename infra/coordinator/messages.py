"""What lanes and the coordinator say to each other. Every message may arrive twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from infra.coordinator.process_faults import ProcessFault
from infra.gpus.use import GpuUse
from infra.search.pruners import Deciding
from trainers.types import Json, Params


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneHandshake:
    """A lane's process that asks to be let in. The lane's name is its slot; a new process in the same slot
    means that the former one is gone."""

    lane: str
    shape: str
    host: str
    pid: int
    pid_started_at: float
    machine: str = ""
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One attempt to make.

    Attributes:
        deciding: reports (from 1) at which the pruner can decide; there the lane waits for the answer.
        keep_above: the value of the first goal that a model must beat to be kept, signed so that larger is
            better; None: keep it in any case.
        keep: whether a model is to be kept at all.
        resumes: whether an earlier attempt may have left a checkpoint.
        earlier: what former attempts at the trial reported, by report, where its code is people's own: it may
            resume by its own means, and its reports are numbered on. `earlier_seconds` is what they took.
        pauses: where the pruner ends it, it leaves with a checkpoint, from which it may go on later.
        structure: trials of one family with the same may be trained as one stack; None: alone.
        stack_limit: how many may be in its stack at most, since a larger one ended its lane.
        companions: trials of its family that are not done, it among them.
    """

    attempt: str
    role: str
    family: str
    number: int
    ordinal: int
    params: Params
    seed: int
    deciding: Deciding = ()
    keep: bool = True
    keep_above: float | None = None
    read_test: bool = False
    resumes: bool = False
    earlier: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    earlier_seconds: float = 0.0
    pauses: bool = False
    structure: str | None = None
    stack_limit: int | None = None
    companions: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """One report of an attempt: `epoch` from 1, all metrics by full name, the lane's clock."""

    epoch: int
    metrics: Mapping[str, float]
    at: float


AttemptReports: TypeAlias = Mapping[str, Sequence[EpochReport]]  # by attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """How an attempt ended. `outcome`: complete, pruned, stopped or failed (then `reason` is the class of
    failure and `detail` says more, with the traceback where there is one; `fault`: its process is spoilt).
    `gpu`: what it took of one, where that is asked."""

    attempt: str
    outcome: Literal["complete", "pruned", "stopped", "failed"]
    seconds: float = 0.0
    objective: tuple[float, ...] = ()
    epoch: int = 0
    epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)
    model: str | None = None
    reason: str = ""
    detail: str = ""
    fault: ProcessFault | None = None
    gpu: GpuUse | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneWork:
    """What a lane is to do next: attempts, or wait so many seconds, or leave for good. `fenced`: this
    process was given up for lost and another takes its slot; it must end without touching anything."""

    attempts: tuple[Assignment, ...] = ()
    wait_s: float = 0.0
    leave: bool = False
    fenced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRequest:
    """A lane that trains a stack asks for more trials of its structure.

    Attributes:
        holding: the attempts that it knows to be its own; what else runs on it was lost on its way.
        limit: how many places are free.
    """

    family: str
    structure: str
    holding: frozenset[str]
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StackChoice:
    """How a lane trains the trials of a structure.

    Attributes:
        width: how many at once; 1: one by one.
        gain: how many times faster than one by one it was measured to be; None: it was not measured.
        reason: in words.
    """

    family: str
    structure: str
    width: int
    gain: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackHeartbeatReply:
    """`HeartbeatReply` for several attempts: `void` names those that are no longer this lane's."""

    void: frozenset[str] = frozenset()
    stop: bool = False
    fenced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReply:
    """The answer to a heartbeat: `void`: the attempt is no longer this lane's, what it does is not counted;
    `stop`: checkpoint and leave; `fenced`: as in `LaneWork`."""

    void: bool = False
    stop: bool = False
    fenced: bool = False
