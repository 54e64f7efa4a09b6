"""All gates of a policy over what was found of a challenger: the table, and whether the champion moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flows.config.policy import Policy
from flows.promotion.gates import bounds, comparing
from flows.promotion.gates.comparing import Rows
from flows.promotion.gates.findings import GateFinding, without_champion
from flows.promotion.gates.scoring import TaskPredictions, Truth, compute_metric
from flows.statistics import PairedComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInputs:
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
    challenger: TaskPredictions
    champion: TaskPredictions | None
    facts: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, Rows] = field(default_factory=dict)
    signature: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The table, and the test behind the gate `better`."""

    findings: tuple[GateFinding, ...]
    comparison: PairedComparison | None = None

    @property
    def has_passed(self) -> bool:
        """Whether every gate lets the challenger through."""
        return not any(finding.is_refused for finding in self.findings)


def judge(policy: Policy, case: GateInputs) -> Judgement:
    """Every gate that needs predictions."""
    findings: list[GateFinding] = []
    if (trivial := bounds.baseline_gate(case.metric, case.truth, case.challenger)) is not None:
        findings.append(trivial)
    findings += bounds.metric_gates(policy, case.truth, case.challenger)
    if case.champion is None:
        findings += [without_champion(name) for name in _champion_gate_names(policy, case)]
        comparison = None
    else:
        comparison, more = _judge_against_champion(policy, case, case.champion)
        findings += more
    findings += bounds.cost_gates(policy, case.facts)
    return Judgement(findings=tuple(findings), comparison=comparison)


def _judge_against_champion(
    policy: Policy, case: GateInputs, champion: TaskPredictions
) -> tuple[PairedComparison | None, list[GateFinding]]:
    findings: list[GateFinding] = []
    comparison = None
    if compute_metric(case.metric, case.truth, champion) is None:
        findings.append(_undefined_metric(case.metric, "the champion's"))
    elif compute_metric(case.metric, case.truth, case.challenger) is None:
        findings.append(_undefined_metric(case.metric, "the challenger's"))
    else:
        comparison = comparing.compare_paired(
            case.metric, case.truth, case.challenger, champion,
            margin=policy.compare.margin, confidence=policy.compare.confidence,
        )  # fmt: skip
        findings.append(comparing.better_gate(case.metric, comparison))
    findings += comparing.class_gates(policy, case.truth, case.challenger, champion)
    findings += comparing.slice_gates(policy, case.slices, case.truth, case.challenger, champion)
    findings.append(bounds.signature_gate(case.signature or ()))
    return comparison, findings


def _undefined_metric(name: str, whose: str) -> GateFinding:
    found = f"not defined for {whose} predictions"
    return GateFinding(gate="better", verdict="refused", limit=f"{name} of both is known", found=found)


def _champion_gate_names(policy: Policy, case: GateInputs) -> list[str]:
    """Names of the gates that need a champion."""
    names = ["better"]
    if case.truth.task == "classification":
        names.append("classes")
    if policy.slices is not None:
        names.append("slices")
    return [*names, "signature"]
