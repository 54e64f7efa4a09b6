"""Public scripts as they are, or with a few lines: killed, carried on, pruned, tracked, promoted, served."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import sys
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits, load_iris

from tests.faults.harness import ROOT, Stage, check_tracking, have_ended, kill, left_behind, until
from tests.flows.inference.test_serve import ask, free_port, run_server

PORTS = "tests.velodrome.ports"
FOLDER = ROOT / "tests/velodrome/ports"
TRIALS = 3
ENDED = ("complete", "pruned")
HEAD = """
name: {name}
data: {{source: none}}
objective: {{metric: {metric}, direction: {direction}}}
budget: {{trials: {trials}, epochs: 4}}
search: {{sampler: random, pruner: {{name: asha, min_epochs: 1, reduction: 2}}}}
resources: {{lanes: 1}}
code: {{root: {root}}}
families:
"""


@dataclass(frozen=True)
class Script:
    """A public script as a family.

    Attributes:
        family: its keys of the sweep file.
        good, bad: configurations that are tried first; the bad one is pruned where the script reports more
            than one value.
        rows: the script's own rows, whose answers are asked of its champion; empty: it has no model to serve.
        metric: what the script itself says of its model on those rows, as a share of `count`; empty: nothing.
    """

    family: str
    good: str
    bad: str = ""
    rows: str = ""
    metric: str = ""
    count: int = 1


def command(script: str, words: str, loss: str, space: str, more: str = "") -> str:
    """A script that stays as it is, called in its trial's own folder, where it writes."""
    call = f"sh -c 'cd ${{directory}} && exec python {FOLDER}/{script}.py {words}'"
    return f"command: {json.dumps(call)}\nmetrics: {{loss: {json.dumps(loss)}}}\nspace: {{{space}}}\n{more}"


LOSS = {
    "mnist": Script(
        command(
            "mnist", "${args} --epochs ${epochs} --save-model", r"Average loss: (\d.\d+)",
            "lr: {type: float, low: 1.0e-4, high: 1.0, log: true}",
            f"keep: mnist_cnn.pt\nbuild: {PORTS}.answers:build_mnist\npredict: {PORTS}.answers:read_digits\n",
        ).replace("metrics: {", "metrics: {accuracy: 'Accuracy: (\\d+)/', "),
        "{lr: 1.0}", "{lr: 1.0e-4}", "digits", "val/accuracy", 300,
    ),
    "vae": Script(
        command(
            "vae", "${args} --epochs ${epochs}", r"Test set loss: ([\d.]+)",
            "batch-size: {type: categorical, choices: [16, 512]}",
        ),
        "{batch-size: 16}", "{batch-size: 512}",
    ),
    "word_language_model": Script(
        command(
            "word_language_model", "${args} --epochs ${epochs}", r"valid loss +([\d.]+)",
            "lr: {type: float, low: 1.0e-3, high: 5.0, log: true}, "
            "tied: {type: categorical, choices: [true, false]}",
            "keep: model.pt\n",
        ),
        "{lr: 5.0, tied: true}", "{lr: 1.0e-3, tied: false}",
    ),
    "nanogpt": Script(
        command(
            "nanogpt", "${args} --max_iters=150 --out_dir=${directory}", r"step \d+: .*val loss ([\d.]+)",
            "learning_rate: {type: float, low: 1.0e-6, high: 1.0e-1, log: true}, "
            "bias: {type: categorical, choices: [true, false]}",
            "args: equals\nresume: --init_from=resume\nresume_from: ckpt.pt\nkeep: ckpt.pt\n"
            f"build: {PORTS}.answers:build_gpt\npredict: {PORTS}.answers:next_letter\n",
        ),
        "{learning_rate: 0.05, bias: false}", "{learning_rate: 1.0e-6, bias: true}", "letters",
    ),
    f"{PORTS}.trainer_trial:objective": Script(
        "space: {learning_rate: {type: float, low: 1.0e-6, high: 1.0e-1, log: true}}\n",
        "{learning_rate: 0.03}", "{learning_rate: 1.0e-6}", "texts",
    ),
}  # fmt: skip
SPACES = {
    "sklearn_simple": """
      classifier: {type: categorical, choices: [SVC, RandomForest]}
      svc_c: {type: float, low: 1.0e-10, high: 1.0e+10, log: true, when: {classifier: SVC}}
      rf_max_depth: {type: float, low: 2, high: 32, log: true, when: {classifier: RandomForest}}
""",
    "lightgbm_simple": """
      num_leaves: {type: int, low: 2, high: 256}
      lambda_l1: {type: float, low: 1.0e-8, high: 10.0, log: true}
""",
    "xgboost_simple": """
      booster: {type: categorical, choices: [gbtree, gblinear]}
      max_depth: {type: int, low: 3, high: 9, step: 2, when: {booster: gbtree}}
""",
    "pytorch_simple": """
      n_units: {type: int, low: 4, high: 128}
      optimizer: {type: categorical, choices: [Adam, RMSprop, SGD]}
      lr: {type: float, low: 1.0e-5, high: 1.0e-1, log: true}
""",
}
GOOD = {
    "sklearn_simple": "{classifier: RandomForest, rf_max_depth: 8.0}",
    "lightgbm_simple": "{num_leaves: 16, lambda_l1: 0.01}",
    "xgboost_simple": "{booster: gbtree, max_depth: 5}",
    "pytorch_simple": "{n_units: 64, optimizer: Adam, lr: 0.1}",
}
BAD = {"pytorch_simple": "{n_units: 4, optimizer: SGD, lr: 1.0e-5}"}  # the others report once
ACCURACY = {
    **{
        f"{PORTS}.objectives:{name}": Script(f"space:{space}", GOOD[name], BAD.get(name, ""))
        for name, space in SPACES.items()
    },
    **{
        f"{PORTS}.objectives_trial:{name}": Script(
            f"space:{space}", GOOD[name], BAD.get(name, ""),
            rows="points" if name == "pytorch_simple" else "iris",
            metric="" if name == "sklearn_simple" else "val/accuracy",  # which is of other folds' models
        )
        for name, space in SPACES.items()
    },
    f"{PORTS}.mnist_trial:main": Script(
        "space: {lr: {type: float, low: 1.0e-4, high: 1.0, log: true}}\n",
        "{lr: 1.0}", "{lr: 1.0e-4}", "digits", "val/accuracy",
    ),
    f"{PORTS}.lightning_module_served:objective": Script(
        "space:\n      width: {type: int, low: 4, high: 128, log: true}\n"
        "      lr: {type: float, low: 1.0e-5, high: 1.0e-1, log: true}\n",
        "{width: 128, lr: 0.05}", "{width: 4, lr: 1.0e-5}", "plane",
    ),
}  # fmt: skip
SCRIPTS = {"loss": LOSS, "accuracy": ACCURACY}


def families_of(metric: str) -> str:
    """The families' part of a sweep file."""
    return "".join(
        f"  {name}:\n{textwrap.indent(script.family, '    ')}"
        f"    start_with: [{', '.join(filter(None, (script.good, script.bad)))}]\n"
        for name, script in SCRIPTS[metric].items()
    )


def make_digits() -> pd.DataFrame:
    """The rows that `mnist` tests on."""
    data, labels = load_digits(return_X_y=True)
    return pd.DataFrame(data[600:900]).add_prefix("grey_").assign(target=labels[600:900])


def make_letters() -> pd.DataFrame:
    """Beginnings of the text that `nanogpt` learns, each with the letter that follows."""
    texts = [("abcdefgh" * 3)[start : start + length] for start in range(8) for length in range(1, 9)]
    return pd.DataFrame({"text": texts, "target": [chr((ord(t[-1]) - 96) % 8 + 97) for t in texts]})


def make_texts() -> pd.DataFrame:
    """Sentences of the words that `trainer` learns."""
    rows = [
        (shape.format(first, second), f"LABEL_{place}")  # as a script that names none has them
        for place, words in enumerate((["dull", "poor", "grey"], ["great", "lovely", "fine"]))
        for first, second in itertools.product(words, words)
        for shape in ("the {} film was {}", "{} the film was {}", "film {} was {} the")
    ]
    return pd.DataFrame(rows, columns=["text", "target"])


def make_iris() -> pd.DataFrame:
    """The rows of Optuna's examples, by the names that an example without any gets."""
    data, labels = load_iris(return_X_y=True)
    return pd.DataFrame(data).add_prefix("x").assign(target=labels)


def make_points() -> pd.DataFrame:
    """The rows of `pytorch_simple`."""
    points = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    return pd.DataFrame(points.numpy()).add_prefix("x_").assign(target=(points.sum(1) > 2).long().numpy())


def make_plane() -> pd.DataFrame:
    """Points as `lightning_module` draws them, away from the line between the sides."""
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(1))
    points = points[(points.sum(1) - 1).abs() > 0.2]
    return pd.DataFrame(points.numpy()).add_prefix("x_").assign(target=(points.sum(1) > 1).long().numpy())


ROWS = {
    "digits": make_digits, "letters": make_letters, "texts": make_texts, "iris": make_iris,
    "points": make_points, "plane": make_plane,
}  # fmt: skip


def curve_lengths(stage: Stage, metric: str) -> Counter[int]:
    """How many points each run of a trial has of a metric in MLflow's store."""
    query = "SELECT run_uuid, COUNT(*) FROM metrics WHERE key = ? GROUP BY run_uuid"
    uri = f"file:{stage.home.path / 'mlflow.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as store:
        return Counter(count for _, count in store.execute(query, (metric,)))


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize(("metric", "direction"), [("loss", "minimize"), ("accuracy", "maximize")])
def test_public_scripts_are_killed_carried_on_and_tracked(
    metric: str, direction: str, tmp_path: Path
) -> None:
    stage = Stage(tmp_path, {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"})
    head = HEAD.format(name=metric, metric=metric, direction=direction, trials=TRIALS, root=ROOT)
    stage.write(f"{metric}.yaml", head + families_of(metric))
    families = len(SCRIPTS[metric])
    with (tmp_path / "first.log").open("w") as log:
        first = stage.start("sweep", f"{metric}.yaml", output=log)
        stage.wait_for(metric, have_ended(2), 240)
        kill(first.pid)
        first.wait()
    ended = [trial for trial in stage.trials(metric) if trial.state in ENDED]
    assert 2 <= len(ended) < families * TRIALS
    again = stage.run("sweep", f"{metric}.yaml")
    assert again.returncode == 0, again.stderr[-3000:]
    trials = stage.trials(metric)
    assert Counter(trial.family for trial in trials) == dict.fromkeys({t.family for t in trials}, TRIALS)
    assert len(trials) == families * TRIALS
    assert {trial.state for trial in trials} <= set(ENDED), again.stdout
    check_tracking(stage, metric)
    assert curve_lengths(stage, f"val/{metric}") == Counter(trial.epochs for trial in trials)
    check_pruning(stage, metric)
    until(lambda: not left_behind(tmp_path), 90)
    for name, script in SCRIPTS[metric].items():
        if script.rows:
            check_champion(stage, metric, name.replace(":", "."), script)


def check_pruning(stage: Stage, metric: str) -> None:
    """Of each script that reports more than one value the bad configuration is pruned, by its kill or not."""
    found = {name.replace(":", "."): script for name, script in SCRIPTS[metric].items() if script.bad}
    ends = {name: [t for t in stage.trials(metric) if t.family == name] for name in found}
    longest = {name: max(trial.epochs for trial in trials) for name, trials in ends.items()}
    pruned = {name: [t.epochs for t in trials if t.state == "pruned"] for name, trials in ends.items()}
    assert all(short and max(short) < longest[name] for name, short in pruned.items()), (pruned, longest)


def check_champion(stage: Stage, sweep: str, family: str, script: Script) -> None:
    """Promoted by rows of the script's own, and asked for them by file and by HTTP: as good as the script
    itself says."""
    rows = ROWS[script.rows]()
    rows.to_csv(stage.folder / f"{script.rows}.csv", index=False)
    rows.drop(columns="target").to_csv(stage.folder / "asked.csv", index=False)
    columns = "{text: text, target: target}" if "text" in rows else "{target: target}"
    source = f"{{source: 'csv:{script.rows}.csv', task: classification, columns: {columns}}}"
    stage.write(
        "policy.yaml",
        f"evaluation: {{data: {source}, part: all}}\ntraining_rows: unknown\nmin_examples: 20\n",
    )
    model = family.rpartition(".")[2]
    model = f"{sweep}-{model}-{script.rows}"
    for words in (
        ("policy", model, "--set", "policy.yaml", "--reason", "rows of its own"),
        ("promote", sweep, "--family", family, "--model", model, "--reason", "the first"),
        ("predict", model, "asked.csv", "--out", f"{model}.csv"),
    ):
        done = stage.run(*words)
        assert done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-3000:])
    answers = pd.read_csv(stage.folder / f"{model}.csv", dtype=str)["prediction"]
    right = (answers == rows["target"].astype(str)).mean()
    assert served_answers(stage, model, rows.drop(columns="target")) == answers.to_list()
    best = max(
        (trial for trial in stage.trials(sweep) if trial.family == family and trial.state == "complete"),
        key=lambda trial: (trial.objective or (0.0,))[0] * (1 if sweep == "accuracy" else -1),
    )
    print(family, right, best.params, best.metrics)
    if script.metric:
        assert right == pytest.approx(best.metrics[script.metric] / script.count, abs=1e-6)
    else:
        assert right > 0.9


def served_answers(stage: Stage, model: str, asked: pd.DataFrame) -> list[str]:
    """What the champion says over HTTP."""
    port = free_port()
    environ = {"VELODROME_HOME": str(stage.home.path), "PYTHONPATH": str(ROOT), **stage.environment}
    command = [sys.executable, "-m", "flows.cli", "serve", model, "--port", str(port)]
    body = json.dumps({"dataframe_split": asked.to_dict("split", index=False)}).encode()
    with run_server(command, port, environ, stage.folder / f"{model}.log"):
        status, version, answer = ask(port, body)
    assert (status, version) == (200, f"{model}/1"), answer
    return [found["label"] for found in answer["predictions"]]
