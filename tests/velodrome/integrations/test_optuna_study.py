from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.store import Ledger
from search_spaces.space import Space
from tests.flows.ledger_sweeps import spec_of, write_sweep
from velodrome.integrations.optuna import load_study


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


SPACE = Space.from_mapping(
    {
        "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
        "learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
        "filter_widths": [3, 4, 5],
    }
)


def test_trials_of_a_family_are_those_of_the_study(home: Home) -> None:
    spec = spec_of()
    families = tuple(replace(family, space=SPACE.to_json()) for family in spec.families)
    sweep = write_sweep(home, replace(spec, families=families))
    ledger = Ledger(home.ledger_url)
    rows = [row for row in views.trials(ledger, sweep) if row.state in ("complete", "pruned", "failed")]
    ledger.close()
    for family in {row.family for row in rows}:
        own = [row for row in rows if row.family == family]
        study = load_study("digits", family=family, home=home)
        assert [trial.user_attrs["number"] for trial in study.trials] == [row.number for row in own]
        for trial, row in zip(study.trials, own, strict=True):
            assert trial.state is getattr(TrialState, {"failed": "FAIL"}.get(row.state, row.state.upper()))
            assert trial.values == (row.objective if row.state == "complete" else None)
            assert list(trial.intermediate_values) == list(range(1, row.epochs + 1))
            assert trial.params == {name: row.params[name] for name in ("optimizer", "learning_rate")}
    assert optuna.visualization.plot_optimization_history(study).data


def test_study_of_several_families_asks_for_one(home: Home) -> None:
    write_sweep(home)
    with pytest.raises(WrongInput, match=r"of one family.*several in digits.*one of "):
        load_study("digits", home=home)
    with pytest.raises(WrongInput, match="no gnn in digits"):
        load_study("digits", family="gnn", home=home)
    with pytest.raises(WrongInput, match="a sweep of that name"):
        load_study("digit", home=home)
