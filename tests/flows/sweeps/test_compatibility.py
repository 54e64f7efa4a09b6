"""What a changed sweep file comes to: growth, a refusal with the difference, or a question about code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flows.sweeps.compatibility import compare_specs
from infra.spec import Budget
from search_spaces.space import Space
from tests.infra.conftest import family, sweep

A: dict[str, Any] = {"type": "categorical", "choices": [1, 2]}
B: dict[str, Any] = {"type": "categorical", "choices": [0.5]}


def test_carry_on_with_same_file_changes_nothing() -> None:
    """Nothing grew, nothing is refused."""
    before = sweep(family("a"))
    carried = compare_specs(before, sweep(family("a")))
    assert (carried.spec, carried.grown, carried.refused, carried.code_changed) == (before, {}, (), ())


def test_carry_on_with_more_grows_and_with_less_removes_nothing() -> None:
    """The budget is the larger of file and ledger; new families come after those that are known."""
    before = sweep(family("b", trials=6), family("a", trials=6))
    now = sweep(family("new", trials=2), family("a", trials=9), family("b", trials=3))
    carried = compare_specs(before, now)
    assert carried.refused == ()
    assert carried.grown == {"new": 2, "a": 9}
    assert [(entry.name, entry.trials) for entry in carried.spec.families] == [("b", 6), ("a", 9), ("new", 2)]


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"seed": 1}, "seed"),
        ({"data": {"source": "builtin:digits"}}, "data.source"),
        ({"keep_models": "all"}, "keep.models"),
        ({"objectives": (replace(sweep().objectives[0], at="last"),)}, "objective.at"),
        ({"objectives": sweep().objectives * 2}, "objective"),
    ],
)
def test_carry_on_with_changed_sweep_is_refused_with_difference(changed: dict[str, object], key: str) -> None:
    """Each changed key is named with both values."""
    carried = compare_specs(sweep(), sweep(**changed))
    (difference,) = carried.refused
    assert difference.startswith(f"{key}: ")
    assert " → " in difference


def test_carry_on_refuses_changed_family_but_allows_resources() -> None:
    """Another pruner or length makes other trials; another machine does not."""
    before = sweep(family("a"))
    other = family("a", pruner={"name": "none"}, budget=Budget(epochs=9))
    named = {entry.split(":")[0] for entry in compare_specs(before, sweep(other)).refused}
    assert named == {"families.a.pruner.name", "families.a.budget.epochs"}
    faster = family("a", resources=replace(family("a").resources, cpus=2.0, gpus=1.0))
    assert compare_specs(before, sweep(faster, lanes=3)).refused == ()


@pytest.mark.parametrize(
    ("resources", "difference"),
    [
        ({"workers": 4}, "families.a.resources.workers: 1 → 4"),
        ({"sharding": "full"}, "families.a.resources.sharding: none → full"),
    ],
)
def test_carry_on_refuses_other_workers_and_sharding(resources: dict[str, Any], difference: str) -> None:
    """The same parameters then mean another batch, and a waiting trial's checkpoint fits no more."""
    other = family("a", resources=replace(family("a").resources, **resources))
    assert compare_specs(sweep(family("a")), sweep(other)).refused == (difference,)


@pytest.mark.parametrize(
    ("space", "difference"),
    [
        ({"a": A, "b": {**B, "choices": [0.5, 0.25]}}, "families.x.space.b.choices: [0.5] → [0.5, 0.25]"),
        ({"a": A}, 'families.x.space.b: {"type": "categorical", "choices": [0.5]} → absent'),
        ({"b": B, "a": A}, 'families.x.space: ["a", "b"] → ["b", "a"]'),
    ],
)
def test_refused_space_names_the_innermost_difference(space: dict[str, Any], difference: str) -> None:
    before, now = (
        family("x", space=Space.from_mapping(choices).to_json()) for choices in ({"a": A, "b": B}, space)
    )
    assert compare_specs(sweep(before), sweep(now)).refused == (difference,)


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        (1, True, "1 → true"),
        (1, 1.0, "1 → 1.0"),
        (0.0, -0.0, "0.0 → -0.0"),
        (1, "1", '1 → "1"'),
        (None, "null", 'null → "null"'),
        ("absent", None, '"absent" → null'),
        ("a", "\u0430", "a → \\u0430"),
        ("é", "e\u0301", "\\xe9 → e\\u0301"),
        (["adam"], ["adam\u200b"], '["adam"] → ["adam\\u200b"]'),
    ],
)
def test_value_that_differs_by_its_type_or_by_what_is_hardly_seen_is_refused_and_told_apart(
    before: Any, now: Any, difference: str
) -> None:
    """Python takes 1, 1.0 and true for equal, and a function gets another value all the same."""
    one, other = (family("x", space=Space.from_mapping({"b": value}).to_json()) for value in (before, now))
    assert compare_specs(sweep(one), sweep(other)).refused == (f"families.x.space.b.value: {difference}",)


def test_option_of_the_text_absent_that_is_taken_away_is_refused() -> None:
    before, now = family("x", options={"mode": "absent"}), family("x")
    (difference,) = compare_specs(sweep(before), sweep(now)).refused
    assert difference == 'families.x.options.mode: "absent" → absent'


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (list(range(400)), [*range(399), 7]),
        ([*range(200), 5, *range(200)], [*range(200), 6, *range(200)]),
        ("x" * 300 + "a", "x" * 300 + "b"),
        ([["y" * 500, 1]], [["y" * 500, 2]]),
        (["z" * 500], ["z" * 500, "w"]),
    ],
)
def test_difference_far_behind_the_beginning_of_long_values_is_shown(before: Any, now: Any) -> None:
    one, other = (family("x", options={"long": value}) for value in (before, now))
    (difference,) = compare_specs(sweep(one), sweep(other)).refused
    sides = difference.partition(": ")[2].split(" → ")
    assert sides[0] != sides[1]
    assert max(map(len, sides)) <= 122


def test_start_configuration_that_changed_is_named_by_its_place() -> None:
    before, now = (family("x", start_with=({"a": 1}, {"a": value})) for value in (1, 2))
    assert compare_specs(sweep(before), sweep(now)).refused == ("families.x.start_with[1].a: 1 → 2",)


def test_carry_on_without_a_known_family_is_refused() -> None:
    """Its trials would have no definition any more."""
    carried = compare_specs(sweep(family("a"), family("b")), sweep(family("a")))
    assert carried.refused == ("families.b: removed from the file",)


def test_carry_on_with_changed_code_is_flagged() -> None:
    """By the hash of the family's source."""
    before = sweep(family("a", source_hash="1"))
    assert compare_specs(before, sweep(family("a", source_hash="2"))).code_changed == ("a",)


@pytest.mark.parametrize(
    ("ledger", "file", "larger"), [(5.0, 9.0, 9.0), (9.0, 5.0, 9.0), (5.0, None, None), (None, 5.0, None)]
)
def test_carry_on_keeps_the_larger_sweep_budget(
    ledger: float | None, file: float | None, larger: float | None
) -> None:
    """No budget is the largest of all."""
    assert compare_specs(sweep(minutes=ledger), sweep(minutes=file)).spec.minutes == larger


def test_carry_on_of_a_sweep_from_before_stacks_goes_on_one_by_one() -> None:
    """Its trials were asked for in another order; `auto` of now is no change of the file."""
    for written in ("auto", "off"):
        carried = compare_specs(sweep(family("a")), sweep(family("a", stack=written)))
        assert carried.refused == ()
        assert carried.spec.families[0].stack is None
    carried = compare_specs(sweep(family("a", stack=8)), sweep(family("a", stack=16)))
    assert carried.refused == ("families.a.stack: 8 → 16",)
