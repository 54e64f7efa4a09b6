"""Optuna's studies of one sweep, replayed from and written to the ledger.

The storage is Optuna's own `JournalStorage` over a back end whose records wait in memory until the
coordinator's transaction takes them: what Optuna knows and what the ledger says are committed together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from infra.samplers import make_pruner, make_sampler, starting_point
from infra.spec import FamilySpec, SweepSpec, derived_seed
from search_spaces.space import Space


class LedgerJournal(BaseJournalBackend):  # type: ignore[misc]
    """Optuna's operations: replayed from the ledger, and gathered for the next transaction."""

    def __init__(self, records: Iterable[str]) -> None:
        """Takes the records in their order."""
        self._unread = [json.loads(record) for record in records]
        self._position = 0  # of the first of `_unread`; Optuna asks for what it has not read yet
        self._pending: list[str] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Records from a position on; what lies before it will not be asked for again."""
        self._unread = self._unread[log_number_from - self._position :]
        self._position = log_number_from
        return self._unread

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Takes records; they are durable once the transaction that takes them is."""
        for log in logs:
            text = json.dumps(log, separators=(",", ":"))
            self._pending.append(text)
            self._unread.append(json.loads(text))  # read back as a replay would read it

    def take(self) -> list[str]:
        """The records since the last call, to be written in the present transaction."""
        pending, self._pending = self._pending, []
        return pending


class Studies:
    """One Optuna study a family, in one journal."""

    def __init__(self, spec: SweepSpec, records: Iterable[str]) -> None:
        """Replays what is there and makes what is missing."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.journal = LedgerJournal(records)
        self._storage = optuna.storages.JournalStorage(self.journal)
        self._spec = spec
        self._studies = {family.name: self._study(family) for family in spec.families}
        self._spaces = {family.name: Space.from_json(family.space) for family in spec.families}
        self._running: dict[tuple[str, int], tuple[int, optuna.trial.Trial]] = {}

    def _study(self, family: FamilySpec) -> optuna.Study:
        # Hyperband draws a trial's bracket from the study's name: it must not depend on where the ledger is.
        return optuna.create_study(
            storage=self._storage,
            study_name=f"{self._spec.label}/{family.name}",
            directions=[goal.direction for goal in self._spec.objectives],
            pruner=make_pruner(family.pruner, family.budget.reports),
            sampler=make_sampler({"name": "random"}, 0),
            load_if_exists=True,
        )

    def ask(self, family: FamilySpec, number: int, lanes: int) -> tuple[int, dict[str, Any]]:
        """A new trial: Optuna's number and the parameters."""
        study = self._studies[family.name]
        study.sampler = make_sampler(family.sampler, derived_seed(self._spec.seed, family.name, number))
        space = self._spaces[family.name]
        point = starting_point(family, self._spec.seed, number, lanes)
        fixed = {} if point is None else {"fixed_params": space.encode(point)}
        # `study.ask` would look through all trials for waiting ones; we queue in the ledger, not in Optuna.
        template = FrozenTrial(
            number=-1, trial_id=-1, state=TrialState.RUNNING, value=None, datetime_start=None,
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
        """One epoch's value of the first goal, for the pruner."""
        if len(self._spec.objectives) == 1:
            self._trial(family, study_number)[1].report(value, epoch)

    def should_prune(self, family: str, study_number: int) -> bool:
        """What the pruner says about the trial's newest report."""
        return bool(self._trial(family, study_number)[1].should_prune())

    def tell(self, family: str, study_number: int, state: str, objective: Sequence[float] | None) -> None:
        """Ends a trial: `complete` (with its objective), `pruned` or `failed`."""
        trial_id, _ = self._trial(family, study_number)
        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        values = list(objective) if state == "complete" and objective else None
        if state == "pruned":
            reported = self._storage.get_trial(trial_id).intermediate_values
            values = [reported[max(reported)]] if reported else None
        self._storage.set_trial_state_values(trial_id, states[state], values)
        del self._running[family, study_number]

    def learn(self, family: FamilySpec, params: dict[str, Any], objective: Sequence[float]) -> int | None:
        """Adds a finished trial of elsewhere (an earlier sweep, a retried failure); None where it does not
        fit this family's space."""
        space = self._spaces[family.name]
        try:
            space.check_params(params)
        except ValueError:
            return None
        study = self._studies[family.name]
        encoded = space.encode(params)
        distributions = {name: d for name, d in space.distributions().items() if name in encoded}
        if set(encoded) - set(distributions):
            return None
        study.add_trial(
            optuna.trial.create_trial(params=encoded, distributions=distributions, values=list(objective))
        )
        return len(study.get_trials(deepcopy=False)) - 1

    def _trial(self, family: str, study_number: int) -> tuple[int, optuna.trial.Trial]:
        found = self._running.get((family, study_number))
        if found is None:
            study = self._studies[family]
            study_id = self._storage.get_study_id_from_name(study.study_name)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, study_number)
            found = self._running[family, study_number] = (trial_id, optuna.trial.Trial(study, trial_id))
        return found
