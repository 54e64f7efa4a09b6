"""Gates that hold a model against fixed bounds: metrics, costs, examples, rows, integrity."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding, gate_finding
from flows.promotion.gates.scoring import (
    TaskPredictions,
    Truth,
    baseline_metric,
    compute_metric,
    higher_is_better,
)
from flows.terminal.formatting import number, short_count, size


def examples_gate(found: int, least: int, left_out: int) -> GateFinding:
    """Enough examples that neither model was trained on."""
    overlap = f", {left_out:,} left out that one was trained on" if left_out else ""
    return gate_finding(
        "examples",
        found >= least,
        limit=f"at least {least:,} that neither model was trained on",
        found=f"{found:,}{overlap}",
        by=f"{abs(found - least):,} {'more' if found >= least else 'too few'}",
        needed=None if found >= least else least,
        value=float(found),
        bound=float(least),
    )


def baseline_gate(name: str, truth: Truth, answers: TaskPredictions) -> GateFinding | None:
    """Better than one answer for all; None where that has no score."""
    trivial, value = baseline_metric(truth, name), compute_metric(name, truth, answers)
    if trivial is None or value is None:
        return None
    holds = value > trivial if higher_is_better(name) else value < trivial
    return gate_finding(
        "guess",
        holds,
        limit=f"{name} better than one answer for all ({number(trivial)})",
        found=number(value),
        by=number(abs(value - trivial), 3),
        value=value,
        bound=trivial,
    )


def metric_gates(policy: Policy, truth: Truth, answers: TaskPredictions) -> Iterator[GateFinding]:
    """One gate for each bound of `metrics`."""
    for name, bound in policy.metrics.items():
        value = compute_metric(name.rpartition("/")[2], truth, answers)
        for limit, at_least in ((bound.at_least, True), (bound.at_most, False)):
            if limit is None:
                continue
            words = f"{name} at {'least' if at_least else 'most'} {number(limit)}"
            if value is None:
                yield gate_finding(
                    f"metric {name}", False, limit=words, found="not defined for these predictions"
                )
                continue
            holds = value >= limit if at_least else value <= limit
            yield gate_finding(
                f"metric {name}", holds, limit=words, found=number(value),
                by=number(abs(value - limit), 3), value=value, bound=limit,
            )  # fmt: skip


def _format_ms(value: float | None) -> str:
    return f"{number(value)} ms"


_SHOWN: Mapping[str, Callable[[float | None], str]] = {"size_bytes": size, "parameters": short_count}


def cost_gates(policy: Policy, facts: Mapping[str, float]) -> Iterator[GateFinding]:
    """One gate for each limit that the policy sets."""
    for name in type(policy.limits).model_fields:
        limit = getattr(policy.limits, name)
        if limit is None:
            continue
        show = _SHOWN.get(name, _format_ms)
        value = facts.get(name)
        if value is None:
            yield gate_finding(
                name, False, limit=f"at most {show(limit)}", found="not known of this model", bound=limit
            )
            continue
        yield gate_finding(
            name, value <= limit, limit=f"at most {show(limit)}", found=show(value),
            by=show(abs(value - limit)), value=value, bound=float(limit),
        )  # fmt: skip


def training_rows_gate(problems: Collection[str], allowed: bool) -> GateFinding:
    """Whether it is known which rows each model was trained on, so that those can be left out."""
    limit = "the rows that each model was trained on are known"
    if not problems:
        return gate_finding("training rows", True, limit=limit, found="known")
    found = "; ".join(problems)
    return gate_finding(
        "training rows", allowed, limit=limit, found=f"{found}{' (the policy allows it)' if allowed else ''}"
    )


def hashes_gate(wrong: str) -> GateFinding:
    """The files are what was registered."""
    return gate_finding(
        "hashes", not wrong, limit="the files are those that were registered", found=wrong or "match"
    )


def contents_gate(objection: str) -> GateFinding:
    """No code and no pickle, and a known loader."""
    limit = "no code, no pickle, a known loader"
    return gate_finding("contents", not objection, limit=limit, found=objection or "none")


def interpreter_gate(failure: str, load_s: float | None) -> GateFinding:
    """It loads and predicts in a new interpreter."""
    loaded = "yes" if load_s is None else f"yes, loaded in {number(load_s, 2)} s"
    limit = "loads and predicts in a new interpreter"
    return gate_finding("new interpreter", not failure, limit=limit, found=failure or loaded)


def signature_gate(differences: Collection[str]) -> GateFinding:
    """What goes in and out is what went in and out before."""
    limit = "takes and gives what the champion does"
    return gate_finding("signature", not differences, limit=limit, found="; ".join(differences) or "the same")


def evaluation_data_gate(wanted: str | None, found: str) -> GateFinding | None:
    """The evaluation data is what the policy was set with; None where it names no fingerprint."""
    if wanted is None:
        return None
    return gate_finding(
        "evaluation data",
        wanted == found,
        limit=f"fingerprint {wanted[:12]}",
        found=f"fingerprint {found[:12]}",
    )


def approval_gate(policy: Policy, by: Collection[str], promoter: str) -> GateFinding | None:
    """Enough people agreed who are not the promoter; None where the policy asks for none."""
    asked = policy.approval
    if asked is None:
        return None
    counted = sorted({user for user in by if user != promoter and (asked.by is None or user in asked.by)})
    from_whom = "anybody but the promoter" if asked.by is None else " or ".join(asked.by)
    return gate_finding(
        "approval", len(counted) >= asked.count, limit=f"{asked.count} of {from_whom}",
        found=", ".join(counted) or "none", value=float(len(counted)), bound=float(asked.count),
    )  # fmt: skip
