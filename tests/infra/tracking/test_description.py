"""The Markdown of a sweep in MLflow: names as their code has them, values that can be told apart."""

from __future__ import annotations

from typing import Any

from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.summary import summarize_trials
from infra.spec import Objective
from infra.tracking.description import sweep_note
from tests.infra.tracking.story import a_spec


def describe(trials: list[TrialRow], metric: str = "val/accuracy") -> str:
    spec = a_spec(objectives=(Objective(metric=metric, direction="maximize"),))
    sweep = SweepRow(
        id=1, spec=spec, fingerprint="f", state="finished", facts={}, created_at=0.0, updated_at=0.0
    )
    return sweep_note(sweep, summarize_trials(spec.objectives, trials), lambda trial: None, "trials")


def complete(number: int, **params: Any) -> TrialRow:
    return TrialRow(
        role="search", family="rnn", number=number, params=params, seed=0, state="complete", objective=[0.5]
    )


def test_objective_keeps_its_capital_letters() -> None:
    assert "Maximize **val/mAP@0.5** on `builtin:digits`." in describe([], "val/mAP@0.5")


def test_best_trials_parameters_read_as_in_the_sweep_file() -> None:
    said = describe([complete(0, flag=True, text="true", none=None, one="1", rate=0.25)])
    assert 'flag true, text "true", none null, one "1", rate 0.25' in said
