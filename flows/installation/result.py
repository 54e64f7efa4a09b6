"""What `doctor` found, as a typed result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from trainers.types import JsonObject

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """One check. `do`: what to do where it is not ok."""

    name: str
    verdict: Verdict
    found: str
    do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """One node of a cluster.

    Attributes:
        name: for people; `node` is Ray's id.
        free_cpus, free_gpus: what nobody holds now; None where Ray does not know yet.
        gpus_seen: by torch; None where Ray counts none there.
        clock_offset_s: how far its clock is ahead of this machine's.
        storage, ledger, tracking: `ok`, what went wrong, or `-` where it is this machine's own.
        failure: why the node said nothing; empty where it did.
    """

    name: str
    node: str
    cpus: float
    free_cpus: float | None
    gpus: float
    free_gpus: float | None
    gpus_seen: int | None
    python: str
    ray: str
    torch: str
    velodrome: str
    clock_offset_s: float | None
    storage: str
    ledger: str
    tracking: str
    failure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """All checks, in order, and the nodes of the cluster that was asked."""

    findings: tuple[HealthFinding, ...]
    nodes: tuple[ClusterNode, ...] = ()

    @property
    def has_failure(self) -> bool:
        """Whether something must be put right before a sweep can run."""
        return any(finding.verdict == "fail" for finding in self.findings)

    def to_json(self) -> JsonObject:
        """The findings, whether any of them is a failure, and the nodes."""
        return {
            "ok": not self.has_failure,
            "findings": [asdict(finding) for finding in self.findings],
            "nodes": [asdict(node) for node in self.nodes],
        }
