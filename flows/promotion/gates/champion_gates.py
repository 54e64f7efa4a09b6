"""Gates that hold a challenger against the champion on the same examples."""

from __future__ import annotations

from collections.abc import Iterator

from flows.config.policy import Policy
from flows.promotion.gates.answer_gates import SHOWN
from flows.promotion.gates.findings import GateFinding, gate_finding
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.paired_comparison import is_binary
from flows.promotion.gates.predictions import (
    Floats,
    Rows,
    TaskPredictions,
    Truth,
    select_predictions,
    select_truth,
)
from flows.promotion.gates.scoring import compute_metric, correct_scores, example_scores
from flows.statistics import (
    PairedComparison,
    compare_f1,
    examples_needed,
    f1_values,
    mcnemar,
    paired_bootstrap,
)
from flows.terminal.formatting import number


def check_better(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """The lower end of the printed interval lies above the margin."""
    test = case.comparison
    if test is None:
        undefined = compute_metric(case.metric, case.truth, case.champion or case.challenger) is None
        whose = "the champion's" if undefined else "the challenger's"
        yield GateFinding(
            gate="better", verdict="refused", limit=f"{case.metric} of both is known",
            found=f"not defined for {whose} predictions",
            do="name another metric in the policy's compare.metric",
        )  # fmt: skip
        return
    needed = None if test.better else _examples_to_decide(test)
    yield gate_finding(
        "better", test.better, limit=f"{case.metric} {_better_words(test.margin)}",
        found=f"{test.difference:+.4g} ({_interval_words(test)})",
        by=f"p = {number(test.p_value, 2)} one-sided ({test.method}, {test.examples:,} examples)",
        needed=needed, value=test.difference, bound=test.margin, do=_more_examples(test, needed),
    )  # fmt: skip


def _interval_words(test: PairedComparison) -> str:
    return f"{test.low:+.4g} to {test.high:+.4g} at {test.confidence * 100:.4g}%, two-sided"


def _better_words(margin: float) -> str:
    if margin < 0:
        return f"not worse than the champion's by {number(-margin)} or more"
    return "better than the champion's" + (f" by more than {number(margin)}" if margin else "")


def _more_examples(test: PairedComparison, needed: int | None) -> str:
    if needed is None:
        return f"a difference above {number(test.margin)}: no number of examples makes this one enough"
    if needed <= test.examples:
        return "a larger difference: these examples are as many as this one should need"
    return f"about {needed:,} examples instead of {test.examples:,} if the difference is as large as it looks"


def _examples_to_decide(found: PairedComparison) -> int | None:
    """How many examples would show the difference that was found, were it the true one."""
    spread = (
        {"discordance": found.discordance}
        if found.won + found.lost
        else {"deviation": found.deviation or None}
    )
    if all(value is None for value in spread.values()):
        return None
    confidence = 1 - (1 - found.confidence) / 2
    return examples_needed(difference=found.difference, margin=found.margin, confidence=confidence, **spread)


def check_smaller(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """One finding for each cost that must fall by a share of the champion's."""
    for name, share in policy.compare.smaller.items():
        show = SHOWN[name]
        before, after = case.champion_facts.get(name), case.facts.get(name)
        limit = f"at least {share:.0%} below the champion's"
        if not before or after is None:
            yield gate_finding(
                f"smaller {name}", False, limit=limit, found="not known of both",
                do=f"models of which {name} can be measured",
            )  # fmt: skip
            continue
        bound = before * (1 - share)
        yield gate_finding(
            f"smaller {name}", after <= bound, limit=limit, found=f"{show(before)} → {show(after)}",
            by=f"{abs(1 - after / before):.1%} {'below' if after <= before else 'above'}", value=after,
            bound=bound, do=f"{show(max(after - bound, 0.0))} less",
        )  # fmt: skip


def one_sided_level(policy: Policy) -> float:
    """The two-sided level whose lower end is the one-sided interval's at the policy's confidence."""
    return max(2 * policy.compare.confidence - 1, 0.01)


def has_classes(_policy: Policy, case: GateInputs) -> bool:
    """Whether there are classes."""
    return case.truth.task == "classification"


def check_classes(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """One finding a class that occurs: its F1 may not fall by more than `classes.max_drop`.

    F1, for a champion that nearly always names one class has all of that class's recall.
    """
    assert case.champion is not None
    for index, name in enumerate(case.truth.classes):
        named = case.truth.values == index
        if named.any():
            yield _class_finding(
                policy, name, named, case.champion.values == index, case.challenger.values == index
            )


def _class_finding(policy: Policy, name: str, named: Rows, champion: Rows, challenger: Rows) -> GateFinding:
    before, after = f1_values(named, champion, challenger)
    words = f"F1 {number(before)} → {number(after)} of {int(named.sum()):,}"
    gate, most = f"class {name}", policy.classes.max_drop
    if before - after <= most:  # held: no test is needed
        return _drop_finding(gate, before - after, most, words, None)
    test = compare_f1(named, champion, challenger, confidence=one_sided_level(policy))
    return _drop_finding(gate, before - after, most, words, test)


def check_slices(policy: Policy, case: GateInputs) -> Iterator[GateFinding]:
    """One finding a slice of enough examples."""
    assert policy.slices is not None
    assert case.champion is not None
    for name, rows in case.slices.items():
        if rows.sum() >= policy.slices.min_examples:
            yield _slice_finding(policy, case, case.champion, name, rows)


def _slice_finding(
    policy: Policy, case: GateInputs, champion: TaskPredictions, name: str, rows: Rows
) -> GateFinding:
    assert policy.slices is not None
    truth = select_truth(case.truth, rows)
    one, other = (
        _slice_scores(truth, select_predictions(given, rows)) for given in (case.challenger, champion)
    )
    before, after = float(other.mean()), float(one.mean())
    numbers = case.truth.task == "regression"
    unit = (abs(before) or 1.0) if numbers else 1.0
    compare = mcnemar if is_binary(one, other) else paired_bootstrap
    test = compare(other, one, confidence=one_sided_level(policy))
    words = f"{'squared error ' if numbers else ''}{number(abs(before))} → {number(abs(after))}"
    return _drop_finding(
        f"slice {name}",
        test.difference / unit,
        policy.slices.max_drop,
        f"{words} of {len(truth):,}",
        test,
        unit,
    )


def _drop_finding(
    gate: str, drop: float, most: float, words: str, test: PairedComparison | None, unit: float = 1.0
) -> GateFinding:
    """Refused where the score fell by more than the limit and the fall is no accident of few examples.

    A fall is tested one-sided, by the lower end of its interval, without a correction for being several: a
    gate that guards may be wary.

    Args:
        test: of the champion's scores less the challenger's, two-sided at twice the one-sided level; None
            where the limit is held.
        unit: what a fall is a share of.
    """
    drop = round(drop, 12)
    held, real, note, needed = drop <= most + 1e-12, True, "", None
    if not held and test is not None:
        real = test.low > 0
        level = f"{(1 + test.confidence) * 50:.4g}%, one-sided"
        note = f", a fall of {number(test.low / unit, 3)} at least at {level}"
        if not real:
            note = f" (p = {number(test.p_value, 2)} one-sided: cannot be told from chance)"
            needed = _examples_to_see(test)
    return gate_finding(
        gate,
        held or not real,
        limit=f"falls by at most {number(most)}",
        found=f"{words}{note}",
        by=f"{number(abs(drop - most), 3)} {'within' if held else 'over'}",
        needed=needed,
        value=drop,
        bound=most,
        do=f"{number(drop - most, 3)} more there: more training examples like these",
    )


def _examples_to_see(test: PairedComparison) -> int | None:
    return examples_needed(
        difference=test.difference, deviation=test.deviation, confidence=1 - (1 - test.confidence) / 2
    )


def _slice_scores(truth: Truth, answers: TaskPredictions) -> Floats:
    found = correct_scores(truth, answers)
    if found is None:
        found = example_scores("mse", truth, answers)
    assert found is not None
    return found
