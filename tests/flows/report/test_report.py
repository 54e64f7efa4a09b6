"""The page: complete, self-contained, escaped, for every kind of sweep; kept in MLflow where it is there."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import pytest

import velodrome as public
from flows.report import report_data
from flows.report.model_importances import ModelImportances, importances_file
from flows.report.page import render_page
from flows.report.report import report
from flows.report.report_data import gather_report_data
from flows.report.sections import build_sections
from infra.tracking.attachments import AttachmentResult, attach_file
from infra.tracking.client import TrackingStore
from tests.flows.finished_sweeps import RANDOM, finish_sweep, rename_family
from tests.flows.ledger_sweeps import ACCURACY, LATENCY, spec_of, trial_of, write_sweep
from tests.infra.conftest import family, sweep

EVIL = "<script>alert(1)</script>"
PARTS = {
    "leaderboard", "history", "expected-best", "learning-curves", "parallel", "importances", "slices",
    "pruning", "failures", "reproduce",
}  # fmt: skip


def figures_in(page: str) -> list[dict]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    return json.loads(found.group(1))


def without_plotly(page: str) -> str:
    from flows.report.page import _plotly_script

    return page.replace(_plotly_script(), "")


@pytest.fixture
def digits(home):
    return finish_sweep(
        home, fail=(3,), git={"commit": "c0ffee", "dirty": True}, command="velodrome sweep d.yaml"
    )


def test_report_has_all_parts_and_plotly_accepts_every_figure(home, digits):
    import plotly.graph_objects as go

    material = gather_report_data("digits", home, latency=False)
    assert {section.id for section in build_sections(material)} == PARTS
    page = render_page(material)
    figures = figures_in(page)
    assert {figure["id"] for figure in figures} >= {
        "plot-history-0", "plot-expected", "plot-curves", "plot-parallel-0", "plot-parallel-1",
        "plot-importance-1", "plot-slice-1", "plot-ends",
    }  # fmt: skip
    for figure in figures:
        go.Figure({"data": figure["data"], "layout": figure["layout"]})  # raises on what it does not know
        assert page.count(f'id="{figure["id"]}"') == 1
    for text in (
        "c0ffee, with changes",
        "velodrome sweep d.yaml",
        "ffffffff",
        "never read",
        "boom",
        "it takes 10 complete trials",
    ):
        assert text in page


def test_report_page_refers_to_nothing_outside_itself(home, digits):
    page = html.unescape(without_plotly(render_page(gather_report_data("digits", home, latency=False))))
    assert not re.findall(r'(?:src|href)\s*=\s*"(?!#)', page)
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page
    assert "'unsafe-inline'" not in re.search(r"script-src[^;]*", page).group()


def test_report_escapes_hostile_names(home):
    plain = family()
    hostile = {"parameters": [{"name": EVIL, "type": "float", "low": 0.0, "high": 1.0}]}
    spec = replace(
        sweep(), name="digits", families=(rename_family(plain, EVIL, hostile),), data={"source": EVIL}
    )
    trials = [
        trial_of(EVIL, n, "complete", n / 10, params={EVIL: n / 9, "b": "%{x}</script>"}) for n in range(9)
    ]
    trials.append(trial_of(EVIL, 9, "failed", reason=f"error: {EVIL} \x1b[2J"))
    write_sweep(home, spec, trials=tuple(trials), facts={"command": EVIL, "git": {"commit": EVIL}})
    page = render_page(gather_report_data("digits", home, latency=False))
    assert EVIL not in page
    assert "\x1b" not in page
    texts = json.dumps(figures_in(page))
    assert "<script" not in texts
    assert "&lt;script&gt;" in texts
    assert page.count("</script>") == 3


def test_report_of_several_objectives_has_a_front(home):
    goals = (ACCURACY, LATENCY)
    finish_sweep(
        home,
        sweep(family(trials=12, pruner={"name": "none"}, sampler=RANDOM), name="digits", objectives=goals),
    )
    material = gather_report_data("digits", home, latency=False)
    page = render_page(material)
    assert {"plot-front", "plot-history-0", "plot-history-1"} <= {f["id"] for f in figures_in(page)}
    assert "Pareto front" in page
    assert len(material.importances) == 2


@pytest.mark.parametrize(
    "trials",
    [(), (trial_of("text_cnn", 0, "complete", 0.9),), (trial_of("text_cnn", 0, "failed", reason="error: x"),),
     (trial_of("text_cnn", 0, "pruned", float("nan")),), (trial_of("text_cnn", 0, "running"),),
     tuple(trial_of("text_cnn", n, "complete", 0.9, params={}) for n in range(2))],
    ids=["none", "one", "all failed", "not a number", "running", "nothing searched"],
)  # fmt: skip
def test_report_of_a_sweep_with_few_trials_is_complete(home, trials):
    write_sweep(home, trials=trials)
    page = render_page(gather_report_data("digits", home, latency=False))
    assert "How to reproduce" in page
    assert "NaN" not in without_plotly(page)


def test_report_of_a_thousand_trials_is_no_larger(home):
    trials = [
        trial_of("image_cnn", n, "complete" if n % 3 else "pruned", 0.5 + n / 4e3, epochs=40)
        for n in range(1_000)
    ]
    write_sweep(home, spec_of(trials=1_000), trials=tuple(trials))
    material = gather_report_data("digits", home, latency=False)
    assert len(material.curves) == 200
    assert len(without_plotly(render_page(material))) < 1_500_000


def test_report_command_writes_one_file_and_says_tracking_state(home, velodrome, tmp_path):
    write_sweep(home)
    ended = velodrome("report", "digits", "--out", tmp_path / "page.html", "--no-latency", "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    assert found["path"] == str(tmp_path / "page.html")
    assert found["mlflow_run_id"] is None
    assert "warning: nothing of this sweep" in ended.err
    assert (tmp_path / "page.html").stat().st_size == found["size_bytes"]
    assert list(tmp_path.glob(".page*")) == []
    plain = velodrome("report", "digits", "--no-latency")
    assert plain.out.endswith("digits-report.html\n")


def test_report_wrong_input_is_refused_and_writes_nothing(home, velodrome, tmp_path):
    write_sweep(home)
    assert "did you mean digits" in velodrome("report", "digit").err
    ended = velodrome("report", "digits", "--out", tmp_path / "no" / "page.html")
    assert ended.status == 2
    assert "--out must be" in ended.err
    assert velodrome("report", "digits", "--out", tmp_path).status == 2


def test_public_report_returns_sweep_and_size(home):
    write_sweep(home)
    found = public.report("digits", latency=False)
    assert found.sweep == "digits"
    assert found.size_bytes > 4_000_000


class Client:
    """A tracking client that knows one experiment with one run."""

    def __init__(self, *, away: bool = False) -> None:
        self.away, self.kept, self.key = away, {}, "/sweep"

    def get_experiment_by_name(self, name):
        return type("Experiment", (), {"experiment_id": "7"}) if name == "digits" else None

    def search_runs(self, experiments, query, max_results):
        assert experiments == ["7"]
        assert query.endswith(f"{self.key}'")
        info = type("Info", (), {"run_id": "run-1"})
        return [type("Run", (), {"info": info})]

    def log_artifact(self, run_id, path, folder):
        if self.away:
            raise OSError("connection refused to https://me:hunter2@mlflow.example")
        with open(path, "rb") as file:
            self.kept[run_id, folder, path.rpartition("/")[2]] = file.read()


@pytest.mark.parametrize("away", [False, True])
def test_report_is_logged_to_parent_run_or_says_why_not(home, monkeypatch, away):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    write_sweep(home)
    row, client = gather_report_data("digits", home, latency=False).sweep, Client(away=away)
    found = attach_file(row, home, b"page", "report.html", connect=lambda uri: TrackingStore(uri, client))
    if away:
        assert found.run_id is None
        assert "not kept" in found.trouble
        assert "hunter2" not in found.trouble
    else:
        assert found.run_id == "run-1"
        assert client.kept == {("run-1", None, "report.html"): b"page"}


def test_report_logs_what_each_best_model_answers_from_with_its_run(home, monkeypatch, tmp_path):
    logged = []

    def attach(sweep, place, content, name, *, trial=None, folder=None):
        logged.append((name, trial, folder, content[:20]))
        return AttachmentResult(run_id="run-1")

    write_sweep(home)
    table = ModelImportances(
        family="mlp", number=2, how="", kind="table", features=(("age, years", 1.5), ("sex", 0.25))
    )
    picture = ModelImportances(family="image_cnn", number=0, how="", kind="image", picture="UE5H")
    none = ModelImportances(family="gan", number=1, how="not explained: …")
    monkeypatch.setattr(report_data, "explain_best_models", lambda *given: (table, picture, none))
    monkeypatch.setattr("infra.tracking.attachments.attach_file", attach)
    monkeypatch.chdir(tmp_path)
    report("digits", latency=False, home=home)
    assert [entry[:3] for entry in logged] == [
        ("report.html", None, None),
        ("importances.csv", ("mlp", 2), "samples"),
        ("importances.png", ("image_cnn", 0), "samples"),
    ]
    assert [entry[3] for entry in logged[1:]] == [b"column,mean_absolute", b"PNG"]
    assert importances_file(table)[1].decode().splitlines()[1:] == ['"age, years",1.5', "sex,0.25"]


def test_a_file_for_a_trial_goes_to_its_run(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    write_sweep(home)
    row, client = gather_report_data("digits", home, latency=False).sweep, Client(away=False)
    client.key = "/search/mlp/2"
    attach_file(
        row, home, b"a", "b.csv", trial=("mlp", 2), folder="samples",
        connect=lambda uri: TrackingStore(uri, client),
    )  # fmt: skip
    assert client.kept == {("run-1", "samples", "b.csv"): b"a"}
