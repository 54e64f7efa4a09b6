"""Who answers: pure decisions."""

from __future__ import annotations

import pytest

from infra.serving.routing import Canary, CanaryRule, agreement, next_step


@pytest.mark.parametrize(
    ("wanted", "answering", "loaded", "refused", "kind"),
    [
        ("m/1", "m/1", {"m/1"}, set(), "stay"),
        ("m/2", "m/1", {"m/1"}, set(), "load"),
        ("m/1", "m/2", {"m/1", "m/2"}, set(), "swap"),
        ("m/2", "m/1", {"m/1"}, {"m/2"}, "keep"),
        (None, "m/1", {"m/1"}, set(), "keep"),
        ("m/1", None, set(), set(), "load"),
    ],
)
def test_next_step_follows_wanted_loaded_and_refused_versions(
    wanted: str, answering: str, loaded: set[str], refused: set[str], kind: str
) -> None:
    assert next_step(wanted=wanted, answering=answering, loaded=loaded, refused=refused).kind == kind


@pytest.mark.parametrize("percent", [0.5, 5, 33, 100])
def test_canary_share_is_exact_and_even(percent: float) -> None:
    canary = Canary(rule=CanaryRule(percent=percent))
    canary.set_version("m/2")
    taken = [canary.takes_next() for _ in range(1000)]
    assert sum(taken) == round(1000 * percent / 100)
    if percent == 5:
        assert all(sum(taken[i : i + 20]) == 1 for i in range(0, 1000, 20))


def test_canary_share_is_lost_by_errors_and_restored_by_new_version() -> None:
    canary = Canary(rule=CanaryRule(percent=50, most_errors=2, window=10))
    canary.set_version("m/2")
    assert [canary.record_outcome(failed=True) for _ in range(3)] == [False, False, True]
    assert not any(canary.takes_next() for _ in range(100))
    assert canary.record_outcome(failed=True) is False
    canary.set_version("m/2")
    assert canary.undone
    canary.set_version("m/3")
    assert any(canary.takes_next() for _ in range(2))


def test_canary_forgets_errors_outside_its_window() -> None:
    canary = Canary(rule=CanaryRule(percent=50, most_errors=2, window=10))
    canary.set_version("m/2")
    for _ in range(20):
        assert not any(canary.record_outcome(failed=number == 0) for number in range(10))
    assert not canary.undone


def test_canary_without_challenger_takes_no_request() -> None:
    canary = Canary(rule=CanaryRule(percent=100))
    assert not canary.takes_next()


def test_shadow_agreement_compares_decisions() -> None:
    assert agreement([{"label": "a", "p": 0.9}], [{"label": "a", "p": 0.6}]) == [True]
    assert agreement([{"label": "a"}], [{"label": "b"}]) == [False]
    assert agreement([{"prediction": 1.0}], [{"prediction": 1.0 + 1e-9}]) == [True]
    assert agreement([{"prediction": 1.0}], [{"prediction": 1.01}]) == [False]
    assert agreement([{"label": "a"}], []) == [False]
