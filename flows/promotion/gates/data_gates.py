"""Gates on the examples that are judged on, before any model is asked."""

from __future__ import annotations

from collections.abc import Iterator

from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding, gate_finding
from flows.promotion.gates.gate import GateInputs

ALLOWED = " (the policy allows it)"


def check_training_rows(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """Whether it is known which rows each model was trained on, so that those can be left out."""
    allowed, problems = policy.training_rows == "unknown", case.data.problems
    known = "known" + "".join(
        f"; not those that the {whose} was selected by" for whose in case.data.unselected
    )
    yield gate_finding(
        "training rows", allowed or not problems,
        limit="the rows that each model was trained on are known",
        found=f"{'; '.join(problems)}{ALLOWED if allowed else ''}" if problems else known,
        do="sweep on the champion's columns, or set `training_rows: unknown` in the policy",
    )  # fmt: skip


def check_evaluation_data(_policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """The evaluation data is what the policy was set with."""
    wanted, found = case.data.wanted, case.data.fingerprint
    if wanted is not None:
        yield gate_finding(
            "evaluation data", wanted == found, limit=f"fingerprint {wanted[:12]}",
            found=f"fingerprint {found[:12]}", do="restore the data, or set the policy again",
        )  # fmt: skip


def check_unchanged_data(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """The data is what the challenger's sweep was run on."""
    allowed, changed = policy.changed_data == "judged", case.data.changed
    if changed:
        yield gate_finding(
            "unchanged data", allowed, limit="the data is what the sweep was run on",
            found=f"{changed}{ALLOWED if allowed else ''}",
            do="sweep again on the data as it is, or set `changed_data: judged` in the policy",
        )  # fmt: skip


def check_same_data(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """The data is the champion's, or has grown from it."""
    allowed, foreign = policy.other_data == "judged", case.data.foreign
    if foreign is not None:
        yield gate_finding(
            "same data", allowed or not foreign, limit="the data is the champion's, or has grown from it",
            found=f"{foreign}{ALLOWED if allowed else ''}" if foreign else "the champion's",
            do="sweep on the champion's data, or set `evaluation` or `other_data: judged` in the policy",
        )  # fmt: skip


def check_examples(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """Enough examples that neither model was trained on."""
    found, least, left_out = case.data.count, policy.min_examples, case.data.left_out
    overlap = f", {left_out:,} left out that one was trained on" if left_out else ""
    overlap += f", {case.data.copies:,} copies of others counted once" if case.data.copies else ""
    yield gate_finding(
        "examples", found >= least, limit=f"at least {least:,} that neither model was trained on",
        found=f"{found:,}{overlap}", by=f"{abs(found - least):,} {'more' if found >= least else 'too few'}",
        needed=None if found >= least else least, value=float(found), bound=float(least),
        do=f"{least - found:,} more examples that neither model was trained on",
    )  # fmt: skip
