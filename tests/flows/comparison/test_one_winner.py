"""At a tie the leaderboard, the status, MLflow, `predict` and `confirm` name one winner."""

from __future__ import annotations

import itertools

import pytest

from flows.comparison.compare import compare
from flows.sweeps.status import status
from infra.home import Home
from infra.ledger import views
from infra.ledger.ranking import best_trial
from infra.ledger.store import Ledger
from infra.tracking.summary import summarize_trials
from tests.flows.ledger_sweeps import spec_of, trial_of, write_sweep

TIED = [("text_cnn", 0), ("image_cnn", 2), ("image_cnn", 1), ("text_cnn", 3)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_tied_trials_have_one_winner_wherever_it_is_named(home: Home, order: tuple[int, ...]) -> None:
    trials = tuple(trial_of(*TIED[place], "complete", 0.97) for place in order)
    write_sweep(home, spec_of(), trials=(*trials, trial_of("text_cnn", 1, "complete", 0.5)))
    ledger = Ledger(home.ledger_url)
    row = views.find_sweep(ledger, "digits")
    assert row is not None
    known = views.trials(ledger, row.id)
    ledger.close()
    tracked = summarize_trials(row.spec.objectives, [*reversed(known)]).winner
    ranked = best_trial(reversed(known), row.spec.objectives)
    shown = status("digits", home=home).best
    first = compare("digits", top=4, home=home).groups[0].rows[0]
    assert tracked is not None
    assert ranked is not None
    assert shown is not None
    named = [(entry.family, entry.number) for entry in (tracked, ranked, shown, first)]
    assert named == [("image_cnn", 1)] * 4
