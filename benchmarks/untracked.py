"""`velodrome` without tracking, one side of a comparison: `python -m benchmarks.untracked sweep …`."""

from __future__ import annotations

import infra.tracking.sender
from flows.cli import main


class NoSender:
    """A sender that sends nothing, and is done at once."""

    def __init__(self, *_: object, **__: object) -> None:
        """Opens nothing."""

    def prepare(self) -> None:
        """Loads nothing."""

    def start(self) -> None:
        """Starts nothing."""

    def wake(self) -> None:
        """Nobody rests."""

    def drain(self, timeout_s: float, *, while_it_moves: bool = False) -> int:
        """All is sent."""
        return 0

    def count_unsent(self) -> int:
        """Nothing waits."""
        return 0

    def stop(self) -> None:
        """Nothing to end."""


if __name__ == "__main__":
    infra.tracking.sender.Sender = NoSender  # type: ignore[assignment, misc]
    main()
