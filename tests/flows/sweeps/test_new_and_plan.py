"""new writes files that load; plan tries what can fail and says what a sweep needs."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from flows.config.loading import load_sweep
from flows.config.lookup import open_sweep
from flows.config.resolving import resolve_families, resolve_sweep
from flows.config.writing.first_choices import first_choices
from flows.config.writing.sweep_text import sweep_text
from flows.sweeps import planned_lanes
from flows.sweeps.new import new, sweep_name
from flows.sweeps.plan import plan
from flows.sweeps.preparation import prepare_sweep, sweep_facts
from flows.sweeps.recorded_state import check_recorded_sweep
from flows.sweeps.screens import print_plan
from infra.coordinator.placement import Node
from infra.errors import WrongInput
from infra.ledger import views
from tests.flows.ledger_sweeps import spec_of, write_sweep
from tests.trainers.data.conftest import former_fingerprint
from tests.trainers.families.cases import texts
from tests.trainers.families.test_bert import TinyBert, model
from tests.trainers.pretrained.test_pretrained_try_out import BERT
from trainers.data_profile import DataProfile, TargetLeak
from trainers.functions.separate_process import run_here


def test_new_writes_a_file_that_loads_with_fitting_families(home, velodrome):
    ended = velodrome("new", "builtin:digits", "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    assert found["families"][:3] == ["image_cnn", "mlp", "rnn"]
    assert found["metric"] == "accuracy"
    assert 0 < found["data"]["guess"]["value"] < 0.3
    text = Path("digits.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=velodrome.schema.json\n")
    assert "families" in json.loads(Path("velodrome.schema.json").read_text())["properties"]
    spec = resolve_sweep(load_sweep("digits.yaml"), default_metric="accuracy")
    assert [family.name for family in spec.families] == found["families"]
    assert spec.objectives[0].metric == "val/accuracy"


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ("train.py", "python train.py"),
        ("./run.sh", "./run.sh"),
        ("env A=1 python t.py", "env A=1 python t.py"),
    ],
)
@pytest.mark.parametrize("verb", [new, plan])
def test_script_in_place_of_a_file_is_refused_with_the_family_to_write(home, verb, given, command):
    with pytest.raises(WrongInput, match=f"a script must be a family .*; but got {given}") as raised:
        verb(given)
    families = raised.value.do.removeprefix("write ").partition(" into a sweep file")[0]
    head = "name: made\ndata: {source: none}\nobjective: {metric: accuracy}\n"
    Path("made.yaml").write_text(f"{head}{families}\n")
    spec = resolve_sweep(load_sweep("made.yaml"), default_metric="accuracy")
    assert spec.families[0].options["command"] == f"{command} ${{args}}"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("model.pt", ("mine: it wrote model.pt where it is called, .*: have it write below",)),
        ("${directory}/model.pt", ()),
    ],
)
def test_plan_warns_of_a_command_that_writes_where_all_trials_do(home, monkeypatch, place, said):
    monkeypatch.setattr("flows.sweeps.dry_run.run_apart", run_here)
    Path("mine.yaml").write_text(
        "name: mine\ndata: {source: none}\nobjective: {metric: accuracy}\nfamilies:\n  mine:\n"
        f"    command: sh -c 'echo $1 > $0; echo acc=0.1' {place} ${{lr}}\n"
        "    metrics: {accuracy: 'acc=(.*)'}\n    space: {lr: {type: float, low: 0.1, high: 1.0}}\n"
    )
    planned = plan("mine.yaml")
    assert planned.families[0].stack == "one by one: a command is called once a trial"
    assert len(planned.warnings) == len(said)
    assert all(re.match(*pair) for pair in zip(said, planned.warnings, strict=True))


@pytest.mark.parametrize(
    ("arguments", "form", "space", "said"),
    [
        ("${args}", "dashes", "bias: {type: categorical, choices: [true, false]}", True),
        ("${args}", "dashes", "bias: false", True),
        ("${args}", "dashes", "bias: true", False),
        ("${args}", "dashes", "bias: {type: categorical, choices: [0, 1]}", False),
        ("${args}", "switches", "bias: {type: categorical, choices: [true, false]}", False),
        ("${args}", "equals", "bias: false", False),
        ("--bias ${bias}", "dashes", "bias: {type: categorical, choices: [true, false]}", False),
    ],
)
def test_plan_warns_of_a_false_flag_that_no_word_says(home, monkeypatch, arguments, form, space, said):
    monkeypatch.setattr("flows.sweeps.dry_run.run_apart", run_here)
    Path("mine.yaml").write_text(
        "name: mine\ndata: {source: none}\nobjective: {metric: accuracy}\nfamilies:\n  mine:\n"
        f"    command: echo acc=0.1 {arguments}\n    args: {form}\n"
        f"    metrics: {{accuracy: 'acc=([0-9.]+)'}}\n    space:\n      {space}\n"
    )
    warnings = plan("mine.yaml").warnings
    assert any(re.search("a false bias is left out.*args: switches", text) for text in warnings) == said


def test_plan_tells_a_command_of_several_workers_its_rank(home, monkeypatch):
    monkeypatch.setattr("flows.sweeps.dry_run.run_apart", run_here)
    Path("mine.yaml").write_text(
        "name: mine\ndata: {source: none}\nobjective: {metric: accuracy}\nresources: {workers: 2, gpus: 0}\n"
        "families:\n  mine:\n    command: sh -c 'echo acc=0.$RANK$WORLD_SIZE' ${lr}\n"
        "    metrics: {accuracy: 'acc=(0.01)'}\n    space: {lr: {type: float, low: 0.1, high: 1.0}}\n"
    )
    assert plan("mine.yaml").families


def test_new_for_table_in_another_folder_keeps_its_path(home):
    lines = ["x,y,out put"] + [f"{n},{n * n % 7},{n * 0.5}" for n in range(60)]
    Path("rows.csv").write_text("\n".join(lines) + "\n")
    Path("sweeps").mkdir()
    result = new("csv:rows.csv", target="out put", output="sweeps/rows.yaml")
    assert result.families == ("linear_regression", "gradient_boosting", "mlp")
    assert {giveaway.column for giveaway in result.look.giveaways} <= {"x", "y"}
    file = load_sweep("sweeps/rows.yaml")
    assert (file.folder / file.data["source"].removeprefix("csv:")).resolve() == Path("rows.csv").resolve()
    assert file.data["columns"]["target"] == "out put"


def test_new_writes_the_encoding_that_a_file_seems_to_be_in(home):
    towns = ["Омск", "Тула", "Казань", "Москва", "Самара", "Уфа", "Пермь", "Воронеж", "Саратов", "Ижевск"]
    lines = ["город,y", *(f"{towns[n % 10]} большой,{n % 10 / 2}" for n in range(60))]
    Path("rows.csv").write_bytes("\n".join(lines).encode("koi8-r"))
    result = new("csv:rows.csv", target="y")
    assert result.look.columns == {"город": "category"}
    assert load_sweep(result.path).data["read"] == {"encoding": "koi8_r"}


def test_new_for_table_of_two_classes_chooses_classifiers(home):
    result = new("builtin:cancer")
    assert result.families == ("logistic_regression", "gradient_boosting", "mlp")
    assert result.metric == "accuracy"
    assert [family.name for family in resolve_families(load_sweep("cancer.yaml"))] == list(result.families)


def test_new_replaces_no_existing_file(home):
    Path("digits.yaml").write_text("mine")
    with pytest.raises(WrongInput, match=r"digits\.yaml is there"):
        new("builtin:digits")
    assert Path("digits.yaml").read_text() == "mine"
    Path("link.yaml").symlink_to("nowhere.yaml")
    with pytest.raises(WrongInput):
        new("builtin:digits", output="link.yaml")
    assert not Path("nowhere.yaml").exists()


@pytest.mark.parametrize("source", ["csv:nope.csv", "buitlin:digits", "builtin:digit", "", "csv:"])
def test_new_for_unreadable_source_writes_nothing(home, velodrome, source):
    assert velodrome("new", source).status == 2
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("source", "meant"),
    [("houses.csv", "csv:houses.csv"), ("Day.PARQUET", "parquet:Day.PARQUET"), ("a/b.npz", "npz:a/b.npz")],
)
def test_new_for_bare_path_suggests_its_source_kind(home, velodrome, source, meant):
    ended = velodrome("new", source)
    assert ended.status == 2
    assert f"write {meant}" in ended.err


@pytest.mark.parametrize(
    ("source", "name"),
    [("builtin:digits", "digits"), ("csv:data/Churn 2024.csv", "churn-2024"), ("images:../Pets/", "pets"),
     ("hf:user/some_set", "some_set"), ("csv:...", "csv"), ("csv:日本.csv", "csv"), ("none", "none")],
)  # fmt: skip
def test_name_of_any_source_is_a_valid_sweep_name(source, name):
    assert sweep_name(source) in {name, "sweep"}


def test_new_keeps_hostile_column_names_within_their_line(home):
    evil = 'a"\nfamilies: {evil: {}} # '
    seen = DataProfile(
        rows=3, kind="table", task="regression", source="csv:x.csv", fingerprint="", columns={evil: "number"},
        parts={"train": 3}, missing={evil: 1}, giveaways=(TargetLeak(column=evil, metric="r2", value=1.0),),
        notes=(evil,),
    )  # fmt: skip
    data = {"source": "csv:x.csv", "columns": {"target": evil}}
    choices = first_choices(seen, ["linear_regression"])
    Path("x.yaml").write_text(sweep_text("x", data, seen, ["linear_regression"], choices))
    file = load_sweep("x.yaml")
    assert list(file.sweep.families) == ["linear_regression"]
    assert file.data["columns"]["target"] == evil


def test_plan_tries_the_families_and_says_what_they_need(home, velodrome):
    new("builtin:digits")
    ended = velodrome(
        "plan", "digits.yaml", "--set", "budget.trials=6", "--set", "resources.lanes=1", "--json"
    )
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    families = found["families"]
    trials = 6 * len(families)
    assert (found["sweep"], found["trials"], found["done"], found["lanes"]) == ("digits", trials, 0, 1)
    assert families[0]["family"] == "image_cnn"
    assert all(family["parameters"] > 1000 and family["trial_seconds"] > 0 for family in families)
    assert found["seconds"] == pytest.approx(6 * sum(family["trial_seconds"] for family in families))
    assert found["disk_bytes"] > sum(family["size_bytes"] for family in families)
    assert not (home.path / "ledger.db").exists()


def test_plan_of_trees_counts_their_rounds_and_not_batches_of_one_row(home):
    """A round takes milliseconds, and a batch of one row would be 1,300 of them an epoch."""
    rng = np.random.default_rng(0)
    pd.DataFrame({"x": rng.random(2000), "y": rng.random(2000)}).to_csv("rows.csv", index=False)
    Path("trees.yaml").write_text(
        "name: trees\ndata: {source: csv:rows.csv, columns: {target: y}}\nobjective: {metric: mse}\n"
        "budget: {trials: 2, epochs: 100}\nfamilies: {gradient_boosting: }\n"
    )
    assert plan("trees.yaml").families[0].trial_seconds < 60


@pytest.mark.parametrize(("gpus", "known", "lanes"), [("auto", True, 8), ("auto", False, 2), ("1", True, 2)])
def test_plan_says_how_many_lanes_share_a_gpu_at_first(home, monkeypatch, gpus, known, lanes):
    """What trials took before is known; without it each lane has a GPU."""
    took = {"lanes": 4, "trials": 2, "peak_bytes": 3 << 30, "total_bytes": 24 << 30, "most": 8, "why": "so"}
    write_sweep(home, facts={"gpu_lanes": {"image_cnn": took, "mlp": took} if known else {}})
    monkeypatch.setattr(planned_lanes, "this_machine", lambda: Node(name="local", cpus=8.0, gpus=2.0))
    Path("digits.yaml").write_text(
        "name: digits\ndata: {source: 'builtin:digits'}\nbudget: {trials: 40, epochs: 2}\n"
        f"resources: {{gpus: {gpus}}}\nfamilies: {{image_cnn: {{}}, mlp: {{}}}}\n"
    )
    found = plan("digits.yaml")
    why = "4 lanes a GPU, the largest trial so far took 3.0 GiB of 24.0 GiB"
    why = why if known else "1 lane a GPU, until trials have shown what they take"
    told = [f"  {name}, gpus: auto: {why}" for name in ("image_cnn", "mlp")] if gpus == "auto" else []
    assert [family.gpu_lanes for family in found.families] == ([why, why] if told else ["", ""])
    shown = io.StringIO()
    print_plan(Console(file=shown, width=120), found)
    assert [line for line in shown.getvalue().splitlines() if "gpus: auto" in line] == told
    assert (found.gpus, found.gpus_used, found.lanes) == (2.0, 2.0, lanes)


@pytest.mark.parametrize("began", [True, False])
def test_plan_says_what_sweep_would_refuse(home, velodrome, monkeypatch, began):
    """A sweep whose search has not begun is what its file says: no new version is needed."""
    monkeypatch.setattr(views, "has_journal", lambda *_: began)
    write_sweep(home, spec_of())
    new("builtin:digits")
    found = json.loads(velodrome("plan", "digits.yaml", "--json").out)
    assert found["done"] == 5
    assert any("--new" in warning for warning in found["warnings"]) == began


def test_plan_refuses_what_no_node_can_hold(home, velodrome):
    new("builtin:digits")
    ended = velodrome("plan", "digits.yaml", "--set", "resources.cpus=4000")
    assert ended.status == 4
    assert "4000 CPU" in ended.err


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("space: {extends: transformer, vocabulary: 4000}", 5),
        ("options: {preset: small, context: 32}", 5),
    ],
)
def test_plan_refuses_settings_without_use_for_the_data(home, velodrome, entry, line):
    Path("own.yaml").write_text(
        f"name: own\ndata: {{source: 'builtin:digits'}}\nfamilies:\n  transformer:\n    {entry}\n"
    )
    ended = velodrome("plan", "own.yaml")
    assert ended.status == 2, ended.err
    assert f"own.yaml, line {line}: " in ended.err
    assert "must stand beside data of kind corpus" in ended.err


def test_plan_runs_own_function_and_names_unreported_objective(home, velodrome, monkeypatch):
    Path("mine_for_plan.py").write_text(
        "def train(trial):\n"
        "    for epoch in trial.epochs():\n"
        "        trial.report(accurcy=0.5)\n"
        "def broken(trial):\n"
        "    raise RuntimeError('no such layer')\n"
    )
    for name, said in (("train", "accurcy"), ("broken", "no such layer")):
        Path("own.yaml").write_text(
            "name: own\ndata: {source: none}\nobjective: {metric: accuracy}\n"
            f"families:\n  mine_for_plan:{name}:\n    space: {{a: {{type: float, low: 0, high: 1}}}}\n"
        )
        ended = velodrome("plan", "own.yaml")
        assert ended.status == 2, ended.err
        assert said in ended.err
        assert "own.yaml, line" in ended.err
        assert "Traceback" not in ended.err


def test_plan_says_what_is_wrong_with_each_family_at_once(home, velodrome):
    Path("several.py").write_text(
        "def fine(trial):\n    trial.report(accuracy=0.5)\n"
        "def misnamed(trial):\n    trial.report(accurcy=0.5)\n"
        "def broken(trial):\n    raise RuntimeError('no such layer')\n"
    )
    families = "".join(f"  several:{name}: {{space: {{a: 1}}}}\n" for name in ("misnamed", "fine", "broken"))
    Path("own.yaml").write_text(
        f"name: own\ndata: {{source: none}}\nobjective: {{metric: accuracy}}\nfamilies:\n{families}"
    )
    ended = velodrome("plan", "own.yaml")
    assert ended.status == 2
    assert "accurcy" in ended.err
    assert "no such layer" in ended.err
    assert ended.err.count("own.yaml, line") == 2
    assert "several:fine" not in ended.err


@pytest.mark.parametrize(("trials", "said"), [("", False), (", trials: 9", False), (", trials: 2", True)])
def test_plan_says_that_some_of_a_grid_is_not_tried(home, velodrome, trials, said):
    Path("fine.py").write_text("def fine(trial):\n    trial.report(accuracy=0.5)\n")
    Path("own.yaml").write_text(
        "name: own\ndata: {source: none}\nobjective: {metric: accuracy}\nsearch: {sampler: grid}\n"
        f"families:\n  fine:fine: {{space: {{a: {{type: int, low: 1, high: 3}}}}{trials}}}\n"
    )
    ended = velodrome("plan", "own.yaml")
    assert ("2 of the 3 configurations of its grid are tried" in ended.out) is said


def test_plan_says_what_is_wrong_with_each_parameter_at_once(home, velodrome):
    """Of several families, and of several start configurations too."""
    Path("fine.py").write_text("def fine(trial):\n    trial.report(accuracy=0.5)\n")
    fine = "{a: {type: int, low: 1, high: 3}}, start_with: [{a: 7}, {a: 2}, {b: 1}]"
    wrong = "{a: {type: float, low: x, high: 3}, b: {type: categorical, choices: []}, c: 1, d: {type: odd}}"
    Path("own.yaml").write_text(
        "name: own\ndata: {source: none}\nobjective: {metric: accuracy}\nfamilies:\n"
        f"  mlp:\n    space: {wrong}\n  fine:fine: {{space: {fine}}}\n"
    )
    ended = velodrome("plan", "own.yaml")
    assert ended.status == 2
    for place in ("space.a.low", "space.b.choices", "space.d.type", "start_with.0.a", "start_with.2.b"):
        assert ended.err.count(f"{place}: ") == 1


def test_plan_says_which_own_functions_report_nothing_by_group(home):
    rows = "".join(f"{n},{'fm'[n % 2]},{'ny'[n // 3 % 2]}\n" for n in range(300))
    Path("people.csv").write_text("x,sex,buys\n" + rows)
    Path("grouped.py").write_text(
        "def silent(trial):\n    trial.report(accuracy=0.5)\n"
        "def fair(trial):\n"
        "    rows = trial.data.splits['validation']\n"
        "    trial.report(accuracy=0.5, **trial.group_metrics(['y'] * len(rows)))\n"
    )
    data = "data: {source: 'csv:people.csv', columns: {target: buys, sensitive: [sex]}}\n"
    families = "".join(f"  grouped:{name}: {{space: {{a: 1}}}}\n" for name in ("silent", "fair"))
    Path("own.yaml").write_text(f"name: own\n{data}objective: {{metric: accuracy}}\nfamilies:\n{families}")
    (warning,) = (text for text in plan("own.yaml").warnings if "group_metrics" in text)
    assert warning.startswith("grouped.silent: it reports nothing by sex")


@pytest.mark.parametrize(
    ("leave", "said"),
    [
        ("os._exit(3)", r"its process was ended by os\._exit\(3\)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended by the signal SIGKILL"),
        ("sys.exit('no data')", r"got sys\.exit\('no data'\)"),
        ("raise KeyboardInterrupt", "it raised KeyboardInterrupt"),
        ("signal.signal(signal.SIGTERM, signal.SIG_DFL)", "signal only works in main thread"),
        ("raise type('Mute', (Exception,), {'__str__': None})", "Mute: its text cannot be read"),
    ],
)
def test_plan_says_how_a_function_left(home, velodrome, leave, said):
    Path("leaving.py").write_text(
        f"import os, signal, sys\n\ndef train(trial):\n    trial.report(accuracy=0.5)\n    {leave}\n"
    )
    Path("left.yaml").write_text(
        "name: left\ndata: {source: none}\nobjective: {metric: accuracy}\n"
        "families: {leaving:train: {space: {rate: 0.1}}}\n"
    )
    done = velodrome("plan", "left.yaml")
    assert done.status == 2
    assert re.search(said, " ".join(done.err.split()))


def test_plan_tries_a_model_of_a_transformers_folder(home, velodrome):
    model(Path.cwd() / "m", BERT, document=TinyBert(texts()).state["tokenizer"])
    rows = [
        f"a {'great' if n % 2 else 'dull'} film of the year {n},{'good' if n % 2 else 'bad'}"
        for n in range(80)
    ]
    Path("films.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    Path("films.yaml").write_text(
        "name: films\ndata: {source: csv:films.csv, columns: {text: text}}\n"
        "families: {bert: {options: {pretrained: ./m}}}\n"
        "budget: {trials: 1, epochs: 1}\n"
    )
    ended = velodrome("plan", "films.yaml", "--json")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["families"][0]["parameters"] > 1000


@pytest.mark.parametrize(("answers", "rows"), [(("no", "some", "yes"), 5000), (("NA", "DE"), 90)])
def test_new_splits_by_row_where_few_rows_differ_and_says_so(home, velodrome, answers, rows):
    lines = [f"{answers[i % len(answers)]},{answers[i // 7 % len(answers)]},{i % 3}" for i in range(rows)]
    Path("survey.csv").write_text("\n".join(["q1,q2,label", *lines]) + "\n")
    ended = velodrome("new", "csv:survey.csv")
    assert ended.status == 0, ended.err
    assert "split by row: each copy has a side of its own" in ended.out
    assert load_sweep("survey.yaml").data["split"] == {"by": "row"}


def test_plan_of_a_sweep_that_began_with_sides_by_target_carries_it_on(home, velodrome, monkeypatch):
    monkeypatch.setattr(views, "has_journal", lambda *_: True)
    lines = ["a,b", *(f"{n},{n * n % 7}" for n in range(60))]
    Path("rows.csv").write_text("\n".join(lines) + "\n")
    Path("rows.yaml").write_text(
        "name: rows\ndata: {source: 'csv:rows.csv', columns: {target: b}, task: regression}\n"
        "families: {linear_regression: {}}\nbudget: {trials: 1, epochs: 1}\n"
    )
    prepared = prepare_sweep("rows.yaml", (), home)
    former = former_fingerprint(prepared.dataset)
    write_sweep(home, prepared.spec, trials=(), facts={"base": str(Path.cwd())}, fingerprint=former)
    assert "is in the ledger and differs" not in velodrome("plan", "rows.yaml").out
    ledger, row = open_sweep("rows", home)
    ledger.close()
    check_recorded_sweep(row, home)
    again = prepared.split_as(former)
    assert (again.fingerprint, again.dataset.keyed_by) == (former, "content")
    assert again.look.parts == {part: len(rows) for part, rows in again.dataset.splits.items()}
    assert prepared.split_as("f" * 32) is prepared


@pytest.mark.parametrize(("by", "different"), [("content", 9), ("row", 900)])
def test_sweep_knows_how_many_rows_of_a_part_differ(home, by, different):
    lines = [f"{i % 3},{i // 3 % 3},{i % 2}" for i in range(900)]
    Path("rows.csv").write_text("\n".join(["q1,q2,label", *lines]) + "\n")
    Path("rows.yaml").write_text(
        f"name: rows\ndata: {{source: 'csv:rows.csv', task: classification, split: {{by: {by}, salt: 1,"
        " train: 0.5, validation: 0.4, test: 0.1}}}}\n".replace("}}}}", "}}")
        + "families: {logistic_regression: {}}\nbudget: {trials: 1, epochs: 1}\n"
    )
    facts = sweep_facts(prepare_sweep("rows.yaml", (), home))["data"]
    assert sum(facts["different"].values()) == different
    assert sum(facts["parts"].values()) == 900
