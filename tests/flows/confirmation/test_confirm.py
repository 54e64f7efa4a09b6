"""confirm without Ray: what is entered, refused, ranked and said, from rows and scores written by hand."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from flows.config.lookup import open_sweep
from flows.confirmation import confirm as verb
from flows.confirmation import statistics
from flows.confirmation.runs import median_run, select_median
from flows.confirmation.statistics import build_confirmation
from flows.sweeps import session
from flows.sweeps.session import SessionEnd
from infra.driver.stop_signals import StopSignals
from infra.errors import InterruptedCommand, RefusedError, WrongInput
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.storage.example_scores import TEST_SCORES, read_scores, write_scores
from infra.tracking.client import connect
from infra.tracking.mapping import sweep_identity, trial_key
from infra.tracking.run_notes import write_note
from tests.flows.ledger_sweeps import living_owner, set_owner, spec_of, trial_of, write_sweep

EXAMPLES = 400
TRUTH = {"text_cnn": 0.9, "image_cnn": 0.95}


class Lanes:
    """Ends what waits as lanes would: validation by the configuration, examples' scores by chance."""

    def __init__(self, home, *, first: int = 1_000, failing: frozenset[str] = frozenset()) -> None:
        self.home, self.left, self.failing, self.trained = home, first, failing, 0

    def run(self, ledger, row, place, *, address=None, role="search") -> SessionEnd:
        batch = WriteBatch()
        for trial in views.trials(ledger, row.id, role=role):
            if trial.has_ended or not self.left:
                continue
            self.left, self.trained = self.left - 1, self.trained + 1
            trial.attempts, trial.state = 1, "complete"
            if trial.family in self.failing:
                trial.state, trial.reason = "failed", "error: it does not work"
            else:
                self._finish(trial)
            batch.add_event("ended", 1.0, {"state": trial.state}, trial)
        ledger.add_events(row.id, batch)
        return SessionEnd(state=row.state, unsent=0)

    def _finish(self, trial) -> None:
        index = trial.origin["seed_index"]
        rng = np.random.default_rng(trial.seed % 1_000)
        right = rng.random(EXAMPLES) < TRUTH[trial.family]
        # the same on no two seeds, nor the gap between two families: a t-test needs a spread
        step = 0.001 if trial.family == "image_cnn" else 0.0013
        trial.objective = [TRUTH[trial.family] + step * index]
        trial.metrics = {"val/accuracy": trial.objective[0], "test/accuracy": float(right.mean())}
        trial.model = f"digits/{trial.family}/confirm-{trial.number:04d}/model-1"
        folder = f"digits/{trial.family}/confirm-{trial.number:04d}/test-1"
        trial.facts = {TEST_SCORES: folder}
        write_scores(self.home.storage / folder, {"accuracy": torch.from_numpy(right).double()})


@pytest.fixture(autouse=True)
def unchanged_data(monkeypatch):
    """Sweeps that are written straight into a ledger have a fingerprint and no data that could be read."""
    monkeypatch.setattr(
        "flows.sweeps.recorded_state._current_fingerprint", lambda row, home: str(row.fingerprint)
    )


@pytest.fixture
def lanes(home, monkeypatch):
    made = Lanes(home)
    monkeypatch.setattr(verb, "run_session", lambda *a, **k: made.run(*a, **k))
    return made


def test_confirm_trains_every_family_on_the_same_fresh_seeds(home, lanes):
    write_sweep(home)
    found = verb.confirm("digits", seeds=3)
    assert [(row.family, row.number) for row in found.rows] == [("image_cnn", 1), ("text_cnn", 0)]
    ledger, row = open_sweep("digits", home)
    runs = views.trials(ledger, row.id, role="confirm")
    ledger.close()
    assert {run.seed for run in runs} == set(found.seeds)
    assert not {run.seed for run in runs} & {trial.seed for trial in views_of(home)}
    assert found.test_reads == 1
    first, second = found.rows
    assert first.validation.values == pytest.approx((0.95, 0.951, 0.952))
    assert (first.tied, second.tied) == (None, False)
    assert first.test.over == "seeds and examples"
    assert first.test.interval.low < first.test.mean < first.test.interval.high
    assert second.difference.interval.estimate == pytest.approx(second.test.mean - first.test.mean)


def test_confirm_writes_its_intervals_into_the_runs_descriptions(home, lanes, empty_store):
    home.path.mkdir(parents=True)
    shutil.copyfile(empty_store, home.path / "mlflow.db")
    client = MlflowClient(home.mlflow_uri, registry_uri=home.mlflow_uri)
    write_sweep(home)
    ledger, row = open_sweep("digits", home)
    ledger.close()
    experiment = client.create_experiment("digits", artifact_location=(home.artifacts / "digits").as_uri())
    key = trial_key(sweep_identity(row), "search", "image_cnn", 1)
    tags = {"velodrome.key": key, "mlflow.note.content": "**val/accuracy 0.985** on validation\n- epoch 3"}
    run = client.create_run(experiment, tags=tags).info.run_id
    for seeds in (2, 3):  # the second replaces what the first found
        found = verb.confirm("digits", seeds=seeds)
    assert found.note == ""
    (_, said, last) = client.get_run(run).data.tags["mlflow.note.content"].splitlines()
    low, high = found.rows[0].test.interval.low, found.rows[0].test.interval.high
    assert said.startswith("- confirmed on 3 fresh seeds: **val/accuracy 0.951 (95% 0.9")
    assert f"({0.95:.0%} {low:.4g} to {high:.4g} over seeds and examples)**" in said
    assert last == "- epoch 3"
    write_note(connect(home.mlflow_uri), run, "**val/accuracy 0.985** again\n- epoch 3")
    again = client.get_run(run).data.tags["mlflow.note.content"].splitlines()
    assert again == ["**val/accuracy 0.985** again", said, "- epoch 3"]


def test_confirm_says_that_mlflow_does_not_take_what_it_found(home, lanes, velodrome):
    home.path.mkdir(parents=True)
    (home.path / "mlflow.db").write_bytes(b"no database" * 100)
    write_sweep(home)
    ended = velodrome("confirm", "digits", "--seeds", "2")
    assert ended.status == 0
    assert "warning: what was found is not in the runs' descriptions in MLflow" in ended.err


def test_intervals_of_a_test_part_full_of_copies_are_those_of_its_different_rows(home, lanes):
    write_sweep(home, facts={"data": {"different": {"test": EXAMPLES // 16}}})
    counted = verb.confirm("digits", seeds=3)
    ledger, row = open_sweep("digits", home)
    named = {(found.family, found.number) for found in counted.rows}
    chosen = [trial for trial in views_of(home) if (trial.family, trial.number) in named]
    blind = build_confirmation(ledger, replace(row, facts={}), chosen, counted.seeds, home.storage)
    ledger.close()
    for found, before in zip(counted.rows, blind.rows, strict=True):
        assert found.test.mean == before.test.mean
        width, narrow = (i.high - i.low for i in (found.test.interval, before.test.interval))
        assert width > 1.5 * narrow  # what the seeds differ by is in both
    gaps = [made.rows[1].difference.interval for made in (counted, blind)]
    assert gaps[0].high - gaps[0].low > 2 * (gaps[1].high - gaps[1].low)


@pytest.mark.parametrize("seeds", [3, 2])
def test_confirm_with_a_run_that_died_names_the_winner_that_promote_takes(home, lanes, monkeypatch, seeds):
    """Candidates are compared on the seeds that all have, whoever asks."""
    values = {"text_cnn": [0.90, 0.93, 0.60], "image_cnn": [0.88, 0.87, None]}
    finish = lanes._finish

    def finish_or_die(trial):
        finish(trial)
        value = values[trial.family][trial.origin["seed_index"]]
        trial.state = "failed" if value is None else "complete"
        trial.objective = None if value is None else [value]

    monkeypatch.setattr(lanes, "_finish", finish_or_die)
    write_sweep(home)
    verb.confirm("digits", seeds=3)
    found = verb.confirm("digits", seeds=seeds)
    ledger, row = open_sweep("digits", home)
    taken = median_run(ledger, row)
    ledger.close()
    assert [row.family for row in found.rows] == ["text_cnn", "image_cnn"]
    assert (taken.family, taken.trial.number) == (found.rows[0].family, found.median_run)


def test_confirm_of_fewer_says_whom_promote_takes_of_those_confirmed_before(
    home, lanes, velodrome, monkeypatch
):
    """The winner of an earlier call stays the winner, though a later one did not ask for it."""
    values = {"text_cnn": 0.95, "image_cnn": 0.90}
    finish = lanes._finish

    def finish_as(trial):
        finish(trial)
        trial.objective = [values[trial.family]]

    monkeypatch.setattr(lanes, "_finish", finish_as)
    write_sweep(home)
    whole = verb.confirm("digits", seeds=2)
    assert (whole.rows[0].family, whole.ahead) == ("text_cnn", None)
    found = verb.confirm("digits", top=1, seeds=2)
    assert [row.family for row in found.rows] == ["image_cnn"]
    ledger, row = open_sweep("digits", home)
    taken = median_run(ledger, row)
    ledger.close()
    assert (found.median_run, found.ahead) == (None, (taken.family, taken.number))
    ended = velodrome("confirm", "digits", "--top", 1, "--seeds", 2)
    assert "text_cnn #0, confirmed before, has the better mean: `promote` takes it" in ended.out


def test_confirm_on_one_seed_says_that_its_interval_is_over_its_examples(home, lanes):
    write_sweep(home)
    assert verb.confirm("digits", seeds=1).rows[0].test.over == "examples of one seed"


def test_confirm_with_a_test_score_that_is_no_number_has_the_interval_over_seeds(home, lanes, monkeypatch):
    """A model may be right on validation and answer NaN for one example of the test part."""
    read = statistics.read_scores
    monkeypatch.setattr(
        statistics, "read_scores", lambda *asked: {n: v * np.nan for n, v in read(*asked).items()}
    )
    write_sweep(home)
    rows = verb.confirm("digits", seeds=3).rows
    assert [row.test.over for row in rows] == ["seeds", "seeds"]
    assert rows[1].difference is None


def views_of(home):
    ledger, row = open_sweep("digits", home)
    trials = views.trials(ledger, row.id)
    ledger.close()
    return trials


def test_confirm_again_resumes_and_more_seeds_or_candidates_add_runs(home, lanes):
    write_sweep(home)
    lanes.left = 2
    stopped = verb.confirm("digits", seeds=3)
    assert stopped.waiting == 1  # of the one row that has any value; the other has none yet
    lanes.left = 100
    whole = verb.confirm("digits", seeds=3)
    assert (lanes.trained, whole.waiting, whole.test_reads) == (6, 0, 1)
    assert verb.confirm("digits", seeds=3) == whole
    assert lanes.trained == 6
    grown = verb.confirm("digits", top=3, seeds=4)
    assert lanes.trained == 3 * 4
    assert grown.test_reads == 2
    assert grown.seeds[:3] == whole.seeds
    assert len(verb.confirm("digits", seeds=2).rows[0].validation.values) == 2


def test_confirm_run_to_promote_is_the_median_of_the_best(home, lanes):
    write_sweep(home)
    found = verb.confirm("digits", seeds=3)
    ledger, row = open_sweep("digits", home)
    run = median_run(ledger, row)
    other = median_run(ledger, row, family="text_cnn")
    nothing = median_run(ledger, row, number=17)
    ledger.close()
    assert run is not None
    assert (run.family, run.number, run.seed_index) == ("image_cnn", 1, 1)
    assert run.value == pytest.approx(0.951)
    assert run.trial.number == found.median_run
    assert run.trial.model == "digits/image_cnn/confirm-0001/model-1"
    assert other is not None
    assert other.family == "text_cnn"
    assert nothing is None


def test_confirm_ranking_ignores_the_test_score(home, lanes, monkeypatch):
    write_sweep(home)
    monkeypatch.setitem(TRUTH, "text_cnn", 0.95)

    def finish(trial):
        Lanes._finish(lanes, trial)
        trial.objective = [0.8 if trial.family == "image_cnn" else 0.7]
        trial.metrics["test/accuracy"] = 0.1 if trial.family == "image_cnn" else 0.99

    monkeypatch.setattr(lanes, "_finish", finish)
    assert [row.family for row in verb.confirm("digits", seeds=2).rows] == ["image_cnn", "text_cnn"]


def test_confirm_metric_without_shares_has_interval_over_seeds(home, lanes):
    goal = spec_of().objectives[0]
    write_sweep(home, spec_of(objectives=(type(goal)(metric="val/f1", direction="maximize"),)))
    original = lanes._finish

    def finish(trial):
        original(trial)
        trial.metrics["test/f1"] = 0.5 + 0.01 * trial.origin["seed_index"]

    lanes._finish = finish
    row = verb.confirm("digits", seeds=3).rows[0]
    assert row.test.over == "seeds"
    assert row.test.interval.estimate == pytest.approx(0.51)
    assert row.test.interval.high - row.test.interval.estimate == pytest.approx(4.302653 * 0.01 / 3**0.5)


def test_confirm_retries_failed_runs_and_refuses_if_none_is_left(home, lanes):
    write_sweep(home)
    lanes.failing = frozenset({"text_cnn"})
    assert [row.family for row in verb.confirm("digits", seeds=2).rows] == ["image_cnn"]
    lanes.failing = frozenset()
    again = verb.confirm("digits", seeds=2)
    assert [row.failed for row in again.rows] == [0, 0]
    assert (lanes.trained, again.test_reads) == (6, 2)
    write_sweep(home, spec_of("other"))
    lanes.failing = frozenset({"text_cnn", "image_cnn"})
    with pytest.raises(RefusedError, match="it does not work"):
        verb.confirm("other", seeds=2)


def test_confirm_impossible_request_is_refused_and_enters_nothing(home, lanes):
    write_sweep(home)
    write_sweep(home, spec_of("empty"), trials=(trial_of("text_cnn", 0, "failed"),))
    write_sweep(home, spec_of("untested"), facts={"data": {"parts": {"train": 9, "test": 0}}})
    for name, options, words in (
        ("nosuch", {}, "must be in the ledger"),
        ("empty", {}, "complete trials"),
        ("untested", {}, "test part"),
        ("digits", {"top": 4}, "at most the complete trials"),
        ("digits", {"top": 0}, "at least 1"),
        ("digits", {"top": 1, "each_family": True}, "--top or --each-family"),
        ("digits", {"seeds": 0}, "from 1 to"),
    ):
        with pytest.raises(WrongInput, match=words):
            verb.confirm(name, **options)
    ledger, row = open_sweep("digits", home)
    assert views.trials(ledger, row.id, role="confirm") == []
    assert views.count_events(ledger, row.id, "test-read") == 0
    ledger.close()


def test_confirm_of_a_running_sweep_is_refused(home, velodrome):
    sweep = write_sweep(home, state="running")
    set_owner(home, sweep, living_owner())
    ended = velodrome("confirm", "digits")
    assert ended.status == 4
    assert "velodrome stop digits" in ended.err


def test_confirm_document_has_contract_keys_and_table_says_it(home, lanes, velodrome):
    write_sweep(home)
    ended = velodrome("confirm", "digits", "--top", "2", "--seeds", "3", "--json")
    found = json.loads(ended.out)
    assert list(found)[:4] == ["sweep", "metric", "rows", "test_reads"]
    assert found["metric"] == "test/accuracy"
    assert list(found["rows"][0])[:5] == ["family", "number", "params", "validation", "test"]
    assert list(found["rows"][0]["test"])[:3] == ["values", "mean", "std"]
    out = velodrome("confirm", "digits", "--top", "2", "--seeds", "3").out
    assert "cannot be told apart" in out
    assert "interval is over seeds and examples" in out
    assert "was read once" in out
    assert velodrome("confirm", "digits", "--top", "9").status == 2


def test_confirm_refuses_tampered_scores(tmp_path: Path):
    trial = trial_of("text_cnn", 0, "complete", facts={TEST_SCORES: "a/test-1"})
    write_scores(tmp_path / "a" / "test-1", {"accuracy": torch.ones(3)})
    assert read_scores(tmp_path, trial)["accuracy"].tolist() == [1.0, 1.0, 1.0]
    write_scores(tmp_path / "a" / "test-1", {"accuracy": torch.zeros(3)})  # an attempt made again
    assert read_scores(tmp_path, trial)["accuracy"].tolist() == [0.0, 0.0, 0.0]
    outside = trial_of("text_cnn", 0, "complete", facts={TEST_SCORES: "../elsewhere"})
    assert read_scores(tmp_path, outside) == {}
    assert read_scores(tmp_path, trial_of("text_cnn", 0, "complete")) == {}


@pytest.mark.parametrize(
    ("role", "command"), [("search", "velodrome sweep"), ("confirm", "velodrome confirm digits")]
)
def test_interrupt_names_the_command_that_carries_on(home, monkeypatch, role, command):
    write_sweep(home)
    ledger, row = open_sweep("digits", home)
    told = StopSignals(received=[signal.SIGINT, signal.SIGINT])
    monkeypatch.setattr(session, "_drive_lanes", lambda *a: told)
    with pytest.raises(InterruptedCommand, match=f"`{command}` carries digits on"):
        session.run_session(ledger, row, home, role=role)
    ledger.close()


@pytest.mark.parametrize(
    ("values", "wanted"), [((0.3, 0.1, 0.4, 0.2), 3), ((0.3, 0.1, 0.2), 2), ((0.5, 0.5), 0)]
)
def test_median_of_an_even_number_of_runs_is_the_lower_of_the_middle_ones(values, wanted):
    runs = [
        SimpleNamespace(trial=SimpleNamespace(model="m"), value=v, seed_index=i) for i, v in enumerate(values)
    ]
    assert select_median(runs).seed_index == wanted
