"""Optuna's studies of one sweep, replayed from and written to the ledger.

The storage is Optuna's own `JournalStorage` over a back end whose records wait in memory until the
coordinator's transaction takes them: what Optuna knows and what the ledger says are committed together.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from infra.errors import LedgerDamaged
from infra.search.halving import IndexedHalving
from infra.search.pruners import make_pruner
from infra.search.samplers import make_sampler, starting_point
from infra.spec import FamilySpec, SweepSpec, derive_seed
from search_spaces.space import Space


class LedgerJournal(BaseJournalBackend):
    """Optuna's operations: replayed from the ledger, and gathered for the next transaction."""

    def __init__(self, records: Iterable[str]) -> None:
        """Takes the records in their order."""
        self._replayed: Iterable[str] | None = records  # decoded one by one, while Optuna reads them
        self._unread: list[dict[str, Any]] = []
        self._position = 0  # of the first of `_unread`; Optuna asks for what it has not read yet
        self._pending: list[str] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Records from a position on; what lies before it will not be asked for again."""
        if self._replayed is not None:
            replayed, self._replayed = self._replayed, None
            return self._count_records(replayed)
        self._unread = self._unread[log_number_from - self._position :]
        self._position = log_number_from
        return self._unread

    def _count_records(self, records: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Raises:
        LedgerDamaged: a record cannot be read.
        """
        for record in records:
            self._position += 1
            yield _decode_record(record)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Takes records; they are durable once the transaction that takes them is."""
        for log in logs:
            text = json.dumps(log, separators=(",", ":"))
            self._pending.append(text)
            self._unread.append(json.loads(text))  # read back as a replay would read it

    def take_records(self) -> list[str]:
        """The records since the last call, to be written in the present transaction."""
        pending, self._pending = self._pending, []
        return pending


def _decode_record(record: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(record)
    except ValueError as error:
        raise LedgerDamaged(
            "every operation of Optuna's in the ledger must be what was written",
            str(error),
            "restore the ledger from a copy",
        ) from error
    return found


class Studies:
    """One Optuna study a family, in one journal."""

    def __init__(self, spec: SweepSpec, records: Iterable[str]) -> None:
        """Replays what is there and makes what is missing."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.journal = LedgerJournal(records)
        self._storage = optuna.storages.JournalStorage(self.journal)
        self._spec = spec
        self._studies = {family.name: self._create_study(family) for family in spec.families}
        self._pruned = {family.name for family in spec.families if family.pruner["name"] != "none"}
        if len(spec.objectives) > 1:
            self._pruned = set()
        self._spaces = {family.name: Space.from_json(family.space) for family in spec.families}
        self._common = {
            family.name: optuna.search_space.IntersectionSearchSpace(include_pruned=True)
            for family in spec.families
        }
        self._running: dict[tuple[str, int], tuple[int, optuna.trial.Trial]] = {}
        self._seen: dict[Any, Any] = {}  # distributions, each once
        for study in self._studies.values():
            for frozen in study.get_trials(deepcopy=False):
                self._share_objects(frozen)

    def _create_study(self, family: FamilySpec) -> optuna.Study:
        # Hyperband draws a trial's bracket from the study's name: it must not depend on where the ledger is.
        return optuna.create_study(
            storage=self._storage,
            study_name=study_name(self._spec, family),
            directions=[goal.direction for goal in self._spec.objectives],
            pruner=make_pruner(family.pruner, family.budget.reports),
            load_if_exists=True,
        )

    def ask(
        self, family: FamilySpec, number: int, lanes: int, leader: Mapping[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """A new trial: Optuna's number and the parameters.

        Args:
            leader: the parameters of the first trial of its block, whose structure it shares.
        """
        study = self._studies[family.name]
        seed = derive_seed(self._spec.seed, family.name, number)
        study.sampler = make_sampler(family.sampler, seed, self._common[family.name])
        space = self._spaces[family.name]
        point = starting_point(family, self._spec.seed, number, lanes, leader)
        fixed = {} if point is None else {"fixed_params": space.encode(point)}
        # `study.ask` would look through all trials for waiting ones; we queue in the ledger, not in Optuna.
        template = FrozenTrial(
            number=number, trial_id=number, state=TrialState.RUNNING, value=None, datetime_start=None,
            datetime_complete=None, params={}, distributions={}, user_attrs={}, system_attrs=fixed,
            intermediate_values={},
        )  # fmt: skip
        # As `study.ask` does: else each thread goes on with the trials that it saw at its first question, and
        # what the sampler answers depends on the thread that happens to ask.
        study._thread_local.cached_all_trials = None
        study_id = self._storage.get_study_id_from_name(study.study_name)
        trial_id = self._storage.create_new_trial(study_id, template_trial=template)
        trial = optuna.trial.Trial(study, trial_id)
        params = space.suggest(trial)
        self._running[family.name, trial.number] = (trial_id, trial)
        return trial.number, params

    def report(self, family: str, study_number: int, epoch: int, value: float) -> None:
        """One epoch's value of the first goal, for the pruner; kept out of the study where none reads it."""
        if family in self._pruned:
            self._find_trial(family, study_number)[1].report(value, epoch)

    def should_prune(self, family: str, study_number: int) -> bool:
        """What the pruner says about the trial's newest report."""
        return bool(self._find_trial(family, study_number)[1].should_prune())

    def may_go_on(self, family: str, epoch: int, value: float) -> bool:
        """Whether a trial that was paused at an epoch is among the best there by now."""
        study = self._studies[family]
        return isinstance(study.pruner, IndexedHalving) and study.pruner.is_among_best(study, epoch, value)

    def tell(self, family: str, study_number: int, state: str, objective: Sequence[float] | None) -> None:
        """Ends a trial: `complete` (with its objective), `pruned` or `failed`."""
        trial_id, _ = self._find_trial(family, study_number)
        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        values = list(objective) if state == "complete" and objective else None
        if state == "pruned":
            reported = self._storage.get_trial(trial_id).intermediate_values
            values = [reported[max(reported)]] if reported else None
        self._storage.set_trial_state_values(trial_id, states[state], values)
        self._share_objects(self._storage.get_trial(trial_id))
        del self._running[family, study_number]

    def _share_objects(self, frozen: FrozenTrial) -> None:
        """Lets a trial point to the distributions and names that others have too: Optuna decodes a copy of
        each for every trial, the larger part of what thousands of them take in memory."""
        frozen.distributions = {
            sys.intern(name): self._seen.setdefault(found, found)
            for name, found in frozen.distributions.items()
        }
        frozen.params = {sys.intern(name): value for name, value in frozen.params.items()}

    def add_trial(
        self, family: FamilySpec, params: Mapping[str, Any], objective: Sequence[float]
    ) -> int | None:
        """Adds a finished trial of elsewhere (an earlier sweep, a retried failure); None where it does not
        fit this family's space."""
        space = self._spaces[family.name]
        try:
            space.check_configuration(params)
        except ValueError:
            return None
        study = self._studies[family.name]
        encoded = space.encode(params)
        known = space.distributions()
        distributions = {name: known[name] for name in encoded}
        study.add_trial(
            optuna.trial.create_trial(params=encoded, distributions=distributions, values=list(objective))
        )
        return len(study.get_trials(deepcopy=False)) - 1

    def _find_trial(self, family: str, study_number: int) -> tuple[int, optuna.trial.Trial]:
        found = self._running.get((family, study_number))
        if found is None:
            study = self._studies[family]
            study_id = self._storage.get_study_id_from_name(study.study_name)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, study_number)
            found = self._running[family, study_number] = (trial_id, optuna.trial.Trial(study, trial_id))
        return found


def study_name(spec: SweepSpec, family: FamilySpec) -> str:
    """What a family's study is called."""
    return f"{spec.label}/{family.name}"


def read_studies(spec: SweepSpec, records: Iterable[str]) -> dict[str, optuna.Study]:
    """Each family's study, to be read only; a family that was never asked has none."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(LedgerJournal(records))
    there = {study.study_name for study in storage.get_all_studies()}
    return {
        family.name: optuna.load_study(study_name=study_name(spec, family), storage=storage)
        for family in spec.families
        if study_name(spec, family) in there
    }
