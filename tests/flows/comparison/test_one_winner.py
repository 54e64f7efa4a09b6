"""At a tie the leaderboard, the status, MLflow, `predict` and `confirm` name one winner."""

from __future__ import annotations

import itertools

import pytest

from flows.comparison.compare import compare
from flows.confirmation.runs import ConfirmedRun, rank_by_validation
from flows.sweeps.views.status import status
from flows.terminal.live_progress import snapshot_line
from infra.home import Home
from infra.ledger import views
from infra.ledger.ranking import best_trial
from infra.ledger.rows import PARAMETERS, strip_measurements
from infra.ledger.snapshot import make_snapshot
from infra.ledger.store import Ledger
from infra.ledger.summary import summarize_trials
from tests.flows.ledger_sweeps import spec_of, trial_of, write_sweep

TIED = [("text_cnn", 0), ("image_cnn", 2), ("image_cnn", 1), ("text_cnn", 3)]


UNKNOWN: dict[tuple[str, int], float] = {}
SMALLER_TEXTS = {("text_cnn", 0): 700, ("text_cnn", 3): 9_000, ("image_cnn", 1): 800, ("image_cnn", 2): 5}
"""The models that a family keeps are its first ones, so that their sizes count."""
ONE_KNOWN = {("text_cnn", 3): 3, ("text_cnn", 0): 10**6}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
@pytest.mark.parametrize(
    ("sizes", "winner"),
    [(UNKNOWN, ("image_cnn", 1)), (SMALLER_TEXTS, ("text_cnn", 0)), (ONE_KNOWN, ("text_cnn", 0))],
)
def test_tied_trials_have_one_winner_wherever_it_is_named(
    home: Home, order: tuple[int, ...], sizes: dict[tuple[str, int], float], winner: tuple[str, int]
) -> None:
    trials = tuple(
        trial_of(
            *TIED[place],
            "complete",
            0.97,
            facts={PARAMETERS: sizes[TIED[place]]} if TIED[place] in sizes else {},
        )
        for place in order
    )
    write_sweep(home, spec_of(), trials=(*trials, trial_of("text_cnn", 1, "complete", 0.5)))
    ledger = Ledger(home.ledger_url)
    row = views.find_sweep(ledger, "digits")
    assert row is not None
    known = views.trials(ledger, row.id)
    ledger.close()
    summary = summarize_trials(row.spec.objectives, map(strip_measurements, reversed(known)))
    tracked = summary.winner
    assert len(summary.front) == 1
    live = snapshot_line(row.spec, make_snapshot(row.spec, known, state="finished", now=1.0, started_at=0.0))
    ranked = best_trial(reversed(known), row.spec.objectives)
    shown = status("digits", home=home).best
    first = compare("digits", top=4, home=home).groups[0].rows[0]
    assert tracked is not None
    assert ranked is not None
    assert shown is not None
    named = [(entry.family, entry.number) for entry in (tracked, ranked, shown, first)]
    assert named == [winner] * 4
    assert f"best {winner[0]} 0.97 (#{winner[1]})" in live


def test_confirmed_candidates_of_equal_means_are_ordered_by_their_models_sizes() -> None:
    def run(family: str, number: int, seed: int, value: float, size: float) -> ConfirmedRun:
        trial = trial_of(family, number, "complete", value, facts={PARAMETERS: size})
        return ConfirmedRun(family=family, number=number, seed_index=seed, value=value, trial=trial)

    runs = [
        *(run("gradient_boosting", 4, seed, 1.0, 5_040) for seed in range(2)),
        *(run("mlp", 2, seed, 1.0, 385) for seed in range(2)),
        *(run("mlp", 1, seed, 1.0, 900) for seed in range(2)),
        *(run("logistic_regression", 0, seed, 0.99, 2) for seed in range(2)),
    ]
    ordered = [group[0].candidate for group in rank_by_validation(runs, spec_of().objectives[0])]
    assert ordered == [("mlp", 2), ("mlp", 1), ("gradient_boosting", 4), ("logistic_regression", 0)]
