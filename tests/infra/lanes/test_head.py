"""When the head of a cluster counts as gone."""

from __future__ import annotations

import socket

import pytest

from infra.errors import HeadGone
from infra.lanes.head_monitor import LIMIT_S, LOOK_EVERY_S, HeadMonitor, is_listening
from tests.infra.conftest import Clock


def _stepped(there: list[bool]) -> tuple[HeadMonitor, Clock]:
    clock = Clock()
    return HeadMonitor("h:1", reachable=lambda address: there[0], steady=clock), clock


def test_a_head_that_stays_away_is_gone_at_the_limit() -> None:
    there = [True]
    head, clock = _stepped(there)
    assert head.is_reachable()
    there[0] = False
    clock.now += LOOK_EVERY_S
    assert not head.is_reachable()
    clock.now += LIMIT_S
    assert not head.is_reachable()
    clock.now += LOOK_EVERY_S
    with pytest.raises(HeadGone, match="20 s"):
        head.is_reachable()


def test_a_head_that_comes_back_is_there() -> None:
    there = [False]
    head, clock = _stepped(there)
    clock.now += LOOK_EVERY_S
    assert not head.is_reachable()
    there[0] = True
    clock.now += LIMIT_S
    assert head.is_reachable()
    there[0] = False
    clock.now += LIMIT_S  # it counts from when it was missed again
    assert not head.is_reachable()


def test_one_that_was_stopped_itself_looks_before_it_judges() -> None:
    head, clock = _stepped([False])
    clock.now += 10 * LIMIT_S
    assert not head.is_reachable()


def test_somebody_listens_or_nobody_does() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert is_listening(address)
    assert not is_listening(address)
