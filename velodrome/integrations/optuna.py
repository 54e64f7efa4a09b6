"""Optuna: an objective is swept as it is; here a sweep's trials are a study, for Optuna's own plots.

study = load_study("digits", family="image_cnn")
optuna.visualization.plot_param_importances(study)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from flows.config.lookup import open_sweep
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.names import spell_family
from search_spaces.space import Space

if TYPE_CHECKING:
    from infra.ledger.rows import SweepRow, TrialRow
    from infra.ledger.store import Ledger

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def load_study(name: str, *, family: str | None = None, home: Home | None = None) -> optuna.Study:
    """The trials of a sweep that have ended, as a study in memory: a copy, in which nothing is searched.

    A complete trial has the objective's values, any trial what it reported of the first one, epoch by epoch.
    What trials are called here stands in their `user_attrs`.

    Args:
        name: the sweep's name or its file.
        family: one of its families, where it has several: each has a space of its own.

    Raises:
        WrongInput: no such sweep or family, or several and none named.
    """
    ledger, row = open_sweep(name, home or Home.from_environment())
    try:
        chosen = _choose_family(row, family)
        study = optuna.create_study(
            study_name=f"{row.label}/{chosen}",
            directions=[goal.direction for goal in row.spec.objectives],
            sampler=optuna.samplers.RandomSampler(),
        )
        study.add_trials(
            _frozen_trial(ledger, row, trial)
            for trial in views.trials(ledger, row.id)
            if trial.family == chosen and trial.state in _STATES and trial.compression is None
        )
    finally:
        ledger.close()
    return study


def _choose_family(row: SweepRow, family: str | None) -> str:
    names, asked = [known.name for known in row.spec.families], spell_family(family)
    if asked is None and len(names) == 1:
        return names[0]
    if asked not in names:
        found = f"several in {row.label}" if asked is None else f"no {asked} in {row.label}"
        raise WrongInput("a study is of one family", found, f"family= one of {', '.join(names)}")
    return asked


def _frozen_trial(ledger: Ledger, row: SweepRow, trial: TrialRow) -> optuna.trial.FrozenTrial:
    space = Space.from_json(row.spec.family(trial.family).space)
    encoded = space.encode(trial.params)
    distributions = {name: one for name, one in space.distributions().items() if name in encoded}
    metric = row.spec.objectives[0].metric
    curve = {
        int(event.payload["epoch"]): float(event.payload["metrics"][metric])
        for event in views.trial_events(ledger, row.id, trial, "reported")
        if metric in event.payload["metrics"]
    }
    return optuna.trial.create_trial(
        state=_STATES[trial.state],
        values=trial.objective if trial.state == "complete" else None,
        params={name: encoded[name] for name in distributions},
        distributions=distributions,
        intermediate_values=curve,
        user_attrs={"family": trial.family, "number": trial.number, "seed": trial.seed},
    )
