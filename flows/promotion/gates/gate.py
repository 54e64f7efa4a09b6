"""What a gate is, and all that gates may ask of a promotion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding
from flows.promotion.gates.predictions import Rows, TaskPredictions, Truth
from flows.statistics import PairedComparison

Needs = Literal["files", "data", "loaded", "answers", "champion", "approvals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedData:
    """The examples that are judged on.

    Attributes:
        count: examples that neither model was trained or selected on.
        left_out: those that one of them was; `copies`: those that repeat another one, counted once.
        problems: why it is not known for a model which rows those are.
        unselected: models of which it is not known which rows they were selected by.
        fingerprint: of the data; `wanted`: what the policy's evaluation data must have.
        changed: how the data differs from what the sweep recorded; empty where it does not.
        foreign: how the data differs from the champion's; empty where it is the champion's, None where that
            is not asked or not known.
    """

    count: int
    left_out: int = 0
    copies: int = 0
    problems: tuple[str, ...] = ()
    unselected: tuple[str, ...] = ()
    fingerprint: str = ""
    wanted: str | None = None
    changed: str = ""
    foreign: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInputs:
    """What is known of a challenger so far; each gate says which part of it it needs.

    Attributes:
        objection: why its files are not loaded; `mismatch`: how they differ from what was registered.
        data: what is judged on.
        metric: what is compared, without a prefix.
        truth, challenger, champion: the examples and the answers; `champion` is None where there is none.
        failure: why the challenger gave none.
        facts, champion_facts: `latency_ms`, `parameters` and so on, measured here.
        slices: examples of each slice, by name.
        groups: of each group, by column and name: those of the policy and of the data's sensitive columns.
        sensitive: names of the latter.
        signature: differences from the champion's.
        comparison: the test behind `better`; None where the metric is not defined for both.
        approvers: who agreed; `promoter`: whose word does not count.
    """

    objection: str = ""
    mismatch: str = ""
    data: JudgedData = field(default_factory=lambda: JudgedData(count=0))
    metric: str = ""
    truth: Truth = field(default_factory=lambda: Truth(task="", values=()))
    challenger: TaskPredictions = field(default_factory=lambda: TaskPredictions(values=()))
    champion: TaskPredictions | None = None
    failure: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)
    champion_facts: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, Rows] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Rows]] = field(default_factory=dict)
    sensitive: Sequence[str] = ()
    signature: Sequence[str] | None = None
    comparison: PairedComparison | None = None
    approvers: Sequence[str] = ()
    promoter: str = ""


def _always(_policy: Policy, _case: GateInputs) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate.

    Attributes:
        name: as the table has it, or what its findings are called together.
        needs: what must be known before it is asked.
        check: its findings; none where it has nothing to say of this case.
        applies: whether the policy asks for it here.
    """

    name: str
    needs: Needs
    check: Callable[[Policy, GateInputs], Iterable[GateFinding]]
    applies: Callable[[Policy, GateInputs], bool] = _always
