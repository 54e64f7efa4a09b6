"""Gates that hold a challenger's answers and costs against fixed bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding, gate_finding
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.group_gates import largest_gap
from flows.promotion.gates.scoring import baseline_metric, compute_metric, higher_is_better
from flows.terminal.formatting import joules, number, seconds, short_count, size
from trainers.metric_names import GAP


def check_interpreter(_policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """It loads and predicts in a new interpreter."""
    load_s = case.facts.get("load_seconds")
    loaded = "yes" if load_s is None else f"yes, loaded in {number(load_s, 2)} s"
    yield gate_finding(
        "new interpreter", not case.failure, limit="loads and predicts in a new interpreter",
        found=case.failure or loaded, do="mend what the new interpreter said, and train or log it again",
    )  # fmt: skip


def check_baseline(_policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """Better than one answer for all, where that has a score."""
    name = case.metric
    trivial, value = baseline_metric(case.truth, name), compute_metric(name, case.truth, case.challenger)
    if trivial is None or value is None:
        return
    yield gate_finding(
        "guess", value > trivial if higher_is_better(name) else value < trivial,
        limit=f"{name} better than one answer for all ({number(trivial)})",
        found=number(value), by=number(abs(value - trivial), 3), value=value, bound=trivial,
        do="a model that learns from its inputs",
    )  # fmt: skip


def check_metrics(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """One finding for each bound of `metrics`."""
    for name, bound in policy.metrics.items():
        plain = name.rpartition("/")[2]
        by_group = plain == GAP
        value = largest_gap(case) if by_group else compute_metric(plain, case.truth, case.challenger)
        for limit, at_least in ((bound.at_least, True), (bound.at_most, False)):
            if limit is not None:
                yield _bound_finding(name, value, limit, at_least)


def _bound_finding(name: str, value: float | None, limit: float, at_least: bool) -> GateFinding:
    words = f"{name} at {'least' if at_least else 'most'} {number(limit)}"
    gate = f"metric {name}"
    if value is None:
        return gate_finding(
            gate, False, limit=words, found="not defined for these predictions",
            do="a model that gives probabilities, or a bound of another metric",
        )  # fmt: skip
    gap = number(abs(value - limit), 3)
    return gate_finding(
        gate, value >= limit if at_least else value <= limit, limit=words, found=number(value), by=gap,
        value=value, bound=limit, do=f"{gap} {'more' if at_least else 'less'}",
    )  # fmt: skip


def _format_ms(value: float | None) -> str:
    return f"{number(value)} ms"


SHOWN: Mapping[str, Callable[[float | None], str]] = {
    "size_bytes": size, "parameters": short_count, "flops": short_count,
    "latency_ms": _format_ms, "latency_p99_ms": _format_ms, "epsilon": number,
    "train_seconds": seconds, "train_flops": short_count, "gpu_seconds": seconds, "cpu_seconds": seconds,
    "price": number, "energy_joules": joules,
}  # fmt: skip


_KNOWN_OF = {
    "epsilon": "a model that was trained privately",
    "price": "a model of a sweep that has prices",
    "energy_joules": "a model that was trained on machines that tell their energy",
}


def check_costs(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """One finding for each limit that the policy sets."""
    for name in type(policy.limits).model_fields:
        limit = getattr(policy.limits, name)
        if limit is None:
            continue
        show, value = SHOWN[name], case.facts.get(name)
        if value is None:
            yield gate_finding(
                name, False, limit=f"at most {show(limit)}", found="not known of this model", bound=limit,
                do=_KNOWN_OF.get(name, f"a model of which {name} can be measured"),
            )  # fmt: skip
            continue
        gap = show(abs(value - limit))
        yield gate_finding(
            name, value <= limit, limit=f"at most {show(limit)}", found=show(value), by=gap, value=value,
            bound=float(limit), do=f"{gap} less",
        )  # fmt: skip
