"""Promotes in processes of its own, one of which is killed at its Nth write: `killed.py HOME SWEEP STRIDE`.

Run as a program: each promotion is forked from a process that has imported everything and opened nothing.
A write is every commit of a database and every file or folder that is made, renamed or removed in the home.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.home import Home
from tests.flows.promotion.conftest import Shop
from tests.tracking_stores import copy_home

LATE, LATE_STRIDE = 30, 6
FILE_EVENTS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.copyfile"}


def state(shop: Shop) -> tuple[Any, ...]:
    """Everything that must agree: aliases, versions, moves, and that the chain holds."""
    chain, alias = shop.mover.read_state()
    moves = [(e.kind, e.source, e.target, e.number in chain.applied) for e in chain.entries if e.is_move]
    policies = [entry.number for entry in chain.entries if entry.kind == "policy"]
    aliases = shop.registry.aliases("shop")
    return aliases, [v.number for v in shop.registry.versions("shop")], moves, alias, len(policies)


class Reaper:
    """Counts writes and kills this process just before one of them."""

    def __init__(self, home: Path, fatal: int) -> None:
        self._home, self._fatal, self.writes = str(home), fatal, 0

    def watch(self) -> None:
        """From now on."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        event.listen(Engine, "commit", lambda connection: self._write())
        sys.addaudithook(self._audit)

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        writes = name in FILE_EVENTS or (name == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes and any(str(argument).startswith(self._home) for argument in arguments[:2]):
            self._write()

    def _write(self) -> None:
        self.writes += 1
        if self.writes == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def promote_until(home: Path, name: str, fatal: int = 0) -> dict[str, Any]:
    """Promotes a sweep's winner; the outcome, the state after it, and how many writes it took."""
    from flows.promotion.promote import conclude

    reaper = Reaper(home, fatal)
    reaper.watch()
    shop = Shop(home=Home(home), rows=home, dataset=None)
    outcome = conclude(shop.promoter(), shop.candidate(name), reason="", dry_run=False).outcome
    writes, modules = reaper.writes, sorted(sys.modules)
    return {"outcome": outcome, "writes": writes, "state": state(shop), "modules": modules}


def run_forked(work: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """What a process of its own says; None where it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            said = json.dumps(work())
            with os.fdopen(writing, "w") as pipe:
                pipe.write(said)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as answer:
        heard = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return None
    assert status == 0, status
    found: dict[str, Any] = json.loads(heard)
    return found


def main(home: Path, name: str, stride: int) -> None:
    """Kills a promotion at every `stride`-th write, at the last, and at more of those before that: there the
    record is made and the alias not moved yet, for some ten of 140. Prints how many there are."""
    before = home.with_name("before")
    copy_home(home, before)
    whole = run_forked(lambda: promote_until(home, name))
    assert whole is not None
    assert whole["outcome"] == "moved"
    for module in whole["modules"]:  # seconds of every promotion that follows
        with contextlib.suppress(ImportError, AttributeError):
            importlib.import_module(module)
    last = whole["writes"]
    late = range(max(1, last - LATE), last + 1, min(stride, LATE_STRIDE))
    for fatal in sorted({*range(1 + (last - 1) % stride, last + 1, stride), *late}):
        copy_home(before, home)
        assert run_forked(lambda fatal=fatal: promote_until(home, name, fatal)) is None, fatal  # type: ignore[misc]
        again = run_forked(lambda: promote_until(home, name))
        assert again is not None
        assert again["outcome"] in ("moved", "already"), (fatal, again)
        assert again["state"] == whole["state"], (fatal, again)
        print(f"{fatal} of {last}", file=sys.stderr, flush=True)
    print(last)


if __name__ == "__main__":
    from infra.tracking.mlflow_environment import set_defaults

    set_defaults()
    import mlflow  # noqa: F401
    import torch  # noqa: F401

    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
