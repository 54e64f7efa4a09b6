"""The sweep file: what it comes to, and every refusal with file, line, key, value and advice."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.config.code_root import make_importable
from flows.config.loading import SweepFile, load_sweep
from flows.config.resolving import resolve_families, resolve_sweep
from infra.errors import WrongInput, join_errors
from infra.spec import Objective, SweepSpec
from search_spaces.space import Space
from trainers.errors import InputError
from trainers.registry import BUILT_IN

ROOT = Path(__file__).resolve().parents[3]

CONTRACT = """\
name: digits                       # [a-z0-9][a-z0-9._-]{0,62}
seed: 0
data: {source: builtin:digits}     # section 4
objective: {metric: accuracy}
budget: {trials: 24, epochs: 5}
search: {sampler: tpe, pruner: {name: asha, min_epochs: 1, reduction: 3}}
families:
  image_cnn:
    options: {preset: mnist}
    space: {extends: image_cnn, learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}}
    trials: 12
    resources: {gpus: 0.5}
    start_with: [{learning_rate: 1e-3, optimizer: adam}]
  text_cnn: {}
"""
SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"source": "builtin:diabetes"},
    "families": {"linear_regression": {}},
}


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    path = tmp_path / "digits.yaml"
    path.write_text(CONTRACT)
    return path


def sweep(tmp_path: Path, *overrides: str, **keys: Any) -> SweepFile:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **keys}, sort_keys=False))
    return load_sweep(path, overrides)


def spec(tmp_path: Path, *overrides: str, **keys: Any) -> SweepSpec:
    return resolve_sweep(sweep(tmp_path, *overrides, **keys), default_metric="mse")


# -- what it comes to ------------------------------------------------------------------------------------


def test_sweep_file_of_the_contract_resolves_as_written(contract: Path) -> None:
    found = resolve_sweep(load_sweep(contract))
    assert found.objectives == (Objective(metric="val/accuracy", direction="maximize"),)
    image, text = found.families
    assert (image.trials, text.trials) == (12, 24)
    assert (image.resources.gpus, text.resources.gpus) == (0.5, None)
    assert (image.budget.epochs, text.budget.epochs) == (5, 5)
    assert image.pruner == {"name": "asha", "min_epochs": 1, "reduction": 3}
    assert image.sampler["name"] == "tpe"
    assert image.options == {"preset": "mnist"}
    assert image.start_with == ({"learning_rate": 1e-3, "optimizer": "adam"},)
    assert Space.from_json(image.space).names[0] == "learning_rate"
    assert Space.from_json(text.space) == Space.from_mapping("text_cnn")
    assert len(image.source_hash) == 16


def test_sweep_spec_survives_json(contract: Path) -> None:
    found = resolve_sweep(load_sweep(contract))
    assert SweepSpec.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_sweep_file_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    found = spec(tmp_path)
    (family,) = found.families
    assert (found.seed, found.version, found.lanes, found.keep_models) == (0, 1, None, "best")
    assert (found.limits.stall_s, found.limits.start_s, found.limits.lease_s) == (600, 120, 15)
    assert (family.trials, family.budget.epochs, family.checkpoint_every) == (20, 10, "30s")
    assert (family.sampler["name"], family.pruner["name"]) == ("tpe", "asha")
    assert (family.resources.workers, family.resources.cpus, family.resources.gpus) == (1, 1.0, None)
    assert found.objectives == (Objective(metric="val/mse", direction="minimize"),)


def test_sweep_file_with_every_key_sets_every_field(tmp_path: Path) -> None:
    found = spec(
        tmp_path,
        seed=7,
        objective={"metric": "mine", "direction": "maximize", "at": "last"},
        budget={
            "trials": 3,
            "steps": 100,
            "report_every": 30,
            "patience": 2,
            "min_delta": 0.1,
            "trial_minutes": 1,
        }
        | {"minutes": 5, "gpu_hours": 2, "cost": 3.5},
        prices={"gpu_hour": 2, "cpu_hour": 0.1},
        search={"sampler": {"name": "gp", "n_startup_trials": 4}, "pruner": "none", "warm_start": ["old@2"]},
        resources={"lanes": 2, "weight": 2, "workers": 2, "cpus": 0.5, "gpus": 2, "memory": "4GiB"}
        | {"accelerator": "A100", "labels": {"zone": "eu"}},
        checkpoint={"every": "5 epochs", "keep": 2},
        keep={"models": {"top": 3}},
        limits={"stall": "1m", "start": "1h", "lease": "5s"},
        tracking={"uri": "http://${HOST}:5000", "experiment": "/Shared/x"},
        ledger="postgresql+psycopg://u:${PASSWORD}@h/db",
        storage="s3://b/x",
        model="champion-model",
        gates={"compare": {"margin": 0.01}},
        code={"root": ".", "package": "mine.whl"},
    )
    (family,) = found.families
    assert (found.lanes, found.weight) == (2, 2.0)
    assert found.objectives == (Objective(metric="val/mine", direction="maximize", at="last"),)
    assert (family.budget.epochs, family.budget.steps, family.budget.reports) == (None, 100, 4)
    assert (found.minutes, found.gpu_hours, found.cost, found.prices["gpu_hour"]) == (5, 2, 3.5, 2)
    assert family.sampler == {"name": "gp", "n_startup_trials": 4, "deterministic_objective": False}
    assert family.pruner == {"name": "none"}
    assert found.warm_start == ("old@2",)
    assert (found.lanes, family.resources.workers, family.resources.memory_bytes) == (2, 2, 4 * 2**30)
    assert (family.resources.accelerator, family.resources.labels) == ("A100", {"zone": "eu"})
    assert (family.checkpoint_every, found.keep_checkpoints, found.keep_models) == ("5 epochs", 2, "top: 3")
    assert (found.limits.stall_s, found.limits.start_s, found.limits.lease_s) == (60, 3600, 5)
    assert found.ledger == "postgresql+psycopg://u:${PASSWORD}@h/db"
    assert (found.tracking_uri, found.experiment, found.model) == (
        "http://${HOST}:5000",
        "/Shared/x",
        "champion-model",
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"trials": 5, "steps": 9, "sampler": "random", "pruner": {"name": "median", "startup": 2}},
        {"budget": {"trials": 5, "steps": 9}, "search": {"sampler": "random", "pruner": "median"}},
    ],
)
def test_a_family_has_its_own_values_in_either_way_of_writing(tmp_path: Path, entry: dict[str, Any]) -> None:
    resources = {"gpus": "auto", "workers": 3, "sharding": "full"}
    entry = {**entry, "resources": resources, "checkpoint": {"every": "9s"}}
    common = {"budget": {"trials": 8, "epochs": 4, "patience": 3}, "resources": {"gpus": 1, "cpus": 2}}
    (family,) = spec(tmp_path, families={"linear_regression": entry}, **common).families
    assert (family.trials, family.budget.steps, family.budget.epochs, family.budget.patience) == (
        5,
        9,
        None,
        3,
    )
    assert (family.sampler, family.pruner["name"]) == ({"name": "random"}, "median")
    assert (family.resources.gpus, family.resources.workers, family.resources.cpus) == (None, 3, 2)
    assert family.resources.sharding == "full"
    assert family.checkpoint_every == "9s"


def test_a_family_without_a_mapping_is_the_family_alone(tmp_path: Path) -> None:
    assert spec(tmp_path, families={"linear_regression": None}).families[0].trials == 20


def test_several_objectives_switch_the_default_pruner_off(tmp_path: Path) -> None:
    objective = [{"metric": "mse"}, {"metric": "latency_ms"}]
    found = spec(tmp_path, objective=objective)
    assert [o.metric for o in found.objectives] == ["val/mse", "latency_ms"]
    assert found.families[0].pruner == {"name": "none"}
    with pytest.raises(
        WrongInput, match=r"line \d+: search.pruner must be none with several objectives.*asha"
    ):
        spec(tmp_path, objective=objective, search={"pruner": "asha"})
    with pytest.raises(WrongInput, match=r"families.linear_regression.pruner must be none"):
        spec(tmp_path, objective=objective, families={"linear_regression": {"pruner": "median"}})


@pytest.mark.parametrize("metric", ["accuracy_gap", "val/accuracy_gap", "accuracy_gender=female"])
def test_metric_by_group_needs_sensitive_columns(tmp_path: Path, metric: str) -> None:
    keys: dict[str, Any] = {"families": {"logistic_regression": {}}, "objective": {"metric": metric}}
    data: dict[str, Any] = {"source": "csv:people.csv", "columns": {"target": "bought"}}
    with pytest.raises(WrongInput, match=r"columns of groups.*sensitive: \[gender\]"):
        spec(tmp_path, data=data, **keys)
    data["columns"]["sensitive"] = ["gender"]
    (found,) = spec(tmp_path, data=data, **keys).objectives
    assert found.direction == ("minimize" if metric.endswith("gap") else "maximize")


def test_a_grid_runs_as_many_trials_as_it_has_points(tmp_path: Path) -> None:
    space = {"learning_rate": {"type": "float", "low": 0.01, "high": 0.1, "points": 5}}
    families = {"linear_regression": {"space": space, "sampler": "grid"}}
    assert spec(tmp_path, families=families).families[0].trials == 5
    assert spec(tmp_path, families=families, budget={"trials": 3}).families[0].trials == 3
    assert spec(tmp_path, families=families, budget={"trials": 30}).families[0].trials == 5


@pytest.mark.parametrize(("learning_rate", "trials"), [(0.01, 5), (0.02, 6)])
def test_a_grid_counts_the_configurations_that_it_starts_with(
    tmp_path: Path, learning_rate: float, trials: int
) -> None:
    """One that is a point of the grid is tried once; another one comes before all of the points."""
    space = {"learning_rate": {"type": "float", "low": 0.01, "high": 0.1, "points": 5}}
    family = {"space": space, "sampler": "grid", "start_with": [{"learning_rate": learning_rate}]}
    assert spec(tmp_path, families={"linear_regression": family}).families[0].trials == trials


def test_options_and_a_presets_structure_are_not_searched(contract: Path) -> None:
    space = Space.from_json(resolve_sweep(load_sweep(contract)).families[0].space)
    assert space.constants["channels"] == [32]
    assert "optimizer" in {parameter.name for parameter in space.searched_parameters}


# -- overrides -------------------------------------------------------------------------------------------


def test_overrides_follow_the_files_own_rules(tmp_path: Path) -> None:
    found = spec(
        tmp_path,
        "budget.trials=7",
        "search.pruner=none",
        "families.linear_regression.space={learning_rate: 1e-2}",
        "name=other",
        "budget.trials=8",
    )
    assert (found.name, found.families[0].trials, found.families[0].pruner["name"]) == ("other", 8, "none")
    assert Space.from_json(found.families[0].space).constants == {"learning_rate": 0.01}


@pytest.mark.parametrize("name", ["deep.hb:plane", "deep.hb.plane"])
def test_override_of_own_code_names_it_as_the_file_or_as_its_label(tmp_path: Path, name: str) -> None:
    families = {"deep.hb:plane": {"space": {"rate": 0.1}}}
    found = sweep(tmp_path, f"families.{name}.trials=7", families=families)
    assert list(found.written.document.value["families"]) == ["deep.hb:plane"]
    assert found.sweep.families["deep.hb:plane"].trials == 7


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "budget.trials=abc",
            r"--set budget.trials=abc: budget.trials must be a whole number; but got 'abc'",
        ),
        ("budget.trials=012", r"--set budget.trials: a number must not begin with 0"),
        ("budget.trialz=3", r"--set budget.trialz=3: .*did you mean 'trials'"),
        ("trials=3", r"did you mean budget.trials\?"),
        ("name.x=3", r"name must be a mapping to set x in it; but got 'small'"),
        ("budget", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("a..b=3", "KEY=VALUE"),
        ("budget={a: 1, a: 2}", "stand once"),
        ("budget=" + "[" * 100, "deep"),
        (
            "families.linear_regression.space.learning_rate.low=-1",
            "families.linear_regression.space.learning_rate",
        ),
        ("ledger=[postgresql://u:hunter2@h/x]", r"\*\*\*@h/x"),
    ],
)
def test_wrong_override_is_refused_by_name(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(WrongInput, match=words) as caught:
        spec(tmp_path, override)
    assert "hunter2" not in str(caught.value)


def test_override_of_a_key_with_dots_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pack_dots").mkdir()
    (tmp_path / "pack_dots" / "nets.py").write_text("def train(trial):\n    pass\n")
    families = {"pack_dots.nets:train": {"space": {"x": 1}}}
    found = spec(tmp_path, "families.pack_dots.nets:train.trials=3", families=families)
    assert found.families[0].trials == 3
    assert found.families[0].name == "pack_dots.nets.train"


# -- refusals (F43) --------------------------------------------------------------------------------------

BAD_LINES = [
    # the file's text after the first lines, the line to blame, words of the error
    ("budget: {trails: 24}", 3, r"budget.trails .*24.*did you mean 'trials'"),
    ("serch: {sampler: tpe}", 3, "did you mean 'search'"),
    ("trials: 24", 3, r"did you mean budget.trials"),
    ("budget: {trials: 0}", 3, "budget.trials must be greater than or equal to 1; but got 0"),
    ("budget: {trials: -5}", 3, "but got -5"),
    ("budget: {trials: '5'}", 3, "whole number.*'5'.*without quotes"),
    ("budget: {trials: 5.0}", 3, "write 5"),
    ("budget: {trials: true}", 3, "whole number; but got True"),
    ("budget: {trials: 1e1}", 3, "write 10"),
    ("budget: {epochs: 3, steps: 4}", 3, "epochs or steps"),
    ("budget: {report_every: 4}", 3, "come with steps"),
    ("budget: {steps: 4, report_every: 5}", 3, "at most steps"),
    ("budget: {minutes: .nan}", 3, "finite"),
    ("budget: {minutes: 0}", 3, "greater than 0"),
    ("budget: {cost: 4}", 3, "come with prices"),
    ("objective: [{metric: mse}, {metric: price}]", 3, "come with prices"),
    ("gates: {limits: {price: 2}}", 3, "gates.limits.price must come with prices"),
    ("budget:\n  trials: 3\n  trials: 4", 5, "stand once"),
    ("budget: [3]", 3, "budget must be a mapping"),
    ("resources: {workers: -1}", 3, "resources.workers must be greater than or equal to 1; but got -1"),
    ("resources: {workers: 0}", 3, "but got 0"),
    ("resources: {sharding: full}", 3, "resources.sharding must come with several workers"),
    ("resources: {sharding: half, workers: 2}", 3, "one of none, full; but got 'half'"),
    ("resources: {gpus: 1.5}", 3, "whole number, or a fraction"),
    ("resources: {gpus: -1}", 3, "fraction"),
    ("resources: {gpus: many}", 3, "auto"),
    ("resources: {lanes: 0}", 3, "at least 1"),
    ("resources: {memory: 4}\nresource: {}", 4, "did you mean 'resources'"),
    ("resources: {memory: lots}", 3, "4GiB"),
    ("resources: {cpus: 0}", 3, "greater than 0"),
    ("search: {sampler: tpee}", 3, "did you mean 'tpe'"),
    ("search: {sampler: {name: tpe, seed: 3}}", 3, "search.sampler.seed must be a key"),
    ("search: {sampler: {n_startup_trials: 3}}", 3, "with name"),
    ("search: {pruner: {name: asha, reduction: 1}}", 3, "search.pruner.reduction"),
    ("search: {pruner: {name: asha, min_epoch: 1}}", 3, "did you mean 'min_epochs'"),
    ("search: {pruner: {name: asha, min_epochs: 11}}", 3, "before a trial's last epoch; but got 11"),
    ("search: {pruner: percentile}", 3, "search.pruner.percentile must be given"),
    ("search: {pruner: {name: percentile, percentile: 101}}", 3, "less than or equal to 100"),
    ("search: {sampler: 3}", 3, "mapping or a name"),
    ("search: {sampler: grid}\n", 3, ""),
    ("search: {warm_start: [../x]}", 3, "warm_start.0"),
    ("objective: {metrc: accuracy}", 3, "did you mean 'metric'"),
    ("objective: {metric: acuracy}", 3, "did you mean 'accuracy'"),
    ("objective: {metric: accuracy}", 3, "linear_regression learns regression"),
    ("objective: {metric: test/mse}", 3, "validation split"),
    ("objective: {metric: mse, direction: up}", 3, "minimize, maximize"),
    ("objective: {metric: mse, at: first}", 3, "best, last"),
    ("objective: []", 3, "not be empty|not empty"),
    ("objective:\n- {metric: mse}\n- {metric: mse}", 3, "once"),
    ("objective:\n- {metric: mse}\n- {metric: r2, at: last}", 3, "have one at"),
    ("objective:\n- {metric: mse}\n- {metrc: r2}", 5, "objective.1.metrc"),
    ("checkpoint: {every: 30}", 3, "write 30s or 5 epochs"),
    ("checkpoint: {every: 0s}", 3, "duration"),
    ("limits: {stall: 10}", 3, "30s, 10m or 2h"),
    ("keep: {models: {top: 0}}", 3, "top"),
    ("keep: {models: bset}", 3, "best, all"),
    ("seed: -1", 3, "greater than or equal to 0"),
    ("model: My Model", 3, "name of a model"),
    ("ledger: 3", 3, "ledger must be text"),
    ("ledger: [a.db]", 3, "ledger must be text.*write it without brackets"),
    ("ledger: [a.db, b.db]", 3, "ledger must be text.*write one; a sweep for each"),
    ("tracking: {uri: ''}", 3, "not empty"),
    ("code: {root: 3}", 3, "text"),
    ("seed: 1\nseed: 2", 4, "stand once"),
    ("x: &a 1", 3, "anchor"),
]


@pytest.mark.parametrize(("text", "line", "words"), [row for row in BAD_LINES if row[2]])
def test_sweep_file_wrong_key_or_value_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        f"name: bad\ndata: {{source: builtin:diabetes}}\n{text}\nfamilies: {{linear_regression: {{}}}}\n"
    )
    with pytest.raises(WrongInput, match=words) as caught:
        resolve_sweep(load_sweep(path), default_metric="mse")
    assert f"{path}, line {line}: " in str(caught.value)


BAD_FAMILIES = [
    ("  linear_regresion: {}", 4, "did you mean 'linear_regression'"),
    ("  linear_regression: {optons: {}}", 4, "did you mean 'options'"),
    ("  linear_regression: {trials: 0}", 4, "families.linear_regression.trials"),
    ("  linear_regression: {trials: 2, budget: {trials: 3}}", 4, "budget.trials must stand once"),
    ("  linear_regression: {sampler: tpe, search: {sampler: gp}}", 4, "stand once"),
    ("  linear_regression: {resources: {lanes: 2}}", 4, "lanes.*did you mean|lanes must be a key"),
    ("  linear_regression:\n    options: {presett: 1}", 5, "option"),
    ("  linear_regression:\n    options: {preset: nothing}", 5, "preset must be one of"),
    ("  linear_regression:\n    space: {lr: 0.1}", 5, "hyper-parameter that linear_regression reads.*'lr'"),
    ("  linear_regression:\n    space: {learning_rat: 0.1}", 5, "did you mean 'learning_rate'"),
    ("  linear_regression:\n    space:\n      momentum: 0.5\n      dropout: 0.1", 7, "'dropout'"),
    ("  linear_regression:\n    space: {learning_rate: '1e-3'}", 5, "learning_rate must be float"),
    ("  linear_regression:\n    space: {learning_rate: 0.0}", 5, "above 0"),
    ("  linear_regression:\n    space: {learning_rate: {type: float, low: 0.0, high: 1.0}}", 5, "above 0"),
    ("  linear_regression:\n    space: {learning_rate: {type: float, low: 2, high: 1}}", 5, "exchange"),
    (
        "  linear_regression:\n    space: {learning_rate: {type: float, low: 0, high: 1, log: true}}",
        5,
        "above 0",
    ),
    ("  linear_regression:\n    space: {learning_rate: {type: float, low: .nan, high: 1}}", 5, "finite"),
    (
        "  linear_regression:\n    space:\n      l1:\n        type: float\n        low: -1\n        high: 2",
        8,
        "at least 0",
    ),
    ("  linear_regression:\n    space: {batch_size: {type: float, low: 1, high: 9}}", 5, "int"),
    ("  linear_regression:\n    space: {optimizer: {type: categorical, choices: [sgd, adm]}}", 5, "'adm'"),
    ("  linear_regression:\n    space: {nesterov: yes}", 5, "False, True"),
    ("  linear_regression:\n    space: {extends: nowhere}", 5, "built in"),
    ("  linear_regression:\n    space: 3", 5, "mapping, a name or a path"),
    (
        "  linear_regression:\n    space: {learning_rate: 0.1}\n    start_with: [{learning_rate: 0.2}]",
        6,
        "constant",
    ),
    ("  linear_regression:\n    start_with:\n    - {optimizer: sgd}\n    - {optimizer: adamw}", 7, "'adamw'"),
    ("  linear_regression:\n    start_with: [{learning_rate: 1e9}]", 5, "from 0.001 to 1"),
    ("  linear_regression:\n    start_with: {learning_rate: 0.1}", 5, "list"),
    (
        "  linear_regression:\n    options: {learning_rate: 0.1}\n    space: {learning_rate: 0.2}",
        6,
        "not stand in options too",
    ),
    (
        "  linear_regression:\n    sampler: grid\n    space:\n      l1: {type: float, low: 0, high: 1}",
        7,
        "points",
    ),
    ("  linear_regression:\n    resources: {sharding: full}", 5, "with several workers; but got workers: 1"),
    ("  gan:\n    resources: {workers: 2, sharding: full}", 5, "whose steps Velodrome makes; but got gan"),
    ("  'os:system': {}", 4, "Family class or a function"),
    ("  'nothing_here:train': {}", 4, "importable"),
    ("  'json:dumps': {}", 4, "space must be given for a function"),
    ("  'json:dumps': {space: {x: 1}, options: {a: 1}}", 4, "left out for a function"),
    ("  '../x:y': {}", 4, "package.module:name"),
    ("  {}", 3, "not empty"),
    ("  [linear_regression]", 3, "mapping"),
]


@pytest.mark.parametrize(("text", "line", "words"), BAD_FAMILIES)
def test_sweep_file_wrong_family_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"name: bad\ndata: {{source: builtin:diabetes}}\nfamilies:\n{text}\n")
    with pytest.raises(WrongInput, match=words) as caught:
        resolve_sweep(load_sweep(path), default_metric="mse")
    found = str(caught.value)
    assert f"{path}, line {line}: " in found or (
        text.strip() in ("{}", "[linear_regression]") and "line 3" in found
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("builtin:digit", "did you mean 'digits'"),
        ("builtin:", "builtin"),
        ("cvs:x.csv", "did you mean 'csv'"),
        ("churn.csv", "begin with one of"),
        ("csv:", "complete it"),
        ("none:x", "complete it"),
        (3, "begin with one of"),
        ("csv:a\0b", "begin with"),
    ],
)
def test_sweep_file_wrong_data_source_is_refused(tmp_path: Path, source: Any, words: str) -> None:
    with pytest.raises(WrongInput, match=words):
        sweep(tmp_path, data={"source": source})


@pytest.mark.parametrize("text", ["", "- a", "3", "# nothing", "name: x", "name: x\ndata: {}\nfamilies: {}"])
def test_file_that_is_no_sweep_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(WrongInput, match=r"x.yaml, line 1|line 2"):
        load_sweep(path)


def test_missing_sweep_file_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="must exist"):
        load_sweep(tmp_path / "nothing.yaml")


def test_sweep_file_without_objective_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"objective.metric must be given"):
        resolve_sweep(sweep(tmp_path))


def test_data_error_is_blamed_on_its_line_of_the_sweep_file(tmp_path: Path) -> None:
    file = sweep(tmp_path, data={"source": "builtin:diabetes", "split": {"by": "group"}})
    error = file.locate_error(
        InputError("the split needs a group", "none", "name it", key=("data", "split", "by"))
    )
    assert str(error).startswith(f"{file.path}, line 5: data.split.by: the split needs a group")


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["tpe", "grid", "asha", "none", "auto", "30s", "mse", "linear_regression", "x:y", "", "é"]
    ),
)
nested = st.recursive(
    values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["name", "space", "low", "high", "type", "trials", "x", "when"]), inner
        ),
    ),
    max_leaves=6,
)
KEYS = [
    "name",
    "data",
    "data.source",
    "data.split",
    "objective",
    "objective.metric",
    "budget",
    "budget.steps",
    "search",
    "search.sampler",
    "search.pruner",
    "search.warm_start",
    "families",
    "families.linear_regression",
    "families.linear_regression.space",
    "families.linear_regression.space.learning_rate",
    "families.linear_regression.options",
    "families.linear_regression.start_with",
    "families.linear_regression.resources",
    "resources",
    "resources.gpus",
    "keep",
    "keep.models",
    "limits",
    "checkpoint",
    "gates",
    "x",
]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(KEYS), nested), min_size=1, max_size=2))
def test_any_override_resolves_or_is_wrong_input(changes: list[tuple[str, Any]]) -> None:
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.yaml"
        path.write_text(json.dumps(SMALL))
        try:
            found = resolve_sweep(load_sweep(path, overrides), default_metric="mse")
        except WrongInput:
            return
    assert SweepSpec.from_json(found.to_json()) == found


# -- people's own code -----------------------------------------------------------------------------------


def own_code(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(text)


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_own_function_may_have_parameters_of_any_name(in_folder: Path) -> None:
    own_code(in_folder, "def train(trial):\n    pass\n", "own_function")
    space = {"alpha": {"type": "float", "low": 0, "high": 1}, "layers": [1, 2]}
    families = {"own_function:train": {"space": space, "start_with": [{"alpha": 0.5}]}}
    found = spec(in_folder, families=families, objective={"metric": "score", "direction": "maximize"})
    assert found.families[0].reference == "own_function:train"
    assert found.objectives[0].metric == "val/score"
    with pytest.raises(WrongInput, match="direction"):
        spec(in_folder, families=families, objective={"metric": "score"})


def test_own_family_class_gets_a_space(in_folder: Path) -> None:
    text = "from trainers.families.linear_regression import LinearRegression as L\nclass Mine(L):\n"
    own_code(in_folder, text + "    name = ''\n", "own_family")
    (family,) = spec(in_folder, families={"own_family:Mine": {}}).families
    assert Space.from_json(family.space) == Space.from_mapping("training")


@pytest.mark.parametrize(
    "text",
    ["raise RuntimeError('no GPU here')", "def broken(:", "import sys; sys.exit(3)", "import nothing_such"],
)
def test_own_code_that_fails_to_import_is_wrong_input(in_folder: Path, text: str) -> None:
    name = f"own_broken_{abs(hash(text))}"
    own_code(in_folder, text, name)
    with pytest.raises(WrongInput, match="importable"):
        spec(in_folder, families={f"{name}:train": {"space": {}}})


def test_code_root_with_folder_named_as_our_package_is_refused(in_folder: Path) -> None:
    own_code(in_folder, "def train(trial):\n    pass\n", "own_beside")
    (in_folder / "trainers").mkdir()
    with pytest.raises(WrongInput, match=r"code.root must hold no folder .* trainers in"):
        spec(in_folder, families={"own_beside:train": {"space": {}}})


@pytest.mark.parametrize(
    ("file", "family", "said"),
    [
        (
            "torch.py",
            "hb:plane",
            r"code.root must hold no module .* but got torch in .*; rename it",
        ),
        ("optuna/__init__.py", "hb:plane", "but got optuna in"),
        (
            "types.py",
            "types:plane",
            r"types:plane must not have the name of .* Python's.* rename types",
        ),
        ("queue/__init__.py", "queue.hb:plane", "rename queue"),
    ],
)
def test_code_that_hides_or_is_hidden_by_another_package_is_refused(
    in_folder: Path, file: str, family: str, said: str
) -> None:
    """A script called torch.py stood for a defect of ours; one called types.py was sought in Python's own."""
    path = in_folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("def plane(trial): pass\n")
    with pytest.raises(WrongInput, match=said):
        make_importable(sweep(in_folder, families={family: {"space": {"rate": 0.1}}}))


def test_code_beside_a_folder_of_data_named_as_a_package_is_taken(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders without code, and modules that Python has too but no family names, hide nothing."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (in_folder / "optuna").mkdir()
    for name in ("types.py", "datasets.py", "hb.py"):
        (in_folder / name).write_text("def plane(trial): pass\n")
    make_importable(sweep(in_folder, families={"hb:plane": {"space": {"rate": 0.1}}}))


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"workers": 2}, "resources.workers must be 1 .*; but got 2 for gradient_boosting"),
        ({"gpus": 1}, "resources.gpus must be 0 .*; but got 1"),
        ({"workers": 2, "sharding": "full"}, "resources.workers must be 1"),
    ],
)
def test_resources_without_use_for_trees_are_refused(tmp_path: Path, resources: Any, words: str) -> None:
    with pytest.raises(WrongInput, match=words):
        resolve_families(sweep(tmp_path, families={"gradient_boosting": {}}, resources=resources))
    own = {"gradient_boosting": {"resources": resources}, "mlp": {}}
    with pytest.raises(WrongInput, match="families.gradient_boosting." + words):
        resolve_families(sweep(tmp_path, families=own))


def test_trees_take_no_gpu_where_there_are_some(tmp_path: Path) -> None:
    trees, mlp = resolve_families(sweep(tmp_path, families={"gradient_boosting": {}, "mlp": {}}))
    assert (trees.resources.gpus, mlp.resources.gpus) == (0, None)


@pytest.mark.parametrize("name", ["optimizer", "gradient_clip", "batch_size", "label_smoothing", "precision"])
def test_options_of_the_loop_without_use_for_trees_are_refused(tmp_path: Path, name: str) -> None:
    entry = {"space": {"extends": "gradient_boosting", name: 1}}
    with pytest.raises(WrongInput, match=f"{name} must be a hyper-parameter that gradient_boosting reads"):
        resolve_families(sweep(tmp_path, families={"gradient_boosting": entry}))


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_family_alone_gets_its_own_space(tmp_path: Path, name: str) -> None:
    (family,) = resolve_families(sweep(tmp_path, families={name: {}}))
    assert Space.from_json(family.space) == Space.from_mapping(name)


def test_family_space_leaves_out_what_its_options_disable(tmp_path: Path) -> None:
    """A text CNN of structure image has no filter widths: its own space searches none, people's may not."""
    for space in (None, "text_cnn", {"extends": "text_cnn", "dropout": 0.5}):
        entry = {"options": {"structure": "image"}, **({} if space is None else {"space": space})}
        (family,) = resolve_families(sweep(tmp_path, families={"text_cnn": entry}))
        names = {parameter["name"] for parameter in family.space["parameters"]}
        assert "filter_widths" not in names
        assert {"learning_rate", "optimizer", "dropout", "embedding"} <= names
    entry = {"options": {"structure": "image"}, "space": {"extends": "text_cnn", "filter_widths": [[3]]}}
    with pytest.raises(WrongInput, match="filter_widths"):
        resolve_families(sweep(tmp_path, families={"text_cnn": entry}))


# -- speed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("override", ["budget.trialz=3", "families.image_cnn.space.learning_rate.low=9"])
def test_wrong_sweep_file_is_refused_fast_without_heavy_imports(contract: Path, override: str) -> None:
    code = """
import sys
import time
from flows.config.code_root import make_importable
from flows.config.loading import load_sweep
from flows.config.resolving import resolve_families
from infra.errors import WrongInput, join_errors
try:
    resolve_families(load_sweep(sys.argv[1], [sys.argv[2]]))
except WrongInput as error:
    heavy = {"torch", "ray", "mlflow", "optuna", "pandas", "scipy"} & sys.modules.keys()
    print(error.exit_code, sorted(heavy))
light = time.process_time()
import torch
print(light / (time.process_time() - light))
"""
    command = [sys.executable, "-c", code, str(contract), override]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600, check=True)
    found, share = done.stdout.splitlines()
    assert found == "2 []"
    assert float(share) < 0.9  # of what torch alone would take of the same processor, however busy it is


def test_all_that_is_wrong_in_a_file_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: bad\ndata: {source: builtin:digits, split: {trian: 0.5}}\nobjective: {metric: accuracy}\n"
        "budget: {trials: -3, epochs: 5}\nsearch: {sampler: tpee}\nfamilies: {mlp: }\n"
    )
    with pytest.raises(WrongInput, match=r"line 2: data\.split\.trian") as refused:
        load_sweep(path)
    assert refused.value.do.replace(f"{tmp_path}/", "").splitlines() == [
        "did you mean 'train'?",
        "also bad.yaml, line 4: budget.trials must be greater than or equal to 1; found -3",
        "also bad.yaml, line 5: search.sampler must be one of tpe, random, qmc, gp, grid; found 'tpee'",
    ]
    path.write_text(
        "name: bad\ndata: {source: builtin:digits}\nobjective: {metric: accuracy}\n"
        "budget: {trials: 3, epochs: 5}\n"
        "families: {image_cn: , mlp: {options: {colour: red}}, rnn: }\n"
    )
    with pytest.raises(WrongInput, match=r"families\.image_cn") as refused:
        resolve_families(load_sweep(path))
    assert "bad.yaml, line 5: families.mlp.options.colour" in refused.value.do


def test_errors_beyond_the_tenth_are_counted() -> None:
    joined = join_errors([WrongInput(f"key {n}", str(n), "mend it") for n in (0, *range(14), 3)])
    assert (joined.must, joined.found) == ("key 0", "0")
    assert joined.do.splitlines()[0] == "mend it"
    assert joined.do.splitlines()[-2:] == ["also key 10; found 10", "and 3 more"]


def test_sweep_without_data_is_told_what_to_write(tmp_path):
    (tmp_path / "a.yaml").write_text("name: a\nfamilies: {mlp: {}}\n")
    with pytest.raises(
        WrongInput, match=r"data must be given.*\{source: none\} where the families' own code"
    ):
        load_sweep(tmp_path / "a.yaml")
