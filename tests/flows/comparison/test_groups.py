"""Scores by group of sensitive columns: in compare's table, JSON and CSV, on the report's page, in MLflow."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from flows.comparison.groups import score_mean, tables_of_trial
from flows.report.report_data import gather_report_data
from flows.report.sections import build_sections
from flows.statistics.shares import wilson_interval
from infra.home import Home
from infra.ledger.rows import SweepRow
from infra.tracking.mapping import final_points
from tests.flows.ledger_sweeps import spec_of, trial_of, write_sweep

COUNTED = {
    "gender": {"female": {"rows": 50, "different": 40}, "male": {"rows": 200, "different": 200}},
    "region": {"a|b": {"rows": 250, "different": 240}, "(missing)": {"rows": 0, "different": 0}},
}
METRICS = {
    "val/accuracy": 0.88,
    "val/accuracy_gap": 0.1,
    "val/accuracy_gender=female": 0.8,
    "val/accuracy_gender=male": 0.9,
    "val/accuracy_region=a|b": 0.88,
}


@pytest.fixture
def people(home: Home) -> Home:
    trial = trial_of("text_cnn", 0, "complete", 0.88, metrics=METRICS)
    facts = {"data": {"parts": {"validation": 250}, "groups": COUNTED}}
    write_sweep(home, trials=(trial,), facts=facts)
    return home


def test_compare_gives_count_metric_and_interval_of_each_group(people: Home, velodrome: Any) -> None:
    (group,) = json.loads(velodrome("compare", "digits", "--no-latency", "--json").out)["groups"]
    gender, region = group["rows"][0]["groups"]
    assert (gender["column"], gender["metric"], gender["gap"]) == ("gender", "accuracy", pytest.approx(0.1))
    female, male = gender["groups"]
    assert (female["group"], female["examples"], female["value"]) == ("female", 50, 0.8)
    assert (female["low"], female["high"]) == wilson_interval(0.8, 40)  # copies tell nothing new
    assert (male["low"], male["high"]) == wilson_interval(0.9, 200)
    assert [score["group"] for score in region["groups"]] == ["a|b"]
    shown = " ".join(velodrome("compare", "digits", "--no-latency").out.split())
    low, high = wilson_interval(0.8, 40)
    assert f"gender female 50 accuracy 0.8 {low:.4g} to {high:.4g}" in shown
    assert "gender: accuracy 0.1 apart, 0.8 of female to 0.9 of male" in shown
    (row,) = csv.DictReader(io.StringIO(velodrome("compare", "digits", "--no-latency", "--csv").out))
    assert float(row["gap_gender"]) == pytest.approx(0.1)
    assert float(row["accuracy_gender=female"]) == 0.8


def test_report_has_a_table_of_groups(people: Home) -> None:
    material = gather_report_data("digits", people, latency=False)
    sections = {section.id: section for section in build_sections(material)}
    (table,) = sections["groups"].tables
    assert table.rows[0][:4] == ("gender", "female", "50", "accuracy")
    assert len(table.rows) == 3
    assert sections["groups"].remarks[0].startswith("text_cnn #0, gender: accuracy 0.1 apart")


def test_sweep_without_sensitive_columns_shows_no_groups(home: Home, velodrome: Any) -> None:
    write_sweep(home, trials=(trial_of("text_cnn", 0, "complete", 0.9),))
    (group,) = json.loads(velodrome("compare", "digits", "--no-latency", "--json").out)["groups"]
    assert group["rows"][0]["groups"] == []
    assert "by group" not in velodrome("compare", "digits", "--no-latency").out


def test_errors_by_group_have_the_interval_of_their_mean() -> None:
    error = np.abs(np.random.default_rng(0).normal(size=80))
    values = {"val/mae_gender=female": error.mean(), "val/rmse_gender=female": math.sqrt((error**2).mean())}
    counted = {"gender": {"female": {"rows": 80, "different": 80}}}
    ((score,),) = (table.scores for table in tables_of_trial(values, counted))
    wanted = stats.ttest_1samp(error, 0.0).confidence_interval(0.95)
    assert (score.low, score.high) == pytest.approx((wanted.low, wanted.high), rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_equal_errors_of_a_small_group_claim_no_certainty(count: int) -> None:
    """Of exponential errors the interval covers the mean in 95 of 100, by the quantiles of chi-square."""
    score = score_mean("few", 2.0, 0.0, count)
    ends = stats.chi2.isf([0.025, 0.975], 2 * count)
    assert (score.low, score.high) == pytest.approx(tuple(2 * count * 2.0 / ends))
    assert score.low < 2.0 < score.high


def test_metrics_by_group_have_a_section_of_their_own_in_mlflow(people: Home) -> None:
    sweep = SweepRow(
        id=1, spec=spec_of(), state="finished", fingerprint="f", facts={}, created_at=0.0, updated_at=0.0
    )
    trial = trial_of("text_cnn", 0, "complete", 0.88, metrics={**METRICS, "test/accuracy_gender=female": 0.7})
    names = {point[0] for point in final_points(sweep, trial)}
    assert "value by group/test accuracy_gender_female" in names
    assert "best/accuracy_gap" in names
