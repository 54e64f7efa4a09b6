"""What a worker of each trial gets, and with that which lanes train it: those of its shape."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from infra.coordinator.messages import LaneHandshake
from infra.coordinator.placement import shape_name
from infra.coordinator.trial_table import TrialTable
from infra.gpus.sharing import ALONE, GpuSharing
from infra.ledger.rows import TrialRow
from infra.spec import Resources, SweepSpec


class TrialNeeds:
    """By a family's resources, which lanes that come to share a GPU change, and by what a trial was given."""

    def __init__(self, book: TrialTable, sharing: GpuSharing, lanes: int) -> None:
        """Looks at all three whenever it is asked.

        Args:
            lanes: how many there are to be, each of as many as a GPU has.
        """
        self._book, self._sharing, self._lanes = book, sharing, lanes

    def of_trial(self, trial: TrialRow) -> Resources:
        """What a worker of the trial gets: its family's resources, or what `retry` gave it."""
        alone = (trial.origin or {}).get(ALONE)
        usual = self._sharing.whole(trial.family) if alone else self._sharing.resources[trial.family]
        return replace(usual, **(trial.resources or {}))

    def held_by(self, process: LaneHandshake | None, trial: TrialRow) -> Resources:
        """What the trial's lane holds, which began perhaps before lanes came to share GPUs."""
        resources = self.of_trial(trial)
        held = None if process is None else process.facts.get("gpus")
        if not isinstance(held, float) or not self._sharing.shares(trial.family):
            return resources
        return replace(resources, gpus=held)

    def shape_filter(self, shape: str) -> Callable[[TrialRow], bool]:
        """Whether a trial is one for lanes of the shape."""
        return lambda trial: shape_name(self.of_trial(trial)) == shape

    def find_demand(self, spec: SweepSpec) -> dict[str, tuple[Resources, int]]:
        """For each shape that trials need, its resources and how many of them have not ended."""
        counts: Counter[str] = Counter()
        by_shape: dict[str, Resources] = {}
        for name in self._sharing.families:
            for trial in self._book.open_trials(name):
                if (trial.origin or {}).get(ALONE):  # first, while GPUs come free: else they wait for the end
                    counts[shape_name(self.of_trial(trial))] = 0
        for family in spec.families:
            needs = [(self._sharing.resources[family.name], self._book.count_to_ask(family.name))]
            needs += [(self.of_trial(trial), 1) for trial in self._book.open_trials(family.name)]
            for resources, count in needs:
                by_shape[shape_name(resources)] = resources
                counts[shape_name(resources)] += count
        return {shape: (by_shape[shape], count) for shape, count in counts.items() if count}

    def fair_share(self, spec: SweepSpec, shape: str) -> int:
        """How many trials one lane may have at once: no other is to stand idle for it."""
        _, left = self.find_demand(spec).get(shape, (None, 0))
        return math.ceil(left / (self._lanes * self._sharing.widest))

    @property
    def gpu_lanes(self) -> Mapping[str, str]:
        """By family whose lanes may share GPUs, how many lanes one has and why, in words."""
        return self._sharing.words

    @property
    def run_sizes(self) -> dict[str, int]:
        """Of shapes whose lanes may come to share a GPU, how many lanes a run has at most: as many as a GPU
        has, so that each GPU is given back by itself. Families that say how many GPUs they need know no such
        thing, nor do others that share lanes with them."""
        usual = self._sharing.resources
        fixed = {shape_name(usual[name]) for name in usual if not self._sharing.shares(name)}
        shapes = {shape_name(resources): lanes for resources, lanes in self._sharing.list_shapes()}
        return {shape: lanes for shape, lanes in shapes.items() if shape not in fixed}
