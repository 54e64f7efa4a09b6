"""All gates in their order, and what they say of a challenger: the table, and whether the champion moves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flows.config.policy import Policy
from flows.promotion.gates import (
    answer_gates,
    champion_gates,
    data_gates,
    file_gates,
    group_gates,
    signatures,
)
from flows.promotion.gates.findings import GateFinding, without_champion
from flows.promotion.gates.gate import Gate, GateInputs, Needs
from flows.promotion.gates.paired_comparison import compare_with_champion
from flows.statistics import PairedComparison

GATES: tuple[Gate, ...] = (
    Gate("contents", "files", file_gates.check_contents),
    Gate("hashes", "files", file_gates.check_hashes),
    Gate("training rows", "data", data_gates.check_training_rows),
    Gate("evaluation data", "data", data_gates.check_evaluation_data),
    Gate("unchanged data", "data", data_gates.check_unchanged_data),
    Gate("same data", "data", data_gates.check_same_data),
    Gate("examples", "data", data_gates.check_examples),
    Gate("new interpreter", "loaded", answer_gates.check_interpreter),
    Gate("guess", "answers", answer_gates.check_baseline),
    Gate("metrics", "answers", answer_gates.check_metrics),
    Gate("groups", "answers", group_gates.check_groups, group_gates.has_groups),
    Gate("better", "champion", champion_gates.check_better),
    Gate("smaller", "champion", champion_gates.check_smaller, lambda p, _: bool(p.compare.smaller)),
    Gate("classes", "champion", champion_gates.check_classes, champion_gates.has_classes),
    Gate("slices", "champion", champion_gates.check_slices, lambda p, _: p.slices is not None),
    Gate("signature", "champion", signatures.check_signature),
    Gate("limits", "answers", answer_gates.check_costs),
    Gate("approval", "approvals", file_gates.check_approval),
)
"""In the order of the table. Those of one `needs` are asked together; a refusal ends what comes after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Findings, and the test behind the gate `better`."""

    findings: tuple[GateFinding, ...]
    comparison: PairedComparison | None = None

    @property
    def has_passed(self) -> bool:
        """Whether every gate lets the challenger through."""
        return not any(finding.is_refused for finding in self.findings)


def check_gates(policy: Policy, case: GateInputs, *needs: Needs) -> list[GateFinding]:
    """What the gates say that need one of these."""
    findings: list[GateFinding] = []
    for gate in GATES:
        if gate.needs not in needs or not gate.applies(policy, case):
            continue
        if gate.needs == "champion" and case.champion is None:
            findings.append(without_champion(gate.name))
        else:
            findings += gate.check(policy, case)
    return findings


def judge(policy: Policy, case: GateInputs) -> Judgement:
    """Every gate that needs predictions."""
    case = replace(case, comparison=compare_with_champion(policy, case))
    found = check_gates(policy, case, "answers", "champion")
    return Judgement(findings=tuple(found), comparison=case.comparison)
