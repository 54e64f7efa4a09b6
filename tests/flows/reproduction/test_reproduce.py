"""reproduce: the same bits, what is close, what differs, and what cannot be trained again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import update

import velodrome as public
from flows.config.lookup import open_sweep
from flows.reproduction.result import (
    Deviation,
    decide_verdict,
    is_repeatable,
    pair_reports,
    select_deviations,
)
from infra.errors import RefusedError, WrongInput
from infra.home import tracking_uri
from infra.ledger import schema, views
from infra.ledger.batch import WriteBatch
from infra.tracking.mapping import sweep_identity, trial_key
from infra.tracking.outbox import Outbox, SentState
from tests.flows.ledger_sweeps import spec_of, trial_of, write_sweep
from tests.flows.real_trials import change_facts, train_and_write

LINEAR = """
name: sugar
data: {source: "builtin:diabetes"}
budget: {trials: 1, epochs: 3}
families:
  linear_regression: {}
"""
PARAMS = {"learning_rate": 0.05, "optimizer": "adam", "batch_size": 64}
OWN = """
name: own
data: {source: none}
objective: {metric: accuracy}
budget: {trials: 1, epochs: 2}
families:
  mine_again:train:
    space: {a: {type: float, low: 0, high: 1}}
"""
FUNCTION = """
import random
def train(trial):
    for epoch in trial.epochs():
        trial.report(accuracy=trial.params["a"] + random.random() NOISE, seconds=0.1 * epoch)
"""


@pytest.fixture
def linear(home):
    Path("sugar.yaml").write_text(LINEAR)
    return train_and_write(home, "sugar.yaml", PARAMS)


def change_trial(home, name, **changes):
    ledger, row = open_sweep(name, home)
    (trial,) = views.trials(ledger, row.id)
    batch = WriteBatch()
    for field, value in changes.items():
        setattr(trial, field, value)
    batch.add_event("changed", 1.0, {}, trial)
    ledger.add_events(row.id, batch)
    ledger.close()


def test_reproduce_unchanged_trial_is_identical(home, linear, velodrome):
    found = public.reproduce("sugar", trial=0)
    assert (found.verdict, found.weights, found.deviations) == ("identical", True, ())
    assert found.epochs == 3
    assert found.compared > 3 * 4
    assert [entry.metric for entry in found.judged] == ["val/mse"]
    ended = velodrome("reproduce", "sugar", "--trial", "0", "--json")
    assert ended.status == 0
    assert json.loads(ended.out)["verdict"] == "identical"
    ledger, row = open_sweep("sugar", home)
    assert views.count_events(ledger, row.id, "test-read") == 0
    ledger.close()


def test_reproduce_finds_a_run_by_its_mlflow_id(home, linear):
    ledger, row = open_sweep("sugar", home)
    ledger.close()
    outbox = Outbox(home.outbox, tracking_uri(home, row.spec), sweep_identity(row))
    outbox.put(trial_key(sweep_identity(row), *linear.key), SentState(run_id="a" * 32))
    outbox.put(f"{sweep_identity(row)}/sweep", SentState(run_id="b" * 32))
    outbox.close()
    assert public.reproduce("a" * 32).verdict == "identical"
    with pytest.raises(WrongInput, match="one trial's"):
        public.reproduce("b" * 32)
    with pytest.raises(WrongInput, match="in this home's ledger"):
        public.reproduce("c" * 32)


def test_reproduce_deviating_metric_is_reported_with_its_size(home, linear, velodrome):
    metrics = {**linear.metrics, "val/mse": linear.metrics["val/mse"] * 1.001}
    change_trial(home, "sugar", metrics=metrics)
    found = public.reproduce("sugar", trial=0)
    assert found.verdict == "within-tolerance"
    assert found.deviations[0].metric == "val/mse"
    assert found.deviations[0].relative == pytest.approx(0.001, rel=0.01)
    ended = velodrome("reproduce", "sugar", "--trial", "0", "--tolerance", "0.0001")
    assert ended.status == 3
    assert "came out otherwise" in ended.out
    assert "% apart" in ended.out


def test_reproduce_names_versions_and_device_that_differ(home, linear, velodrome):
    ledger, row = open_sweep("sugar", home)
    ledger.close()
    change_facts(home, "sugar", versions={**row.facts["versions"], "torch": "1.0"}, git={"commit": "c0ffee"})
    change_facts(home, "sugar", code_changed=["linear_regression"])
    found = public.reproduce("sugar", trial=0)
    assert found.verdict == "identical"
    named = {one.name: one for one in found.circumstances}
    assert set(named) == {"torch", "commit", "code"}
    assert named["torch"].recorded == "1.0"
    assert "was 1.0, is" in velodrome("reproduce", "sugar", "--trial", "0").out


def test_reproduce_of_pruned_run_stops_where_it_was_pruned(home):
    Path("sugar.yaml").write_text(LINEAR)
    trial = train_and_write(home, "sugar.yaml", PARAMS, prune_at=2)
    assert trial.state == "pruned"
    found = public.reproduce("sugar", trial=0)
    assert (found.verdict, found.epochs, found.weights) == ("identical", 2, None)


def test_reproduce_with_changed_data_or_code_is_refused(home, velodrome, monkeypatch):
    Path("rows.csv").write_text("a,b\n" + "".join(f"{i},{2 * i + 1}\n" for i in range(60)))
    text = LINEAR.replace('{source: "builtin:diabetes"}', '{source: "csv:rows.csv", columns: {target: b}}')
    Path("sugar.yaml").write_text(text)
    train_and_write(home, "sugar.yaml", PARAMS)
    assert public.reproduce("sugar", trial=0).verdict == "identical"
    with Path("rows.csv").open("a") as rows:
        rows.write("77,3\n")
    ended = velodrome("reproduce", "sugar", "--trial", "0")
    assert ended.status == 2
    assert "fingerprint" in ended.err

    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("mine_again.py").write_text(FUNCTION.replace("NOISE", ""))
    Path("own.yaml").write_text(OWN)
    train_and_write(home, "own.yaml", {"a": 0.5})
    found = public.reproduce("own", trial=0)
    assert found.verdict == "identical"
    assert all("seconds" not in entry.metric for entry in found.judged)
    Path("mine_again.py").write_text(FUNCTION.replace("NOISE", "* 0"))
    ended = velodrome("reproduce", "own", "--trial", "0")
    assert ended.status == 2
    assert "another source of mine_again.train" in ended.err


def test_reproduce_unfinished_or_multi_worker_trial_is_refused(home, linear):
    write_sweep(home, spec_of("other"), trials=(trial_of("text_cnn", 0, "failed"),))
    write_sweep(home, spec_of("going"), state="running", trials=(trial_of("text_cnn", 0, "running"),))
    for name in ("other", "going"):
        with pytest.raises(WrongInput, match="complete or pruned"):
            public.reproduce(name, trial=0)
    for run, options, words in (
        ("nosuch", {"trial": 0}, "must be in the ledger"),
        ("sugar", {"trial": 7}, "trial of that number"),
        ("sugar", {}, "--trial N"),
        ("sugar", {"trial": 0, "tolerance": 1.5}, "--tolerance"),
    ):
        with pytest.raises(WrongInput, match=words):
            public.reproduce(run, **options)
    ledger, row = open_sweep("sugar", home)
    two = update(schema.attempts).values(lane_facts=json.dumps({"workers": 2}))
    ledger.run_transaction(
        lambda connection: connection.execute(two.where(schema.attempts.c.sweep_id == row.id))
    )
    ledger.close()
    with pytest.raises(WrongInput, match="one worker"):
        public.reproduce("sugar", trial=0)


def test_reproduce_that_fails_in_training_is_refused(home, linear):
    change_trial(home, "sugar", params={**PARAMS, "learning_rate": 1e30, "optimizer": "sgd"})
    with pytest.raises(RefusedError, match="train to its end"):
        public.reproduce("sugar", trial=0)


def test_reproduce_verdict_depends_on_numbers_alone():
    same, near = ({"val/a": 0.5, "train/epoch_seconds": 1.0}, {"val/a": 0.504, "system/ram": 2.0})
    compared = pair_reports({1: same}, {1: near})
    assert [entry.metric for entry in compared] == ["val/a"]
    (off,) = select_deviations(compared)
    judged = [off]
    assert decide_verdict([], judged, None, 0.01) == "identical"
    assert decide_verdict([], judged, False, 0.01) == "within-tolerance"
    assert decide_verdict([off], judged, None, 0.01) == "within-tolerance"
    assert decide_verdict([off], judged, None, 0.001) == "different"
    assert decide_verdict([], [], None, 0.01) == "different"
    missing = Deviation(metric="val/a", epoch=None, recorded=0.5, found=None)
    assert decide_verdict([missing], [missing], None, 0.9) == "different"
    assert pair_reports({1: {"val/a": 1.0}}, {}) == [
        Deviation(metric="val/a", epoch=1, recorded=1.0, found=None)
    ]
    assert not is_repeatable("val/latency_ms")
