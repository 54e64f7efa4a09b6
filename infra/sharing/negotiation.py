"""One sweep's side of sharing a cluster: what it claims, and how many lanes it may have beside the others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from infra.coordinator.placement import MANY, Node, RunPlan, worker_capacity
from infra.errors import LedgerUnavailable
from infra.ledger.store import Ledger
from infra.sharing.claims import read_claims
from infra.sharing.shares import LaneClaim, describe_others, estimate_strangers, share_lanes
from infra.spec import Resources, SweepSpec

LOOK_EVERY_S = 5.0
STRANGERS_LOOKS = 3  # at the nodes, ten seconds apart


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneShare:
    """What a sweep may have now.

    Attributes:
        allowed: how many lanes; None where nobody else is there.
        others: who else has what, in words.
    """

    claim: LaneClaim
    allowed: int | None = None
    others: str = ""


class ShareKeeper:
    """Looks now and then at what other sweeps of the ledger claim of the same cluster."""

    def __init__(
        self,
        ledger: Ledger,
        sweep_id: int,
        spec: SweepSpec,
        cluster: str,
        who: str,
        *,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Knows of nobody yet.

        Args:
            cluster: a name that no other cluster has.
            who: the driver's process, in words.
            steady: seconds that only pass.
        """
        self._ledger, self._sweep_id, self._spec = ledger, sweep_id, spec
        self.cluster, self._who, self._steady = cluster, who, steady
        self._looked_at: float | None = None
        self._others: list[LaneClaim] = []
        self._nodes: Sequence[Node] | None = None
        self._strangers: deque[tuple[float, float]] = deque(maxlen=STRANGERS_LOOKS)

    def update(
        self, wanted: Mapping[str, tuple[Resources, int]], nodes: Sequence[Node], plans: Sequence[RunPlan]
    ) -> LaneShare:
        """What the sweep claims, and may have beside the others.

        Args:
            wanted: by shape, what its trials need and how many have not ended.
            nodes: the cluster's, with what is free of each.
            plans: of all its runs that hold something or are about to.
        """
        claim = self._make_claim(wanted, nodes, plans)
        self._look()
        if not self._others:
            return LaneShare(claim=claim)
        claims = [claim, *self._others]
        given = share_lanes(claims, *self._measure_room(nodes, claims))
        return LaneShare(
            claim=claim, allowed=given[self._sweep_id], others=describe_others(claims, self._sweep_id)
        )

    def _measure_room(self, nodes: Sequence[Node], claims: Sequence[LaneClaim]) -> tuple[float, float]:
        """The processors and GPUs that all these sweeps have together.

        What is free and who holds what is not seen at one moment: lanes that are just given back look like
        a stranger's for a while. So one who is there at several looks counts alone.
        """
        if nodes is not self._nodes:
            self._nodes = nodes
            self._strangers.append(estimate_strangers(nodes, claims))
        cpus = sum(node.cpus for node in nodes) - min(cpus for cpus, _ in self._strangers)
        gpus = sum(node.gpus for node in nodes) - min(gpus for _, gpus in self._strangers)
        return cpus, gpus

    def _look(self) -> None:
        now = self._steady()
        if self._looked_at is not None and now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        try:
            found = read_claims(self._ledger, self.cluster)
        except LedgerUnavailable:
            return  # what was known of the others still holds
        self._others = [claim for claim in found if claim.sweep_id != self._sweep_id and claim.wanted]

    def _make_claim(
        self, wanted: Mapping[str, tuple[Resources, int]], nodes: Sequence[Node], plans: Sequence[RunPlan]
    ) -> LaneClaim:
        shapes = [resources for resources, _ in wanted.values()]
        most = sum(count for _, count in wanted.values())
        fits = sum(
            sum(worker_capacity(resources, node) for node in nodes) // resources.workers
            for resources in shapes
        )
        held = [(plan.lanes * plan.resources.workers, plan.resources) for plan in plans]
        return LaneClaim(
            sweep_id=self._sweep_id, sweep=self._spec.label, who=self._who, weight=self._spec.weight,
            wanted=min(most, fits, MANY if self._spec.lanes is None else self._spec.lanes),
            cpus=max((one.workers * one.cpus for one in shapes), default=0.0),
            gpus=max((one.workers * (one.gpus or 0.0) for one in shapes), default=0.0),
            lanes=sum(plan.lanes for plan in plans),
            held_cpus=sum(workers * one.cpus for workers, one in held),
            held_gpus=sum(workers * (one.gpus or 0.0) for workers, one in held),
        )  # fmt: skip
