"""The lanes a GPU of one sweep's families, as they change while trials end."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from infra.gpus.deciding import FamilyMemory, GpuRoom, add_use, decide_lanes, describe_lanes, merge_families
from infra.gpus.use import GpuUse
from infra.spec import Resources
from trainers.types import Document, Json

GPU_LANES = "gpu_lanes"  # in a sweep's facts, by family: what is known, and the words
WHY = "why"
ALONE = "alone_on_gpu"  # in a trial's origin: a GPU that it shared was full, so it has one for itself
SHARED_FULL = "gpu-full"  # the outcome of that attempt


class GpuSharing:
    """Decides for families whose file says `gpus: auto`, on a cluster with GPUs; others stay as they are.

    Families that need the same have the same share of a GPU, so that they go on sharing lanes: the largest
    of them decides, of those that have trials left.
    """

    def __init__(
        self,
        settled: Mapping[str, Resources],
        rooms: Mapping[str, GpuRoom],
        facts: Document,
        set_facts: Callable[..., None],
        trials_left: Callable[[str], int],
        *,
        same_driver: bool,
    ) -> None:
        """Goes on from what the sweep's facts know.

        Args:
            settled: what a worker of each family gets, with a whole GPU where lanes may come to share one.
            rooms: of the families that may, what the cluster has.
            facts: the sweep's, as they stand.
            set_facts: changes some of them.
            trials_left: how many trials of a family have not ended.
            same_driver: an earlier coordinator's lanes live: what it decided holds.
        """
        self._settled, self._rooms, self._set_facts, self._left = settled, rooms, set_facts, trials_left
        self._facts = facts
        self._seen: set[str] = set()  # families whose GPUs were seen since this began
        self._ends: dict[str, tuple[int, float]] = {}  # by family: how many trials ended, and their seconds
        self.resources = dict(settled)
        told: Document = facts.get(GPU_LANES, {})
        self._known = {name: FamilyMemory.from_json(told.get(name, {})) for name in rooms}
        for name in rooms:  # a cluster may have fewer processors than the one before
            self._known[name] = self._known[name] if same_driver else replace(self._known[name], lanes=1)
        lanes = {name: self._known[name].lanes if same_driver else self._decide(name) for name in rooms}
        for name in rooms:
            self._settle(name, lanes[name])
        self._publish(list(rooms))

    @property
    def widest(self) -> int:
        """The most lanes that a GPU has now."""
        return max((known.lanes for known in self._known.values()), default=1)

    @property
    def families(self) -> Collection[str]:
        """Those whose lanes share GPUs, or may come to."""
        return self._known.keys()

    @property
    def words(self) -> dict[str, str]:
        """By family that may share, how many lanes a GPU has, and why."""
        return {name: describe_lanes(self._merge(name)) for name in self._known}

    def list_shapes(self) -> list[tuple[Resources, int]]:
        """What workers of these families get, or may get alone, and how many such lanes a GPU has."""
        shared = [(self.resources[name], known.lanes) for name, known in self._known.items()]
        return [(self._settled[name], 1) for name in self._known] + shared

    def whole(self, family: str) -> Resources:
        """What a worker of the family gets that shares with nobody."""
        return self._settled[family]

    def shares(self, family: str) -> bool:
        """Whether lanes of the family share their GPUs now, or may come to."""
        return family in self._rooms

    def note_use(
        self, family: str, use: GpuUse | None, seconds: float, *, ended: bool
    ) -> dict[str, Json] | None:
        """An attempt is over. What is to be told, where that changes how many lanes a GPU has.

        Args:
            ended: whether its trial came to where a trial may come, in so many `seconds`.
        """
        if use is None or family not in self._rooms:
            return None
        if ended:
            count, before_s = self._ends.get(family, (0, 0.0))
            self._ends[family] = (count + 1, before_s + seconds)
        before, group = self._known[family].lanes, self._group(family)
        self._known[family] = add_use(self._forget_smaller_gpus(family, use), use, ended=ended)
        lanes = self._decide(family)
        for name in group:
            self._settle(name, lanes)
        self._publish(group)
        if lanes == before:
            return None
        return {"families": group, "lanes": lanes, WHY: self.words[family]}

    def _group(self, family: str) -> list[str]:
        """The families that need the same as this one, which share lanes with it."""
        return [name for name in self._rooms if self._settled[name] == self._settled[family]]

    def _merge(self, family: str) -> FamilyMemory:
        group = self._group(family)
        left = [name for name in group if self._left(name)]
        return merge_families([self._known[name] for name in left or group])

    def _decide(self, family: str) -> int:
        group = self._group(family)
        ends = [self._ends.get(name, (0, 0.0)) for name in group]
        count, seconds = sum(count for count, _ in ends), sum(seconds for _, seconds in ends)
        left = sum(self._left(name) for name in group)
        return decide_lanes(
            self._merge(family), self._rooms[family], left, seconds / count if count else math.inf
        )

    def _settle(self, family: str, lanes: int) -> None:
        self._known[family] = replace(self._known[family], lanes=lanes)
        gpus = (self._settled[family].gpus or 0.0) / lanes
        self.resources[family] = replace(self._settled[family], gpus=gpus)

    def _publish(self, families: Sequence[str]) -> None:
        """Keeps what is known where it is news."""
        told: Document = self._facts.get(GPU_LANES, {})
        words = self.words
        now = {name: {**self._known[name].to_json(), WHY: words[name]} for name in families}
        if any(told.get(name) != fact for name, fact in now.items()):
            self._set_facts(**{GPU_LANES: {**told, **now}})

    def _forget_smaller_gpus(self, family: str, use: GpuUse) -> FamilyMemory:
        """What is known, but for GPUs of an earlier run of the sweep that were smaller than those here."""
        known = self._known[family]
        if use.total_bytes and family not in self._seen:
            self._seen.add(family)
            if use.total_bytes > known.total_bytes:
                known = replace(known, total_bytes=use.total_bytes)
        return known


def describe_facts(facts: Document) -> dict[str, str]:
    """By family that lets lanes share GPUs, how many one has and why, from a sweep's facts."""
    return {family: str(told[WHY]) for family, told in facts.get(GPU_LANES, {}).items()}
