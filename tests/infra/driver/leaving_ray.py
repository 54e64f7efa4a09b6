"""Leaves a Ray of its own while another thread collects dead cycles that hold Ray's references."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from infra.driver.cluster import connect_ray
from infra.home import Home


class Cycle:
    """Dies by the collector alone, and the reference with it."""

    def __init__(self, reference: object) -> None:
        self.me, self.reference = self, reference


def lose_cycles(cycles: list[Cycle]) -> None:
    """What a thread that sends does to memory: it allocates, and whatever is dead by then is collected."""
    while cycles:
        for _ in range(min(5, len(cycles))):
            cycles.pop()
        _ = [[number] for number in range(2_000)]


def main(folder: str) -> None:
    """Connects, lets go, and says that it is still there."""
    with connect_ray(None, Home(Path(folder))):
        import ray

        cycles = [Cycle(ray.put(number)) for number in range(4_000)]
        loser = threading.Thread(target=lose_cycles, args=(cycles,), daemon=True)
        loser.start()
    print("document")


if __name__ == "__main__":
    main(sys.argv[1])
