"""Boosted trees: LightGBM's own, grown by the loop, to the bit; and what is refused beside them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.families.cases import Memory, classes, make_dataset, table
from tests.trainers.families.test_training_options import Quiet
from trainers.bundle.bundle import load_bundle, save_bundle
from trainers.data.dataset import Dataset, EncodedDataset
from trainers.errors import InputError
from trainers.families.gradient_boosting import GradientBoosting
from trainers.job import Job, Outcome
from trainers.loop.training import train
from trainers.modules.boosted_trees import BoostedTrees
from trainers.types import Goal, Length

EPOCHS, ROUNDS = 4, 3
PARAMS = {"num_leaves": 5, "min_child_samples": 3, "lambda_l2": 0.1}
DRAWN = {**PARAMS, "feature_fraction": 0.5}


def two_classes() -> Dataset:
    """`classes` without the smallest."""
    found = classes()
    labels = ["large" if name == "large" else "other" for name in found.target.values]  # type: ignore[union-attr]
    target = replace(found.target, values=labels)  # type: ignore[type-var]
    return make_dataset("table", "classification", found.columns, target, ("large", "other"))


TABLES = (table, classes, two_classes)


class Stopping(Quiet):
    """Leaves after a report, with a checkpoint; goes on from it the next time."""

    def __init__(self) -> None:
        self.saved: Any = None

    def stopping(self) -> bool:
        return True

    def save(self, tensors: Any, document: Any) -> None:
        self.saved = ({name: tensor.clone() for name, tensor in tensors.items()}, document)

    def load(self) -> Any:
        return self.saved


def encode(
    dataset: Dataset, params: Mapping[str, Any], **options: Any
) -> tuple[GradientBoosting, EncodedDataset]:
    family, memory = GradientBoosting({"rounds": ROUNDS, **options}), Memory()
    state = family.encode(dataset, family.complete(params), memory)
    return family, EncodedDataset(arrays=memory.arrays, state=state, splits=dataset.splits)


def job_of(family: GradientBoosting, params: Mapping[str, Any], **more: Any) -> Job:
    goal = Goal(metric="val/loss", maximize=False)
    settings = {"seed": 7, "length": Length(epochs=EPOCHS), "goals": (goal,), "at": "last", **more}
    return Job(family=family, params=family.complete(params), **settings)


def module_of(family: GradientBoosting, encoded: EncodedDataset, outcome: Outcome) -> BoostedTrees:
    module = family.build(encoded.state, {})
    module.load_state_dict(dict(outcome.weights))
    assert isinstance(module, BoostedTrees)
    return module


def outputs_of(module: torch.nn.Module, encoded: EncodedDataset) -> Any:
    batch = {name: torch.from_numpy(np.asarray(values)) for name, values in encoded.arrays.items()}
    return module(batch["numbers"], batch["categories"]).numpy()


def by_hand(encoded: EncodedDataset, params: Mapping[str, Any], rounds: int, weight: Any = None) -> Any:
    """LightGBM's raw answers for all rows."""
    arrays, train_rows = encoded.arrays, encoded.splits["train"]
    rows = np.hstack([arrays["numbers"], arrays["categories"]])
    count = len(encoded.state.get("classes", ()))
    task: dict[str, Any] = {"objective": {0: "regression", 2: "binary"}.get(count, "multiclass")}
    task |= {"num_class": count} if count > 2 else {}
    first = arrays["numbers"].shape[1]
    columns = list(range(first, rows.shape[1]))
    data = lightgbm.Dataset(
        rows[train_rows], arrays["target"][train_rows], weight=weight, categorical_feature=columns
    )
    booster = lightgbm.train({**task, **params, "verbosity": -1, "num_threads": 1}, data, rounds)
    return np.asarray(booster.predict(rows, raw_score=True)).reshape(len(rows), -1)


@pytest.mark.parametrize("dataset", TABLES)
def test_answers_equal_lightgbm_by_hand_to_the_bit(dataset: Any) -> None:
    family, encoded = encode(dataset(), PARAMS)
    outcome = train(job_of(family, PARAMS), encoded, Quiet())
    found = outputs_of(module_of(family, encoded, outcome), encoded)
    expected = by_hand(encoded, {**PARAMS, "learning_rate": 0.1}, EPOCHS * ROUNDS)
    np.testing.assert_array_equal(found[:, -expected.shape[1] :], expected)
    assert np.std(expected) > 0.1


def test_class_weights_equal_lightgbm_weights_of_rows() -> None:
    family, encoded = encode(classes(), PARAMS, class_weights={"small": 5.0})
    outcome = train(job_of(family, PARAMS), encoded, Quiet())
    labels = encoded.arrays["target"][encoded.splits["train"]]
    weight = np.asarray(encoded.state["class_weights"], np.float32)[labels]
    expected = by_hand(encoded, {**PARAMS, "learning_rate": 0.1}, EPOCHS * ROUNDS, weight)
    np.testing.assert_array_equal(outputs_of(module_of(family, encoded, outcome), encoded), expected)


@pytest.mark.parametrize("dataset", TABLES)
def test_trial_stopped_after_each_epoch_gives_the_same_bits(dataset: Any) -> None:
    family, encoded = encode(dataset(), DRAWN)
    whole = train(job_of(family, DRAWN), encoded, Quiet())
    hooks, attempts = Stopping(), []
    while not attempts or attempts[-1].status == "stopped":
        attempts.append(train(job_of(family, DRAWN), encoded, hooks))
    assert len(attempts) == EPOCHS
    assert torch.equal(attempts[-1].weights["text"], whole.weights["text"])
    timed = ("train/epoch_seconds", "train/examples_per_second")
    assert {n: v for n, v in attempts[-1].metrics.items() if n not in timed} == {
        n: v for n, v in whole.metrics.items() if n not in timed
    }


def test_seed_draws_the_columns_of_each_tree() -> None:
    family, encoded = encode(classes(), DRAWN)
    texts = [train(job_of(family, DRAWN, seed=seed), encoded, Quiet()).weights["text"] for seed in (1, 1, 2)]
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])


def test_best_epoch_keeps_its_own_trees() -> None:
    """Fast growth on few rows gets worse beside the validation rows: the kept trees are not the last."""
    params = {**PARAMS, "learning_rate": 2.5}
    family, encoded = encode(classes(), params)
    outcome = train(job_of(family, params, at="best"), encoded, Quiet())
    module = module_of(family, encoded, outcome)
    assert outcome.epoch < EPOCHS
    assert outcome.weights["text"].numpy().tobytes().count(b"Tree=") == outcome.epoch * ROUNDS * 3
    assert outcome.facts["parameters"] == module.leaves.numel() > 0
    expected = by_hand(encoded, params, outcome.epoch * ROUNDS)
    np.testing.assert_array_equal(outputs_of(module, encoded), expected)


def test_better_epoch_replaces_the_kept_trees_by_more() -> None:
    family, encoded = encode(classes(), PARAMS)
    outcome = train(job_of(family, PARAMS, at="best"), encoded, Quiet())
    assert outcome.epoch > 1
    expected = by_hand(encoded, {**PARAMS, "learning_rate": 0.1}, outcome.epoch * ROUNDS)
    np.testing.assert_array_equal(outputs_of(module_of(family, encoded, outcome), encoded), expected)


def test_missing_numbers_stay_missing_in_training_and_use(tmp_path: Path) -> None:
    dataset = table()
    family, encoded = encode(dataset, PARAMS)
    outcome = train(job_of(family, PARAMS), encoded, Quiet())
    assert np.flatnonzero(np.isnan(encoded.arrays["numbers"]).any(axis=1)).tolist() == [3]
    folder = save_bundle(
        tmp_path / "bundle",
        family_reference="gradient_boosting",
        options={"rounds": ROUNDS},
        params=PARAMS,
        state=encoded.state,
        weights=outcome.weights,
        facts={},
        example_rows=family.example(dataset),
        row_hashes_of_train=dataset.row_hashes,
    )
    rows = pd.DataFrame({name: column.values for name, column in dataset.columns.items()})
    found = load_bundle(folder).predict(rows)["prediction"].to_numpy()
    raw = outputs_of(module_of(family, encoded, outcome), encoded)[:, 0]
    state = encoded.state
    np.testing.assert_array_equal(found, raw * state["target_std"] + state["target_mean"])
    spelt = rows.astype(object).where(rows.notna(), "")
    np.testing.assert_array_equal(load_bundle(folder).predict(spelt)["prediction"].to_numpy(), found)


def test_loss_falls_and_is_lightgbms_own() -> None:
    family, encoded = encode(classes(), PARAMS)
    reports: list[Any] = []
    hooks = Quiet()
    hooks.report = lambda epoch, metrics: bool(reports.append(metrics)) or True  # type: ignore[method-assign, func-returns-value]
    train(job_of(family, PARAMS), encoded, hooks)
    losses = [report["train/loss"] for report in reports]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def test_table_without_lightgbm_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(InputError, match="needs LightGBM") as error:
        GradientBoosting().check(table())
    assert error.value.do == "pip install 'velodrome[trees]'"
    with pytest.raises(InputError, match="needs LightGBM"):
        GradientBoosting().build({}, {})


@pytest.mark.parametrize("options", [{"pretrained": "w"}, {"sha256": "0" * 64}, {"freeze": ["*"]}])
def test_options_of_weights_are_refused(options: Any) -> None:
    with pytest.raises(InputError, match="beside weights") as error:
        GradientBoosting(options).check(table())
    assert error.value.key == ("options", *options)


def test_text_that_is_no_tree_is_refused() -> None:
    module = BoostedTrees(3)
    other = torch.from_numpy(np.frombuffer(b"no tree at all", np.uint8).copy())
    with pytest.raises(RuntimeError, match="LightGBM's text format"):
        module.load_state_dict({"text": other})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        module.load_state_dict({"text": other[:0], "weight": other})
    with pytest.raises(RuntimeError, match="Missing key"):
        module.load_state_dict({})
