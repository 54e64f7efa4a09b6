"""How trials are trained, in words."""

from __future__ import annotations

from flows.terminal.stack_words import describe_share, describe_stacks
from infra.ledger.rows import AttemptRow


def test_stacks_of_a_sweep_are_told_by_family_with_what_most_structures_have() -> None:
    wide = {"width": 64, "gain": 8.0, "reason": ""}
    narrow = {"width": 1, "gain": None, "reason": "stacking is slower"}
    facts = {"stacks": {"mlp": {"a": wide, "b": {**wide, "gain": 9.0}, "c": narrow}, "vgg16": {"d": narrow}}}
    assert describe_stacks(facts) == {
        "mlp": "stacks of 64, about 8.5 times faster, 2 of 3 structures",
        "vgg16": "one by one (stacking is slower)",
    }
    assert describe_stacks({}) == {}


def test_share_of_a_stack_is_told_beside_what_its_attempts_took() -> None:
    common = {"role": "search", "family": "mlp", "number": 3, "lane": "l", "lane_facts": {}}
    attempts = [
        AttemptRow(id="a", ordinal=1, started_at=10.0, ended_at=70.0, **common),
        AttemptRow(id="b", ordinal=2, started_at=100.0, ended_at=105.0, **common),
        AttemptRow(id="c", ordinal=3, started_at=200.0, **common),
    ]
    assert describe_share({"stack": 16}, attempts) == ", its share of 1 min 5 s in stacks of up to 16"
    assert describe_share({"parameters": 11}, attempts) == ""
