"""What the report's figures are made of, without drawing."""

from __future__ import annotations

import itertools
import statistics

import pytest

from flows.report.axes import MISSING, parameter_axes, parameter_axis
from flows.report.expected_best import expected_best
from flows.report.figures import values_for_expectation
from flows.report.history import history_points, sample_trials, thin
from flows.report.importance import compute_importances
from flows.report.savings import compute_savings, group_failures
from infra.home import Home
from infra.ledger import views
from infra.ledger.store import Ledger
from infra.spec import Budget
from tests.flows.finished_sweeps import RANDOM, finish_sweep
from tests.flows.ledger_sweeps import ACCURACY, spec_of, trial_of
from tests.infra.conftest import family, sweep


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("values", [(0.3,), (0.9, 0.1), (0.5, 0.5, 0.2), (0.1, 0.7, 0.7, -3.0)])
def test_expected_best_is_the_mean_over_all_draws(values, direction):
    found = expected_best(values, direction)
    best = max if direction == "maximize" else min
    for n in range(1, len(values) + 1):
        drawn = [best(draw) for draw in itertools.product(values, repeat=n)]
        assert found.means[n - 1] == pytest.approx(statistics.fmean(drawn))
        assert found.deviations[n - 1] == pytest.approx(statistics.pstdev(drawn), abs=1e-9)


def test_expected_best_counts_pruned_as_reached_and_failed_as_worst():
    trials = [
        trial_of("text_cnn", 0, "complete", 0.9), trial_of("text_cnn", 1, "pruned", 0.4),
        trial_of("text_cnn", 2, "failed"), trial_of("text_cnn", 3, "running", 0.99),
    ]  # fmt: skip
    assert values_for_expectation(trials, ACCURACY) == [0.9, 0.4, 0.4]
    assert values_for_expectation(trials[2:3], ACCURACY) == []


def test_history_figure_is_ordered_by_end_and_best_is_complete():
    """By the ledger's order: the clock was set back before the last one's end."""
    trials = [
        trial_of("text_cnn", 0, "complete", 0.5, ended_at=30.0),
        trial_of("text_cnn", 1, "pruned", 0.9, ended_at=10.0),
        trial_of("text_cnn", 2, "failed", ended_at=20.0),
        trial_of("text_cnn", 3, "complete", 0.4, ended_at=4.0),
    ]
    endings = {("search", "text_cnn", number): place for place, number in enumerate((1, 2, 0, 3), 1)}
    found = history_points(trials, "maximize", endings=endings)
    assert [(e.order, e.trial.number) for e in found] == [(1, 1), (3, 0), (4, 3)]
    assert found[0].best != found[0].best  # nothing is complete yet
    assert [e.best for e in found[1:]] == [0.5, 0.5]
    assert [e.best for e in history_points(trials, "minimize", endings=endings)[1:]] == [0.5, 0.4]


def test_figure_sample_keeps_best_and_end_points():
    assert thin(list(range(100)), 5) == [0, 25, 50, 74, 99]
    trials = [trial_of("text_cnn", n, "complete", 1.0 - abs(n - 700) / 1e3) for n in range(1_000)]
    found = sample_trials(trials, (ACCURACY,), 50)
    assert len(found) == 50
    assert {0, 999, *range(695, 706)} <= {trial.number for trial in found}
    assert sample_trials(trials[:50], (ACCURACY,), 50) == trials[:50]


def test_pruning_savings_use_each_trials_own_pace():
    trials = [
        trial_of("image_cnn", 0, "complete", 0.9, epochs=5, seconds=10.0),
        trial_of("image_cnn", 1, "pruned", 0.1, epochs=1, seconds=3.0),
        trial_of("image_cnn", 2, "pruned", 0.1, epochs=0, seconds=0.5),
    ]
    saved = compute_savings(spec_of(), trials)
    assert (saved.trials, saved.epochs_saved, saved.epochs_trained) == (2, 9, 6)
    assert saved.seconds_saved == pytest.approx(12.0)
    assert saved.share == pytest.approx(9 / 15)


def test_failures_figure_counts_by_class():
    reasons = ["error: ValueError: 1", "out-of-memory: 3 GiB", "error: ValueError: 2", None]
    trials = [trial_of("text_cnn", n, "failed", reason=reason) for n, reason in enumerate(reasons)]
    found = group_failures(trials)
    assert [(group.kind, len(group.trials)) for group in found] == [
        ("error", 2), ("out-of-memory", 1), ("unknown", 1)
    ]  # fmt: skip
    assert found[0].example == "ValueError: 1"


def test_parallel_axis_has_a_place_for_left_out_values():
    axis = parameter_axis("momentum", [{"momentum": 0.2}, {}, {"momentum": 0.8}], log=False)
    assert axis.labels[0] == MISSING
    assert axis.values[1] == axis.ticks[0] < 0.2
    assert parameter_axis("momentum", [{}, {}], log=False) is None


def test_parallel_axis_shows_a_chosen_null_as_a_value():
    axis = parameter_axis("augment", [{"augment": None}, {"augment": {"shift": 0.1}}, {}], log=False)
    assert set(axis.labels) == {MISSING, "null", "{shift: 0.1}"}
    mixed = [{"x": value} for value in (1, 1.0, True, "1", None, "null", "none", [1, 2], "[1, 2]")]
    axis = parameter_axis("x", mixed, log=False)
    assert len(set(axis.values)) == len(set(axis.labels)) == len(mixed)


def test_a_logarithmic_axis_is_labelled_in_its_own_numbers():
    axis = parameter_axis("rate", [{"rate": 1e-4}, {"rate": 1e-2}], log=True)
    assert axis.values == pytest.approx((-4.0, -2.0))
    assert (axis.labels[0], axis.labels[2], axis.labels[-1]) == ("1e-4", "0.001", "0.01")


def test_importances_rank_the_deciding_parameter_first(home: Home):
    spec = finish_sweep(
        home, sweep(family("noop", trials=40, pruner={"name": "none"}, sampler=RANDOM), name="digits")
    )
    ledger = Ledger(home.ledger_url)
    row = views.find_sweep(ledger, "digits")
    (found,) = compute_importances(spec, views.journal_records(ledger, row.id))
    ledger.close()
    assert max(found.shares, key=found.shares.get) == "learning_rate"
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert [axis.name for axis in parameter_axes(spec.families[0], [])] == []


def test_too_few_trials_have_no_importances(home: Home):
    spec = finish_sweep(
        home, sweep(family("noop", trials=3, sampler=RANDOM, budget=Budget(epochs=1)), name="digits")
    )
    ledger = Ledger(home.ledger_url)
    (found,) = compute_importances(spec, views.journal_records(ledger, views.find_sweep(ledger, "digits").id))
    ledger.close()
    assert found.shares == {}
    assert "3" in found.why
