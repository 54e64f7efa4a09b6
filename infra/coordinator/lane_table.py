"""Which process has which lane, and which of them has not been heard for too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from infra.coordinator.messages import LaneHandshake

# A process that its own code ends says so (`infra.lanes.exits`); nobody hears how another one ended.
PROCESS_ENDED = "its process ended by a signal (as SIGKILL), a crash of native code, or a library that exits"
DEAF_S = 5.0  # ten times as long as two looks are apart


@dataclass(slots=True)
class _Entry:
    hello: LaneHandshake
    heard_at: float


class LaneTable:
    """Lanes by slot. A process that was given up never gets its slot back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Knows no lane yet."""
        self._clock = clock
        self._lanes: dict[str, _Entry] = {}
        self._given_up: set[tuple[str, int, float]] = set()
        self._lost: list[LaneHandshake] = []
        self._looked_at = clock()

    def __len__(self) -> int:
        """How many lanes are in."""
        return len(self._lanes)

    def holder(self, lane: str) -> LaneHandshake | None:
        """The process that has the slot."""
        known = self._lanes.get(lane)
        return known.hello if known else None

    def count_by_run(self) -> Mapping[str, int]:
        """How many lanes of each Ray Train run are in: a lane is called `<run>-<slot>`."""
        return Counter(map(run_of_lane, self._lanes))

    def register(self, hello: LaneHandshake) -> bool:
        """Gives the slot to a process that has just begun. True: another one had it, and is gone."""
        known = self._lanes.get(hello.lane)
        self._lanes[hello.lane] = _Entry(hello, self._clock())
        another = known is None or _process_key(known.hello) != _process_key(hello)
        if known is not None and another:  # should it live, it stays out when the slot is free again
            self._given_up.add(_process_key(known.hello))
        return another

    def admit(self, hello: LaneHandshake) -> bool:
        """Whether this process has the slot; if so, it was just heard.

        A coordinator that came after another's death meets lanes that it does not know: they are let in
        where the slot is free.
        """
        known = self._lanes.get(hello.lane)
        if _process_key(hello) in self._given_up or (
            known and _process_key(known.hello) != _process_key(hello)
        ):
            return False
        self._lanes[hello.lane] = _Entry(hello, self._clock())
        return True

    def remove(self, lane: str) -> None:
        """The slot is free."""
        self._lanes.pop(lane, None)

    def give_up(self, hello: LaneHandshake) -> None:
        """The process must end; another one may take its slot."""
        self._given_up.add(_process_key(hello))
        self._lost.append(hello)
        if (known := self._lanes.get(hello.lane)) and _process_key(known.hello) == _process_key(hello):
            self.remove(hello.lane)

    def expire_lanes(
        self, lease_s: float, alive: Callable[[LaneHandshake], bool]
    ) -> Iterator[tuple[LaneHandshake, str]]:
        """Frees the slots of processes that ended or fell silent; gives each with the reason.

        Lanes are not to blame for silence while this process itself could not listen: it was stopped,
        starved, or asked a sampler for long.
        """
        now = self._clock()
        deaf, self._looked_at = now - self._looked_at > DEAF_S, now
        for entry in list(self._lanes.values()):
            entry.heard_at = now if deaf else entry.heard_at
            silent_s = now - entry.heard_at
            if not alive(entry.hello):
                self.remove(entry.hello.lane)
                yield entry.hello, PROCESS_ENDED
            elif silent_s > lease_s:
                self.give_up(entry.hello)
                yield entry.hello, f"no heartbeat for {silent_s:.0f} s (limits.lease)"

    def take_lost(self) -> list[LaneHandshake]:
        """Processes that were given up and must end, once."""
        lost, self._lost = self._lost, []
        return lost


def run_of_lane(lane: str) -> str:
    """The Ray Train run of a lane of that name."""
    return lane.rpartition("-")[0]


def _process_key(hello: LaneHandshake) -> tuple[str, int, float]:
    return (hello.machine or hello.host, hello.pid, hello.pid_started_at)
