"""Asking Optuna for trials: whose turn it is, and how many are asked for at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from infra.coordinator import policy
from infra.coordinator.placement import shape_name
from infra.coordinator.trial_table import TrialTable
from infra.ledger.rows import TrialRow
from infra.search.blocks import block_of
from infra.search.study import Studies
from infra.spec import FamilySpec, Resources, SweepSpec, derive_seed


class TrialQuestions:
    """Asks for the trials of one sweep and puts them in line. None are asked for where there is no study."""

    def __init__(
        self,
        book: TrialTable,
        studies: Studies | None,
        resources: Mapping[str, Resources],
        *,
        lanes: int,
        clock: Callable[[], float],
        record: Callable[[TrialRow], None],
        lanes_a_gpu: Callable[[], int] = lambda: 1,
    ) -> None:
        """Asks nothing yet.

        Args:
            resources: what a worker of each family gets.
            lanes: how many lanes there are to be.
            record: called with each trial that was asked for.
            lanes_a_gpu: how many lanes are there now for each of `lanes`.
        """
        self._book, self._studies, self._resources = book, studies, resources
        self._lanes, self._clock, self._record = lanes, clock, record
        self._lanes_a_gpu = lanes_a_gpu

    def ask_next(self, spec: SweepSpec, shape: str) -> bool:
        """Asks for the trial whose turn it is, or for its whole block. False: none is to be had now."""
        family = policy.next_family(spec.families, self._book.trial_counts, self._closed_to(spec, shape))
        if self._studies is None or family is None:
            return False
        number = self._book.trial_counts[family.name]
        block = block_of(family, number)
        whole = policy.asks_whole_blocks(family)
        for _ in range(min(block.size - block.position, family.trials - number) if whole else 1):
            self._ask(self._studies, spec, family)
        return True

    def ask_for_stack(self, spec: SweepSpec, shape: str, name: str) -> bool:
        """Asks for one more trial of a family that a lane trains a stack of, if it is that family's turn."""
        family, counts = spec.family(name), self._book.trial_counts
        if self._studies is None or policy.asks_whole_blocks(family):
            return False
        if not policy.has_turn(family, spec.families, counts, self._closed_to(spec, shape)):
            return False
        self._ask(self._studies, spec, family)
        return True

    def _closed_to(self, spec: SweepSpec, shape: str) -> frozenset[str]:
        """Families of which a lane of the shape gets no trial that is asked for now."""
        return frozenset(
            family.name
            for family in spec.families
            if shape_name(self._resources[family.name]) != shape
            or self._book.is_family_broken(family.name)
            or self._is_block_open(family)
        )

    def _is_block_open(self, family: FamilySpec) -> bool:
        """Whether the next block waits for the end of the one before it. With one lane it does: what its
        sampler knows then does not depend on how many are trained side by side."""
        if self._lanes * self._lanes_a_gpu() > 1 or not policy.asks_whole_blocks(family):
            return False
        begins = block_of(family, self._book.trial_counts[family.name]).position == 0
        return begins and bool(self._book.moving_trials(family.name))

    def _ask(self, studies: Studies, spec: SweepSpec, family: FamilySpec) -> None:
        number = self._book.trial_counts[family.name]
        position = block_of(family, number).position
        leader = self._book.find(family.name, number - position) if position else None
        study_number, params = studies.ask(
            family, number, self._lanes, None if leader is None else leader.params
        )
        trial = TrialRow(
            role="search", family=family.name, number=number, study_number=study_number, params=params,
            seed=derive_seed(spec.seed, family.name, number, "trial"),
            created_at=self._book.next_time(self._clock()),
        )  # fmt: skip
        self._book.add(trial)
        self._book.queue(trial)
        self._record(trial)
