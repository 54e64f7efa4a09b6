"""All gates of a policy over what was found of a challenger: the table, and whether the champion moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flows.config.policy import Policy
from flows.promotion.gates import bounds, comparing
from flows.promotion.gates.comparing import Rows
from flows.promotion.gates.findings import Finding, without_champion
from flows.promotion.gates.scoring import Answers, Truth, metric
from flows.statistics import PairedComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is known of a challenger that could be loaded, on examples that no model was trained on.

    Attributes:
        metric: what is compared, without a prefix.
        truth, challenger, champion: the examples and the answers; `champion` is None where there is none.
        facts: `latency_ms`, `parameters` and so on, measured here.
        slices: examples of each slice, by name.
        signature: differences from the champion's; None where there is no champion.
    """

    metric: str
    truth: Truth
    challenger: Answers
    champion: Answers | None
    facts: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, Rows] = field(default_factory=dict)
    signature: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The table, and the test behind the gate `better`."""

    findings: tuple[Finding, ...]
    comparison: PairedComparison | None = None

    @property
    def passed(self) -> bool:
        """Whether every gate lets the challenger through."""
        return not any(finding.refused for finding in self.findings)


def judge(policy: Policy, case: Case) -> Judgement:
    """Every gate that needs predictions."""
    findings: list[Finding] = []
    if (trivial := bounds.guessing(case.metric, case.truth, case.challenger)) is not None:
        findings.append(trivial)
    findings += bounds.metric_bounds(policy, case.truth, case.challenger)
    if case.champion is None:
        findings += [without_champion(name) for name in _of_two(policy, case)]
        comparison = None
    else:
        comparison, more = _against(policy, case, case.champion)
        findings += more
    findings += bounds.costs(policy, case.facts)
    return Judgement(findings=tuple(findings), comparison=comparison)


def _against(policy: Policy, case: Case, champion: Answers) -> tuple[PairedComparison | None, list[Finding]]:
    findings: list[Finding] = []
    comparison = None
    if metric(case.metric, case.truth, champion) is None:
        findings.append(_undefined(case.metric, "the champion's"))
    elif metric(case.metric, case.truth, case.challenger) is None:
        findings.append(_undefined(case.metric, "the challenger's"))
    else:
        comparison = comparing.compared(
            case.metric, case.truth, case.challenger, champion,
            margin=policy.compare.margin, confidence=policy.compare.confidence,
        )  # fmt: skip
        findings.append(comparing.better(case.metric, comparison))
    findings += comparing.class_gates(policy, case.truth, case.challenger, champion)
    findings += comparing.slice_gates(policy, case.slices, case.truth, case.challenger, champion)
    findings.append(bounds.signature(case.signature or ()))
    return comparison, findings


def _undefined(name: str, whose: str) -> Finding:
    found = f"not defined for {whose} predictions"
    return Finding(gate="better", verdict="refused", limit=f"{name} of both is known", found=found)


def _of_two(policy: Policy, case: Case) -> list[str]:
    """Names of the gates that need a champion."""
    names = ["better"]
    if case.truth.task == "classification":
        names.append("classes")
    if policy.slices is not None:
        names.append("slices")
    return [*names, "signature"]
