"""Whether a lane is at fault for what fails on it: judged by what others make of the same families."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.coordinator.messages import LaneHandshake
from infra.ledger.rows import TrialRow

if TYPE_CHECKING:
    from infra.coordinator.placement import Node

MOST_IN_A_ROW = 3
ENOUGH_SUCCESSES = 2
SUCCESSES_A_FAILURE = 3  # of others: a family that fails now and then on every lane blames none
MOST_SPOILT = 2  # attempts of one trial that are not charged: perhaps it is the trial that spoils its lanes
MOST_SICK_LANES = 2  # of a node, which is left out then
SPOILT = "spoilt"  # in a trial's origin: how many of its attempts were spoilt by a lane

Process = tuple[str, int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SickLane:
    """A lane's process that failed trials which others would not have."""

    process: LaneHandshake
    trials: tuple[TrialRow, ...]


@dataclass(slots=True)
class _Record:
    process: LaneHandshake
    successes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    row: list[TrialRow] = field(default_factory=list)


class LaneHealth:
    """What each lane's process made of its trials so far."""

    def __init__(self) -> None:
        """Knows of no end yet."""
        self._records: dict[Process, _Record] = {}

    def note_success(self, process: LaneHandshake, family: str) -> None:
        """A trial of the family came on that lane to where a trial may come."""
        record = self._find(process)
        record.successes[family] += 1
        record.row.clear()

    def note_error(self, process: LaneHandshake, trial: TrialRow) -> None:
        """A trial failed on that lane by an error of its code, or so it seems."""
        record = self._find(process)
        record.errors[trial.family] += 1
        record.row.append(trial)

    def find_sick(self) -> list[SickLane]:
        """Lanes of which the last ends were errors, in families in which others succeed."""
        sick = [record for record in self._records.values() if self._is_sick(record)]
        return [SickLane(process=record.process, trials=tuple(record.row)) for record in sick]

    def forget(self, process: LaneHandshake) -> None:
        """What happened there says nothing about a family any more."""
        self._records.pop(_key(process), None)

    def _find(self, process: LaneHandshake) -> _Record:
        return self._records.setdefault(_key(process), _Record(process))

    def _is_sick(self, record: _Record) -> bool:
        if len(record.row) < MOST_IN_A_ROW:
            return False
        others = [other for other in self._records.values() if other is not record]
        for family in {trial.family for trial in record.row}:
            successes = sum(other.successes[family] for other in others)
            errors = sum(other.errors[family] for other in others)
            if successes < max(ENOUGH_SUCCESSES, SUCCESSES_A_FAILURE * errors):
                return False
        return True


def may_spare(trial: TrialRow) -> bool:
    """Whether one more spoilt attempt of the trial is not charged to it."""
    return int((trial.origin or {}).get(SPOILT, 0)) < MOST_SPOILT


def note_spoilt(trial: TrialRow) -> None:
    """Counts an attempt that a lane spoilt."""
    trial.origin = {**(trial.origin or {}), SPOILT: int((trial.origin or {}).get(SPOILT, 0)) + 1}


def node_of(process: LaneHandshake) -> str:
    """The node that a lane's process runs on."""
    return str(process.facts.get("node") or process.host)


def nodes_of(process: LaneHandshake) -> frozenset[str]:
    """The nodes of all ranks of a lane."""
    ranks = process.facts.get("nodes")
    return frozenset(map(str, ranks)) if isinstance(ranks, list) else frozenset({node_of(process)})


def choose_left_out(nodes: Sequence[Node], sick: Mapping[str, int]) -> frozenset[str]:
    """The nodes that get no lane any more; none where no other would be left.

    Args:
        sick: how many lanes of each node were sick.
    """
    out = {node.name for node in nodes if sick.get(node.name, 0) >= MOST_SICK_LANES}
    return frozenset(out) if len(out) < len(nodes) else frozenset()


def _key(process: LaneHandshake) -> Process:
    return (process.machine or process.host, process.pid, process.pid_started_at)
