"""Families that begin with other models' weights, and boosted trees: from sweep to the champion's answers.

Each source of weights is a folder as transformers saves one, or an earlier sweep; all share one Ray.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import velodrome
from infra.home import Home
from infra.ledger import views
from infra.ledger.store import Ledger
from infra.tracking.client import connect
from tests.trainers.families.cases import texts
from tests.trainers.families.test_bert import TinyBert, model
from tests.trainers.families.test_t5 import TinyT5, save
from tests.trainers.pretrained.test_pretrained_try_out import BERT, VIT
from trainers.data.examples import example_rows
from trainers.data.sources.opening import open_dataset

SPACE = {"learning_rate": {"type": "float", "low": 4e-3, "high": 6e-3}, "batch_size": 16}
TREES = {"learning_rate": {"type": "float", "low": 0.1, "high": 0.2}}
EPOCHS = 3
AGAIN = "trainers.families.bert:Bert"  # the same family a second time
ADAPTERS = {"rank": 2, "targets": ["query", "value"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A sweep of one trial a family, and whom it takes rows from."""

    data: Mapping[str, Any]
    families: Mapping[str, Any]
    rows: pd.DataFrame
    metric: str = "accuracy"
    columns: tuple[str, ...] = field(default=("prediction",))


def texts_of_folders(folder: Path) -> Whole:
    """BERT by `pretrained`, and by `auto` with adapters."""
    made = str(model(folder / "bert", BERT, document=TinyBert(texts()).state["tokenizer"]))
    families = {
        "bert": {"options": {"pretrained": made, "max_tokens": 12}},
        AGAIN: {"options": {"auto": made, "max_tokens": 12, "lora": ADAPTERS}},
    }
    data = {"source": f"csv:{write_reviews(folder)}", "columns": {"text": "text", "target": "tone"}}
    rows = pd.DataFrame({"text": ["the film is great", "the film is dull"]})
    return Whole(data=data, families=families, rows=rows)


def write_reviews(folder: Path) -> Path:
    """Texts with a word of praise or of blame, and pairs of them with it."""
    draw = np.random.default_rng(0)
    words = draw.choice(["great", "lovely", "dull", "awful"], 400)
    filler = [" ".join(draw.choice(["the", "film", "is", "and"], 5)) for _ in words]
    tone = np.where(np.isin(words, ["great", "lovely"]), "good", "bad")
    texts = [f"{front} {word}" for front, word in zip(filler, words, strict=True)]
    path = folder / "reviews.csv"
    pd.DataFrame({"text": texts, "tone": tone}).to_csv(path, index=False)
    return path


def images_of_folders(folder: Path) -> Whole:
    """ViT by `pretrained`, and by `auto` with adapters."""
    made = str(model(folder / "vit", {**VIT, "image_size": 8}))
    adapters = {"rank": 2, "targets": ["q_proj", "v_proj"]}
    families = {
        "bert": {"options": {"pretrained": made}},
        AGAIN: {"options": {"auto": made, "lora": adapters}},
    }
    rows = pd.DataFrame({"image": [[[[9]] * 8] * 8, [[[200]] * 8] * 8]})
    return Whole(data={"source": "builtin:digits"}, families=families, rows=rows)


def pairs_of_a_folder(folder: Path) -> Whole:
    """T5 by `pretrained`, with adapters."""
    options = {"pretrained": str(save(TinyT5(), folder / "t5")), "lora": {"rank": 2}}
    options |= {"generate": {"max_tokens": 3}}
    rows = pd.DataFrame({"input": ["the film is great", "the film is dull"]})
    columns = {"input": "text", "reference": "tone"}
    data = {"source": f"csv:{write_reviews(folder)}", "task": "seq2seq", "columns": columns}
    families = {"t5": {"options": options}}
    return Whole(data=data, families=families, rows=rows, metric="loss", columns=("output",))


def tables(folder: Path) -> Whole:
    """Boosted trees."""
    data = {"source": "builtin:cancer"}
    dataset = open_dataset(data, base=folder, cache=folder)
    rows = example_rows(dataset)
    return Whole(data=data, families={"gradient_boosting": {"space": TREES}}, rows=rows)


WHOLE = (texts_of_folders, images_of_folders, pairs_of_a_folder, tables)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home, and the one Ray that all sweeps use."""
    import ray

    folder = tmp_path_factory.mktemp("whole")
    before = {name: os.environ.get(name) for name in ("VELODROME_HOME", "OMP_NUM_THREADS")}
    os.environ |= {"VELODROME_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield folder
    ray.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def write_sweep(folder: Path, name: str, whole: Whole, trials: int = 1) -> Path:
    families = {key: {"space": SPACE, **entry} for key, entry in whole.families.items()}
    document = {
        "name": name,
        "data": whole.data,
        "objective": {"metric": whole.metric},
        "budget": {"trials": trials, "epochs": EPOCHS},
        "search": {"sampler": "random", "pruner": "none"},
        "resources": {"lanes": 1},
        "families": families,
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(document))  # which is YAML too
    return path


def check_whole(folder: Path, name: str, whole: Whole) -> None:
    file = write_sweep(folder, name, whole)
    status = velodrome.sweep(file)
    assert [trial.state for trial in status.trials] == ["complete"] * len(whole.families), status.trials
    confirmed = velodrome.confirm(name, each_family=True, seeds=2)
    assert len(confirmed.rows) == len(whole.families)
    assert all(len(row.test.values) == 2 for row in confirmed.rows)
    assert velodrome.promote(name).outcome == "moved"
    whole.rows.to_json(folder / f"{name}.jsonl", orient="records", lines=True)
    done = velodrome.predict(name, folder / f"{name}.jsonl", out=folder / f"{name}-out.jsonl")
    found = pd.read_json(folder / f"{name}-out.jsonl", lines=True)
    assert done.rows == len(found) == len(whole.rows)
    assert {*whole.columns} <= {*found.columns}
    assert found[list(whole.columns)].notna().all().all()


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)  # sweep, confirmation, promotion and prediction, each of which imports much
@pytest.mark.parametrize("make", WHOLE)
def test_family_is_swept_confirmed_promoted_and_asked(place: Path, make: Any) -> None:
    name = make.__name__.replace("_", "-")
    folder = place / name
    folder.mkdir()
    check_whole(folder, name, make(folder))


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sweep_begins_with_the_words_of_another_and_its_runs_say_so(place: Path) -> None:
    small = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 32, "vocabulary": 300}
    folder = place / "words"
    folder.mkdir()
    source = f"csv:{write_reviews(folder)}"
    words = Whole(
        data={"source": source, "task": "masked-words", "columns": {"text": "text"}},
        families={"bert": {"options": {**small, "max_tokens": 12}}},
        rows=pd.DataFrame(),
        metric="loss",
    )
    status = velodrome.sweep(write_sweep(folder, "words", words))
    run = status.trials[0].mlflow_run_id
    tuned = Whole(
        data={"source": source, "columns": {"text": "text", "target": "tone"}},
        families={"bert": {"options": {"pretrained": "sweep:words", "max_tokens": 12}}},
        rows=pd.DataFrame({"text": ["the film is great", "the film is dull"]}),
    )
    check_whole(folder, "tuned", tuned)
    home = Home.from_environment()
    ledger = Ledger(home.ledger_url)
    spec = views.find_sweep(ledger, "tuned").spec
    ledger.close()
    assert spec.families[0].begins_with["run_id"] == run
    tracking = connect(home.mlflow_uri)
    tags = tracking.call("get_run", velodrome.status("tuned").trials[0].mlflow_run_id).data.tags
    assert tags["velodrome.begins_with"] == "words bert-0000"
    assert tags["velodrome.begins_with_run"] == run
    assert tracking.call("get_run", run).data.tags["velodrome.key"] == tags["velodrome.begins_with_key"]
