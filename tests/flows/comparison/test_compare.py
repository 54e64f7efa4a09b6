"""compare: what may be put in one order, filters, sorting, fronts, ties, latencies, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import pytest

import velodrome as public
from flows.comparison import latency
from flows.comparison.text import escape_latex
from infra.errors import WrongInput
from infra.spec import Objective
from tests.flows.ledger_sweeps import ACCURACY, spec_of, trial_of, write_sweep
from tests.trainers.bundle.test_bundle import linear_bundle

FACTS = {"trivial": {"val/accuracy": 0.11}, "data": {"parts": {"validation": 400}}}


def document(ended):
    assert ended.status == 0, ended.err
    return json.loads(ended.out)


def rows_of(ended):
    (group,) = document(ended)["groups"]
    return [(row["family"], row["number"]) for row in group["rows"]]


@pytest.fixture
def digits(home):
    facts = ({"size_bytes": 900.0, "latency_ms": 3.0}, {"size_bytes": 100.0, "latency_ms": 1.0})
    trials = [
        trial_of("text_cnn", 0, "complete", 0.91, facts=facts[0], params={"optimizer": "sgd"}),
        trial_of("text_cnn", 1, "complete", 0.90, facts=facts[1], metrics={"val/f1": 0.8}),
        trial_of("image_cnn", 0, "complete", 0.97, facts=facts[0]),
        trial_of("image_cnn", 1, "complete", 0.60, facts=facts[1], params={"optimizer": "rmsprop"}),
    ]
    write_sweep(home, trials=tuple(trials), facts=FACTS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [("image_cnn", 0), ("text_cnn", 0)]),
        (("--top", 2), [("image_cnn", 0), ("text_cnn", 0), ("text_cnn", 1), ("image_cnn", 1)]),
        (("--top", 2, "--sort", "size_bytes"), [
            ("text_cnn", 1), ("image_cnn", 1), ("text_cnn", 0), ("image_cnn", 0)]),
        (("--top", 2, "--sort", "family", "--where", "accuracy>0.65"), [
            ("image_cnn", 0), ("text_cnn", 0), ("text_cnn", 1)]),
        (("--top", 2, "--sort", "f1"), [
            ("text_cnn", 1), ("text_cnn", 0), ("image_cnn", 0), ("image_cnn", 1)]),
        (("--top", 2, "--where", "family=*_cnn", "--where", "param.optimizer=sgd|rmsprop"), [
            ("text_cnn", 0), ("image_cnn", 1)]),
        (("--top", 2, "--where", "param.optimizer!=adam", "--where", "latency_ms <= 1"), [("image_cnn", 1)]),
        (("--where", "val/f1>=0"), []),
    ],
)  # fmt: skip
def test_compare_sorts_and_filters_rows_by_its_options(digits, velodrome, options, expected):
    options = ("--top", 2, *options) if "val/f1>=0" in options else options
    expected = expected or [("text_cnn", 1)]
    assert rows_of(velodrome("compare", "digits", "--no-latency", "--json", *options)) == expected


@pytest.mark.parametrize(
    "where", ["family=hb:plane", "family=x|hb.plane", "family=hb:pl*", "family!=hb:other"]
)
def test_compare_finds_own_code_as_in_the_file_or_by_its_label(home, velodrome, where):
    plane = replace(spec_of().families[0], name="hb.plane", reference="hb:plane")
    trials = (trial_of("hb.plane", 0, "complete", 0.9),)
    write_sweep(home, replace(spec_of(), families=(plane,)), trials=trials, facts=FACTS)
    found = rows_of(velodrome("compare", "digits", "--no-latency", "--json", "--where", where))
    assert found == [("hb.plane", 0)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("param.mixed=1", [0]),
        ('param.mixed="1"', [1]),
        ('param.mixed="true"', [2]),
        ("param.mixed=true", [3]),
        ("param.mixed=1.0", [4]),
        ("param.mixed=null", [5]),
        ('param.mixed="null"', [6]),
        ("param.mixed=[1, 2]", [7]),
        ('param.mixed="[1, 2]"', [8]),
    ],
)
def test_compare_tells_a_text_from_the_value_that_it_reads_as(home, velodrome, where, expected):
    trials = (
        trial_of("image_cnn", number, "complete", 0.9, params={"mixed": value})
        for number, value in enumerate([1, "1", "true", True, 1.0, None, "null", [1, 2], "[1, 2]"])
    )
    write_sweep(home, trials=tuple(trials), facts=FACTS)
    found = rows_of(velodrome("compare", "digits", "--no-latency", "--json", "--top", 9, "--where", where))
    assert [number for _, number in found] == expected


def test_compare_filters_by_a_metric_whose_name_has_an_equals_sign(home, velodrome):
    metrics = ({"val/recall(k=5)": value} for value in (0.25, 0.75))
    trials = (trial_of("image_cnn", n, "complete", 0.9, metrics=m) for n, m in enumerate(metrics))
    write_sweep(home, trials=tuple(trials), facts=FACTS)
    asked = ("compare", "digits", "--no-latency", "--json", "--top", 2, "--where")
    assert rows_of(velodrome(*asked, "recall(k=5)>0.5")) == [("image_cnn", 1)]
    assert rows_of(velodrome(*asked, "recall(k=5) = 0.25")) == [("image_cnn", 0)]


def test_screens_tell_a_text_from_the_value_that_it_reads_as(home, velodrome):
    values = [1, "1", "true", True, 1.0, None, "null", "none", "", [1, 2], "[1, 2]"]
    trials = (
        trial_of("image_cnn", number, "complete", 0.9, params={"mixed": value})
        for number, value in enumerate(values)
    )
    write_sweep(home, trials=tuple(trials), facts=FACTS)
    ways = (
        ["compare", "digits", "--no-latency", "--top", 11],
        *(["show", "digits", "--family", "image_cnn", "--trial", number] for number in range(11)),
    )
    said = "".join(velodrome(*way).out for way in ways)
    listed = velodrome("status", "digits").out
    for text in ("1", '"1"', '"true"', "true", "1.0", "null", '"null"', "none", '""', "[1, 2]", '"[1, 2]"'):
        assert len(re.findall(rf"mixed={re.escape(text)} *\n", said)) == 2
        assert len(re.findall(rf"  {re.escape(text)} *\n", listed)) == 1


def test_status_shows_a_parameter_whose_values_only_python_takes_for_one(home, velodrome):
    trials = (
        trial_of("image_cnn", number, "complete", 0.9, params={"flag": flag, "same": [1]})
        for number, flag in enumerate([1, True])
    )
    write_sweep(home, trials=tuple(trials), facts=FACTS)
    listed = velodrome("status", "digits").out
    assert ("flag" in listed, "same" in listed) == (True, False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sort", "acuracy"), "did you mean 'accuracy'"),
        (("--where", "famly=x"), "did you mean 'family'"),
        (("--where", "family"), "COLUMN OP VALUE"),
        (("--where", "accuracy>high"), "must stand a number"),
        (("--where", "__import__('os')=1"), "must name a column"),
        (("--pareto", "accuracy,latncy_ms"), "did you mean 'latency_ms'"),
        (("--pareto", "accuracy"), "two columns"),
        (("--pareto", "accuracy,family"), "one end is better"),
        (("--csv", "--json"), "exclude"),
        (("other",), "no other in"),
    ],
)
def test_compare_unknown_column_is_refused_with_the_nearest(digits, velodrome, options, said):
    ended = velodrome("compare", "digits", "--no-latency", *options)
    assert ended.status == 2
    assert said in ended.err
    assert ended.out == ""


def test_compare_of_one_column_marks_no_front(home, velodrome):
    trials = [trial_of("text_cnn", n, "complete", 0.5 + n / 10, facts={}) for n in range(2)]
    write_sweep(home, trials=tuple(trials), facts=FACTS)
    (group,) = document(velodrome("compare", "digits", "--top", "2", "--json"))["groups"]
    assert (group["front_over"], [row["on_front"] for row in group["rows"]]) == ([], [False, False])
    assert "Pareto" not in velodrome("compare", "digits", "--top", "2").out


def test_compare_front_of_two_columns_uses_their_directions(digits, velodrome):
    ended = velodrome(
        "compare", "digits", "--top", 2, "--no-latency", "--pareto", "accuracy,latency_ms", "--json"
    )
    (group,) = document(ended)["groups"]
    assert group["front_over"] == ["accuracy", "latency_ms"]
    front = {(row["family"], row["number"]) for row in group["rows"] if row["on_front"]}
    assert front == {("image_cnn", 0), ("text_cnn", 1)}


@pytest.mark.parametrize(
    ("spec", "fingerprint", "said"),
    [
        (spec_of("other"), "e" * 32, "saw different data"),
        (replace(spec_of("other"), data={"split": {"salt": 1}}), "f" * 32, "split the data differently"),
        (spec_of("other", objectives=(Objective(metric="val/f1", direction="maximize"),)), "f" * 32,
         "different objectives"),
    ],
)  # fmt: skip
def test_compare_incomparable_sweeps_are_ranked_apart(home, velodrome, spec, fingerprint, said):
    write_sweep(home)
    write_sweep(home, spec, fingerprint=fingerprint)
    found = document(velodrome("compare", "digits", "other", "--json"))
    assert found["comparable"] is False
    assert [{row["sweep"] for row in group["rows"]} for group in found["groups"]] == [{"digits"}, {"other"}]
    assert said in found["warnings"][0]
    assert "not comparable" in velodrome("compare", "digits", "other").out
    assert "not comparable" in velodrome("compare", "digits", "other", "--csv").err


def test_compare_split_with_defaults_written_out_is_comparable(home, velodrome):
    write_sweep(home)
    write_sweep(home, replace(spec_of("other"), data={"split": {"train": 0.8}}))
    assert document(velodrome("compare", "digits", "other", "--json"))["comparable"] is True


def test_compare_data_read_by_own_code_carries_a_note(home, velodrome):
    write_sweep(home, fingerprint="none")
    write_sweep(home, spec_of("other"), fingerprint="none")
    (group,) = document(velodrome("compare", "digits", "other", "--json"))["groups"]
    assert "nobody can say" in group["note"]


def confirmation_trials(number, values):
    made = [
        trial_of("image_cnn", 10 * number + n, "complete", v, origin={"number": number, "seed_index": n})
        for n, v in enumerate(values)
    ]
    for trial in made:
        trial.role = "confirm"
    return made


def test_compare_judges_neighbours_by_fresh_seeds(home, velodrome):
    searched = [trial_of("image_cnn", n, "complete", v) for n, v in enumerate((0.95, 0.94, 0.93))]
    seeds = (
        *confirmation_trials(0, (0.90, 0.92, 0.91)),
        *confirmation_trials(1, (0.91, 0.92, 0.91)),
        *confirmation_trials(2, (0.5, 0.51, 0.52)),
    )
    write_sweep(home, trials=(*searched, *seeds), facts=FACTS)
    ended = velodrome("compare", "digits", "--top", 3, "--no-latency", "--json")
    (group,) = document(ended)["groups"]
    assert group["ordered_by"] == "confirmed"  # 1 before 0, though the search thought otherwise
    assert [row["number"] for row in group["rows"]] == [1, 0, 2]
    assert [tie["tied"] for tie in group["ties"]] == [True, False]
    assert group["rows"][0]["error"]["over"] == "seeds"
    assert (
        "cannot be told apart: image_cnn #1 and image_cnn #0"
        in velodrome("compare", "digits", "--top", 3).out
    )


def test_compare_judges_neighbours_by_validation_examples_or_not(home, velodrome):
    write_sweep(home, facts=FACTS)
    (group,) = document(velodrome("compare", "digits", "--no-latency", "--json"))["groups"]
    assert group["rows"][0]["error"]["std"] == pytest.approx((396 / 404 * 8 / 404 / 404) ** 0.5)
    assert group["rows"][0]["error"]["over"] == "examples"
    assert group["ties"][0]["tied"] is False
    loss = Objective(metric="val/loss", direction="minimize")
    write_sweep(home, spec_of("losses", objectives=(loss,)))
    (group,) = document(velodrome("compare", "losses", "--json"))["groups"]
    assert group["rows"][0]["error"] is None
    assert group["ties"][0]["tied"] is None


def test_compare_of_few_examples_claims_no_certainty(home, velodrome):
    """All 36 right and nine tenths of them: Fisher's test has a p of 0.12."""
    searched = [trial_of("image_cnn", n, "complete", v) for n, v in enumerate((1.0, 0.9))]
    write_sweep(home, trials=searched, facts={"data": {"parts": {"validation": 36}}})
    (group,) = document(velodrome("compare", "digits", "--top", 2, "--no-latency", "--json"))["groups"]
    assert group["rows"][0]["error"]["std"] > 0.03
    assert group["ties"][0]["tied"] is True


def test_compare_held_seconds_sum_over_attempts_and_have_a_price(home, velodrome):
    """By what was counted: the clock was set forward by three hours within the second attempt."""
    spec = replace(spec_of("digits"), prices={"gpu_hour": 3600.0, "cpu_hour": 360.0})
    twice = trial_of("image_cnn", 1, "complete", 0.985, seconds=9.0)
    write_sweep(home, spec, trials=(trial_of("text_cnn", 0, "complete", 0.97), twice))
    from infra.ledger.batch import WriteBatch
    from infra.ledger.store import Ledger

    ledger, batch = Ledger(home.ledger_url), WriteBatch()
    columns = {"role": "search", "family": "image_cnn", "number": 1, "ordinal": 2, "lane": "l"}
    facts = json.dumps({"workers": 2, "gpus": 0.5, "cpus": 2.0, "seconds_before": 2.0})
    batch.set_attempt(
        "again", **columns, lane_facts=facts, started_at=10.0, ended_at=10_817.0, outcome="complete"
    )
    ledger.add_events(1, batch)
    ledger.close()
    (group,) = document(velodrome("compare", "digits", "--json"))["groups"]
    assert group["rows"][0]["costs"]["gpu_seconds"] == pytest.approx(7.0)
    assert group["rows"][0]["costs"]["cpu_seconds"] == pytest.approx(28.0)
    assert group["rows"][0]["costs"]["price"] == pytest.approx(7.0 + 2.8)
    assert group["rows"][1]["costs"]["gpu_seconds"] is None


def test_compare_costs_that_a_trial_says_itself_come_before_held_seconds(home, velodrome):
    said = {"cpu_seconds": 12.0, "gpu_seconds": 0.0, "price": 0.2, "energy_joules": 4200.0}
    spec = replace(spec_of("digits"), prices={"gpu_hour": 3600.0, "cpu_hour": 360.0})
    write_sweep(home, spec, trials=(trial_of("image_cnn", 0, "complete", 0.9, facts=said),))
    shown = velodrome("compare", "digits", "--where", "energy_joules<5000", "--sort", "price")
    assert "4.2 kJ" in shown.out
    assert "GPU time" not in shown.out
    (group,) = document(velodrome("compare", "digits", "--json", "--pareto", "accuracy,price"))["groups"]
    assert said.items() - {("gpu_seconds", 0.0)} <= group["rows"][0]["costs"].items()
    assert group["rows"][0]["costs"]["gpu_seconds"] is None


# -- latency -----------------------------------------------------------------------------------------------


@pytest.fixture
def kept(home, monkeypatch):
    """A sweep whose best trial has its model."""
    monkeypatch.setattr(latency, "BUDGET_S", 0.05)
    linear_bundle(home.storage / "model")
    write_sweep(home, trials=(trial_of("image_cnn", 0, "complete", 0.9, model="model"),))


def test_compare_measures_latency_of_a_model_once(home, kept, velodrome):
    first = velodrome("compare", "digits", "--json")
    assert "measuring the latency of 1 model" in first.err
    again = velodrome("compare", "digits", "--json")
    assert "measuring" not in again.err
    (row,) = document(again)["groups"][0]["rows"]
    assert document(first)["groups"][0]["rows"] == [row]
    assert row["latency_from"] == "measured"
    costs = row["costs"]
    assert 0 < costs["latency_ms"] <= costs["latency_p99_ms"]
    assert 0 < costs["latency_batch_ms"] <= costs["latency_batch_p99_ms"]
    (file,) = home.latencies.rglob("*.json")
    assert json.loads(file.read_text())["loaded_from"] == "bundle"


def test_compare_damaged_measurement_is_made_anew_per_model(home, kept, monkeypatch):
    asked = []

    def measured(wanted, tell, **_limits):
        asked.extend(entry.manifest for entry in wanted)
        for entry in wanted:
            yield entry.manifest, dict.fromkeys(latency.LATENCIES, 2.0)

    monkeypatch.setattr(latency, "measure_models", measured)
    assert public.compare("digits").rows[0].costs["latency_ms"] == 2.0
    next(iter(home.latencies.rglob("*.json"))).write_text("{")
    public.compare("digits")
    public.compare("digits")
    assert len(asked) == 2
    assert public.compare("digits", latency=False).rows[0].latency_from == "lane"


def test_compare_unmeasurable_model_is_reported_not_measured(home, velodrome):
    linear_bundle(home.storage / "model")
    write_sweep(home, trials=(trial_of("image_cnn", 0, "complete", 0.9, model="model"),))
    (home.storage / "model" / "weights.safetensors").write_bytes(b"x")
    ended = velodrome("compare", "digits", "--json")
    assert "not measured: " in ended.err
    assert document(ended)["groups"][0]["rows"][0]["latency_from"] == "lane"


def test_latency_measurement_stops_at_its_time_limit(home, kept):
    said = []
    rows = public.compare("digits", latency=False).rows
    wanted = [latency.LatencyJob(manifest=row.manifest, folder=row.model) for row in rows]
    assert list(latency.measure_models(wanted, said.append, start_s=0.05, each_s=0.0)) == []
    assert "took too long" in said[0]


# -- forms -------------------------------------------------------------------------------------------------


def test_compare_latex_escapes_hostile_names(home, velodrome):
    write_sweep(home, facts=FACTS)
    out = velodrome("compare", "digits", "--no-latency", "--latex").out
    assert r"\begin{tabular}{lrrrrrr}" in out
    assert r"image\_cnn & $0.985 \pm 0.0069$ & 0.11 &" in out
    lines = [line for line in out.splitlines() if " & " in line]
    assert {line.count(" & ") for line in lines} == {6}
    assert escape_latex(r"\input{x}$a_b%") == r"\textbackslash{}input\{x\}\$a\_b\%"


def test_compare_csv_disarms_spreadsheet_formulas(home, velodrome):
    write_sweep(home, trials=(trial_of("text_cnn", 0, "complete", 0.9, params={"a": "=1+1", "b": -2.0}),))
    (line,) = csv.DictReader(io.StringIO(velodrome("compare", "digits", "--csv").out))
    assert (line["param.a"], line["param.b"]) == ("'=1+1", "-2.0")


def test_public_compare_takes_the_options_of_the_command(digits):
    options = {"sort": "latency_ms", "where": ["accuracy>0.5"], "pareto": ("f1", "accuracy")}
    found = public.compare("digits", top=2, latency=False, **options)
    assert [row.number for row in found.rows] == [1, 1, 0, 0]
    assert found.groups[0].ordered_by == "latency_ms"
    with pytest.raises(WrongInput, match="at least one"):
        public.compare()
    assert found.groups[0].objectives == (ACCURACY,)
