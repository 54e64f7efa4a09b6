"""`velodrome approve`: somebody else agrees that a version may become the champion."""

from __future__ import annotations

from dataclasses import dataclass

from flows.config.policy import Policy
from flows.promotion.registry_access import check_reason, open_mover, split_label
from flows.terminal.json_results import PlainResult
from infra.errors import RefusedError, WrongInput
from infra.home import Home
from infra.registry.identity import registry_user, user_part
from infra.registry.moves import Mover


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRecord(PlainResult):
    """An approval, recorded. `asked`: whether the model's policy asks for any."""

    model: str
    version: int
    who: str
    entry: int
    asked: bool


def approve(
    version: str, *, reason: str = "", registry: str | None = None, home: Home | None = None
) -> ApprovalRecord:
    """Records that this user agrees to a version; `promote` then counts it.

    Args:
        version: `MODEL/VERSION`, as the refused promotion printed it.
        reason: kept in the history.
        registry: the registry's address; by default `MLFLOW_TRACKING_URI` or the embedded store.

    Raises:
        WrongInput: no such version.
        RefusedError: whoever tried to promote it cannot approve it, nor who is not among those asked.
    """
    check_reason(reason)
    model, number = split_label(version)
    mover = open_mover(model, home or Home.from_environment(), registry)
    found = mover.registry.version(model, number)
    if found is None:
        raise WrongInput(
            "a version must be in the registry to be approved", version, "see `velodrome history`"
        )
    policy = _current_policy(mover, number)
    _check_approver(mover, policy, number)
    entry = mover.append_note("approval", target=number, manifest=found.manifest_sha256, reason=reason)
    return ApprovalRecord(
        model=model, version=number, who=entry.who, entry=entry.number, asked=policy.approval is not None
    )


def _current_policy(mover: Mover, number: int) -> Policy:
    """The model's policy; before it has one, that by which the version was last refused."""
    records = mover.records
    chain = records.read_chain()
    digest = None if chain.last_policy is None else chain.last_policy.policy
    refusals = [e for e in chain.entries if e.kind == "refusal" and e.target == number and e.content]
    if digest is None and refusals:
        digest = (records.read_document(str(refusals[-1].content)).get("policy") or {}).get("id")
    return Policy() if digest is None else Policy.model_validate(records.read_document(digest))


def _check_approver(mover: Mover, policy: Policy, number: int) -> None:
    me = registry_user()
    tried = [e for e in mover.records.read_chain().entries if e.kind == "refusal" and e.target == number]
    if any(user_part(entry.who) == me for entry in tried):
        raise RefusedError(
            "a version must be approved by somebody other than its promoter", me, "ask a colleague"
        )
    asked = policy.approval
    if asked is not None and asked.by is not None and me not in asked.by:
        raise RefusedError(f"the policy must name who approves: {', '.join(asked.by)}", me, "ask one of them")
