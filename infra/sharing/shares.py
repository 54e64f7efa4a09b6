"""How many lanes each sweep of a cluster may have: decided from what all of them ask for, by every driver for
itself and with the same answer."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from infra.coordinator.placement import Node, RunPlan
from trainers.types import Document

NOTHING_LESS = 1e-9  # what rounding may make of a whole number of processors


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneClaim:
    """What one sweep asks of the cluster.

    Attributes:
        sweep_id: by which equals are put in order.
        who: the process that runs it, in words.
        weight: `resources.weight`.
        wanted: how many lanes it could use, `resources.lanes` at most.
        cpus, gpus: of one lane; of the largest where families differ.
        lanes: how many it has or is about to have.
        held_cpus, held_gpus: what these take.
    """

    sweep_id: int
    sweep: str
    who: str
    weight: float
    wanted: int
    cpus: float
    gpus: float
    lanes: int
    held_cpus: float
    held_gpus: float

    def to_json(self) -> Document:
        """What others read of it in the ledger."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Document) -> LaneClaim:
        """The inverse of `to_json`."""
        return cls(**{name: document[name] for name in cls.__dataclass_fields__})


def share_lanes(claims: Sequence[LaneClaim], cpus: float, gpus: float) -> dict[int, int]:
    """How many lanes each sweep may have, by its id.

    One lane after another goes to whoever has least by its weight: the share of a sweep is that of processors
    or of GPUs, whichever is larger (Ghodsi et al., Dominant Resource Fairness, NSDI 2011). What one cannot
    use goes to the others.

    Args:
        cpus, gpus: what all of these sweeps have together.
    """
    given = dict.fromkeys((claim.sweep_id for claim in claims), 0)
    by_id = {claim.sweep_id: claim for claim in claims}
    line = [(0.0, sweep_id) for sweep_id in by_id]
    heapq.heapify(line)
    while line:
        _, sweep_id = heapq.heappop(line)
        claim = by_id[sweep_id]
        fits = claim.cpus <= cpus + NOTHING_LESS and claim.gpus <= gpus + NOTHING_LESS
        if given[sweep_id] >= claim.wanted or not fits:
            continue
        given[sweep_id] += 1
        cpus, gpus = cpus - claim.cpus, gpus - claim.gpus
        heapq.heappush(line, (given[sweep_id] * _lane_cost(claim, claims) / claim.weight, sweep_id))
    return given


def _lane_cost(claim: LaneClaim, claims: Sequence[LaneClaim]) -> float:
    """What a lane takes, beside the largest lane of all: a processor is as dear as GPUs are where both are
    asked for in the same measure."""
    most_cpus = max(other.cpus for other in claims) or 1.0
    most_gpus = max(other.gpus for other in claims) or 1.0
    return max(claim.cpus / most_cpus, claim.gpus / most_gpus)


def estimate_strangers(nodes: Sequence[Node], claims: Sequence[LaneClaim]) -> tuple[float, float]:
    """The processors and GPUs that are held by others than these sweeps. What lanes that are coming up will
    hold is free still: then it is less than nothing, and none."""
    cpus = sum(node.cpus - (node.cpus if node.free_cpus is None else node.free_cpus) for node in nodes)
    gpus = sum(node.gpus - (node.gpus if node.free_gpus is None else node.free_gpus) for node in nodes)
    ours_cpus = sum(claim.held_cpus for claim in claims)
    ours_gpus = sum(claim.held_gpus for claim in claims)
    return max(0.0, cpus - ours_cpus), max(0.0, gpus - ours_gpus)


def choose_returned_runs(plans: Mapping[str, RunPlan], lanes_up: Mapping[str, int], excess: int) -> list[str]:
    """The runs to end so that so many lanes are given back; a run is given back whole, and what it was more
    than that is begun again.

    Args:
        plans: by the run's name.
        lanes_up: how many lanes of each run are in: those without any are given back first.
    """
    chosen = list[str]()
    left = dict(plans)
    while excess > 0 and left:
        best = min(
            left,
            key=lambda name: (
                bool(lanes_up.get(name)), left[name].lanes > excess, abs(excess - left[name].lanes), name,
            ),
        )  # fmt: skip
        excess -= left.pop(best).lanes
        chosen.append(best)
    return chosen


def describe_others(claims: Sequence[LaneClaim], sweep_id: int) -> str:
    """Who else holds what: `digits has 3 lanes (pid 12 on w1)`; empty where nobody does."""
    others = sorted((claim for claim in claims if claim.sweep_id != sweep_id), key=lambda c: -c.lanes)
    told = [
        f"{claim.sweep} has {claim.lanes} lane{'' if claim.lanes == 1 else 's'} ({claim.who})"
        for claim in others[:3]
    ]
    more = [f"{len(others) - 3} more sweeps wait or train"] if len(others) > 3 else []
    return ", ".join(told + more)
