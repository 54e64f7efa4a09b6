"""Proofs that go through every write or call: `make test-all` takes each, `make test` some all over them."""

from __future__ import annotations

import os

EVERY_WRITE = "EVERY_WRITE" in os.environ


def some_of(count: int, stride: int) -> range:
    """Numbers from 1 to `count`: each with `EVERY_WRITE` in the environment, otherwise the last and each
    `stride`-th before it."""
    step = 1 if EVERY_WRITE else stride
    return range(1 + (count - 1) % step, count + 1, step)
