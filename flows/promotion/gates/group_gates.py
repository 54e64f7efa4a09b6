"""The gate that holds a challenger's own answers about groups of people, say, against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding, gate_finding
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.predictions import Floats, Rows
from flows.promotion.gates.scoring import correct_scores
from flows.statistics.shares import newcombe_interval
from flows.terminal.formatting import number


def has_groups(policy: Policy, _case: GateInputs) -> bool:
    """Whether the policy names columns of groups."""
    return policy.groups is not None


def check_groups(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """One finding a column: the accuracies of its groups may lie apart by at most `groups.max_gap`."""
    assert policy.groups is not None
    right = correct_scores(case.truth, case.challenger)
    for column in dict.fromkeys(policy.groups.columns):
        groups = dict(sorted(case.groups[column].items()))  # as the record has them
        gate = f"groups {column}"
        if right is None:
            yield gate_finding(
                gate, False, limit=_limit(policy), found="not defined of numbers: none is simply right",
                do="leave groups out of this model's policy",
            )  # fmt: skip
            continue
        large = {name: rows for name, rows in groups.items() if rows.sum() >= policy.groups.min_examples}
        if len(large) < 2:
            found = f"{len(large)} of {len(groups)} groups with {policy.groups.min_examples} examples"
            yield GateFinding(gate=gate, verdict="not applicable", limit=_limit(policy), found=found)
        else:
            yield _gap_finding(policy, gate, right, large)


def _gap_finding(policy: Policy, gate: str, right: Floats, groups: Mapping[str, Rows]) -> GateFinding:
    """Refused where the gap is larger than the limit and no accident of few examples.

    The best and the worst of k groups are chosen after the fact: the interval is that of k (k − 1) / 2 pairs.
    """
    assert policy.groups is not None
    shares = {name: float(right[rows].mean()) for name, rows in groups.items()}
    worst, best = min(shares, key=lambda name: shares[name]), max(shares, key=lambda name: shares[name])
    pairs = len(groups) * (len(groups) - 1) // 2
    confidence = 1 - (1 - policy.compare.confidence) / pairs
    counts = {name: int(rows.sum()) for name, rows in groups.items()}
    low, high = newcombe_interval(shares[best], counts[best], shares[worst], counts[worst], confidence)
    gap, most = round(shares[best] - shares[worst], 12), policy.groups.max_gap
    listed = ", ".join(f"{name} {number(shares[name])} of {counts[name]:,}" for name in groups)
    level = f"{policy.compare.confidence * 100:.4g} %"
    chance = "" if low > 0 or gap <= most else ": cannot be told from chance"
    interval = f"{number(gap, 3)} ({number(low, 3)} to {number(high, 3)} at {level})"
    return gate_finding(
        gate, gap <= most or low <= 0, limit=_limit(policy),
        found=f"accuracy {listed}; gap {interval}{chance}",
        by=f"{number(abs(gap - most), 3)} {'within' if gap <= most else 'over'}", value=gap, bound=most,
        do=f"more training examples like those of {worst}",
    )  # fmt: skip


def largest_gap(case: GateInputs) -> float | None:
    """The challenger's `accuracy_gap` over the sensitive columns, as training has it; None where nothing is
    simply right, or no column is sensitive."""
    right = correct_scores(case.truth, case.challenger)
    if right is None or not case.sensitive or case.truth.task != "classification":
        return None
    shares = [
        [float(right[rows].mean()) for rows in case.groups[column].values() if rows.any()]
        for column in case.sensitive
    ]
    return max(max(found) - min(found) for found in shares)


def _limit(policy: Policy) -> str:
    assert policy.groups is not None
    return f"accuracies of groups apart by at most {number(policy.groups.max_gap)}"
