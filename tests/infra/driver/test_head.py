"""When the head of a cluster counts as gone."""

from __future__ import annotations

import socket

import pytest

from infra.driver.head_monitor import LIMIT_S, LOOK_EVERY_S, HeadMonitor, is_listening
from infra.errors import HeadGone
from tests.infra.conftest import Clock


def _head_with_clock(there: list[bool]) -> tuple[HeadMonitor, Clock]:
    clock = Clock()
    return HeadMonitor("h:1", reachable=lambda address: there[0], steady=clock), clock


def test_head_unreachable_for_the_limit_is_gone() -> None:
    there = [True]
    head, clock = _head_with_clock(there)
    assert head.is_reachable()
    there[0] = False
    clock.now += LOOK_EVERY_S
    assert not head.is_reachable()
    clock.now += LIMIT_S
    assert not head.is_reachable()
    clock.now += LOOK_EVERY_S
    with pytest.raises(HeadGone, match="20 s"):
        head.is_reachable()


def test_head_that_answers_again_restarts_its_limit() -> None:
    there = [False]
    head, clock = _head_with_clock(there)
    clock.now += LOOK_EVERY_S
    assert not head.is_reachable()
    there[0] = True
    clock.now += LIMIT_S
    assert head.is_reachable()
    there[0] = False
    clock.now += LIMIT_S  # it counts from when it was missed again
    assert not head.is_reachable()


def test_head_watch_that_was_suspended_looks_before_judging() -> None:
    head, clock = _head_with_clock([False])
    clock.now += 10 * LIMIT_S
    assert not head.is_reachable()


def test_listens_is_true_only_while_a_server_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert is_listening(address)
    assert not is_listening(address)
