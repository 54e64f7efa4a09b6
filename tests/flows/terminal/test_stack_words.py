"""How trials are trained, in words."""

from __future__ import annotations

from flows.terminal.stack_words import describe_share, describe_stacks


def test_stacks_of_a_sweep_are_told_by_family_with_what_most_structures_have() -> None:
    wide = {"width": 64, "gain": 8.0, "reason": ""}
    narrow = {"width": 1, "gain": None, "reason": "stacking is slower"}
    facts = {"stacks": {"mlp": {"a": wide, "b": {**wide, "gain": 9.0}, "c": narrow}, "vgg16": {"d": narrow}}}
    assert describe_stacks(facts) == {
        "mlp": "stacks of 64, about 8.5 times faster, 2 of 3 structures",
        "vgg16": "one by one (stacking is slower)",
    }
    assert describe_stacks({}) == {}


def test_trial_of_a_stack_says_that_its_time_is_a_share() -> None:
    assert describe_share({"stack": 16}) == ", its share of the time of stacks of up to 16"
    assert describe_share({"parameters": 11}) == ""
