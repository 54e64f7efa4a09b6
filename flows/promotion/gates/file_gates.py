"""Gates on a challenger's files, before anything is loaded, and on who agreed to it."""

from __future__ import annotations

from collections.abc import Iterator

from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding, gate_finding
from flows.promotion.gates.gate import GateInputs


def check_contents(_policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """No code and no pickle, and a known loader."""
    yield gate_finding(
        "contents", not case.objection, limit="no code, no pickle, a known loader",
        found=case.objection or "none",
        do="log it without pickle and code, or allow its loader by the policy's `loaders`",
    )  # fmt: skip


def check_hashes(_policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """The files are what was registered."""
    yield gate_finding(
        "hashes", not case.mismatch, limit="the files are those that were registered",
        found=case.mismatch or "match", do="restore the files, or train and register it again",
    )  # fmt: skip


def check_approval(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """Enough people agreed who are not the promoter."""
    asked = policy.approval
    if asked is None:
        return
    counted = sorted(
        {user for user in case.approvers if user != case.promoter and (asked.by is None or user in asked.by)}
    )
    from_whom = "anybody but the promoter" if asked.by is None else " or ".join(asked.by)
    yield gate_finding(
        "approval", len(counted) >= asked.count, limit=f"{asked.count} of {from_whom}",
        found=", ".join(counted) or "none", value=float(len(counted)), bound=float(asked.count),
        do=f"{asked.count - len(counted)} more of {from_whom} must `velodrome approve` it",
    )  # fmt: skip
