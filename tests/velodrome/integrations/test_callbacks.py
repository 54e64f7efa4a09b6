"""Other people's loops, with the real libraries and without Ray."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainers.functions.test_functions import Recorder
from trainers.errors import TrialError
from trainers.functions.job import FunctionJob
from trainers.functions.run import run_function
from trainers.kept.torch_weights import read_weights
from trainers.types import Goal, Length

LOSS = Goal(metric="val/loss", maximize=False)
EPOCHS = 4


@pytest.fixture
def job(tmp_path: Path) -> FunctionJob:
    return FunctionJob(
        function=len, params={}, seed=3, length=Length(epochs=EPOCHS), goals=(LOSS,), directory=tmp_path
    )


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The libraries' own warnings are theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": torch.tensor([index, 1, 2]), "labels": torch.tensor(index % 2)}


def train_transformer(trial: Any) -> None:
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    from velodrome.integrations.transformers import VelodromeCallback

    config = BertConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    callback = VelodromeCallback(trial)
    arguments = TrainingArguments(
        output_dir=str(trial.directory), num_train_epochs=EPOCHS, per_device_train_batch_size=8,
        eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True, report_to=[], use_cpu=True,
        disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(
        model=BertForSequenceClassification(config), args=arguments, train_dataset=Rows(),
        eval_dataset=Rows(), callbacks=[callback],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=callback.checkpoint)


def build_layers() -> torch.nn.Module:
    """What elsewhere takes the weights of the Lightning module below."""
    return torch.nn.ModuleDict({"layer": torch.nn.Linear(2, 1)})


def train_lightning(trial: Any, **model: Any) -> None:
    import lightning as L

    from velodrome.integrations.lightning import VelodromeCallback

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return self.layer(batch).square().mean()

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", self.layer(batch).square().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = VelodromeCallback(trial, loss="val_loss", **model)
    trainer = L.Trainer(
        callbacks=[callback], max_epochs=EPOCHS, default_root_dir=trial.directory, logger=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2)
    trainer.fit(Module(), loader, loader, ckpt_path=callback.checkpoint)


def train_lightgbm(trial: Any) -> None:
    import lightgbm

    from velodrome.integrations.lightgbm import velodrome_callback

    x, y = np.random.rand(60, 2), np.arange(60) % 2
    data = lightgbm.Dataset(x, y)
    lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1}, data, EPOCHS,
        valid_sets=[lightgbm.Dataset(x, y, reference=data)],
        callbacks=[velodrome_callback(trial, loss="binary_logloss")],
    )  # fmt: skip


def train_xgboost(trial: Any) -> None:
    import xgboost

    from velodrome.integrations.xgboost import VelodromeCallback

    data = xgboost.DMatrix(np.random.rand(60, 2), np.arange(60) % 2)
    xgboost.train(
        {"objective": "binary:logistic", "nthread": 1}, data, EPOCHS, evals=[(data, "val")],
        callbacks=[VelodromeCallback(trial, loss="logloss")], verbose_eval=False,
    )  # fmt: skip


LOOPS = [train_transformer, train_lightning, train_lightgbm, train_xgboost]


@pytest.mark.parametrize("function", LOOPS)
def test_evaluation_is_a_report(job: FunctionJob, function: Callable[..., Any]) -> None:
    hooks = Recorder()
    outcome = run_function(replace(job, function=function), hooks)
    assert [number for number, _ in hooks.reports] == [1, 2, 3, 4]
    assert outcome.status == "complete"
    assert outcome.values == (min(metrics["val/loss"] for _, metrics in hooks.reports),)


@pytest.mark.parametrize("function", LOOPS)
def test_a_loop_ends_where_its_trial_is_pruned(job: FunctionJob, function: Callable[..., Any]) -> None:
    hooks = Recorder(prune_at=2)
    outcome = run_function(replace(job, function=function), hooks)
    assert (outcome.status, len(hooks.reports)) == ("pruned", 2)


@pytest.mark.parametrize("function", [train_transformer, train_lightning])
def test_a_stopped_loop_resumes_from_its_own_checkpoint(
    job: FunctionJob, function: Callable[..., Any]
) -> None:
    hooks = Recorder(stop_after=2)
    assert run_function(replace(job, function=function), hooks).status == "stopped"
    hooks.stop_after = 0
    again = replace(job, function=function, attempt=2, earlier=dict(hooks.reports))
    outcome = run_function(again, hooks)
    assert [number for number, _ in hooks.reports] == [1, 2, 3, 4]
    assert outcome.status == "complete"


@pytest.mark.parametrize("function", LOOPS)
def test_a_loop_that_begins_anew_tells_each_evaluation_once(
    job: FunctionJob, function: Callable[..., Any], tmp_path: Path
) -> None:
    """Its lane died before anything was saved: it trains all of its budget, and not what is left of it."""
    quiet = Recorder()
    expected = run_function(replace(job, function=function, directory=tmp_path / "quiet"), quiet)
    hooks, earlier = Recorder(), dict(quiet.reports[:2])
    outcome = run_function(replace(job, function=function, attempt=2, earlier=earlier), hooks)
    assert [number for number, _ in hooks.reports] == [3, 4]
    assert [values["val/loss"] for _, values in hooks.reports] == [
        pytest.approx(values["val/loss"], rel=1e-5) for _, values in quiet.reports[2:]
    ]
    assert (outcome.epochs, outcome.values) == (EPOCHS, pytest.approx(expected.values, rel=1e-5))


@pytest.mark.parametrize("function", [train_transformer, train_lightning])
def test_an_evaluation_behind_the_checkpoint_is_told_once(
    job: FunctionJob, function: Callable[..., Any], tmp_path: Path
) -> None:
    quiet, hooks = Recorder(), Recorder(stop_after=2)
    run_function(replace(job, function=function, directory=tmp_path / "quiet"), quiet)
    run_function(replace(job, function=function), hooks)
    hooks.stop_after = 0
    run_function(replace(job, function=function, attempt=2, earlier=dict(quiet.reports[:3])), hooks)
    assert [number for number, _ in hooks.reports] == [1, 2, 4]
    last, expected = (found.reports[-1][1]["val/loss"] for found in (hooks, quiet))
    assert last == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("function", [train_transformer, train_lightning])
def test_an_evaluation_is_told_before_the_checkpoint_behind_it(
    job: FunctionJob, function: Callable[..., Any]
) -> None:
    class Telling(Recorder):
        told = 0

        def send_heartbeat(self) -> None:
            self.told += 1

    hooks = Telling()
    run_function(replace(job, function=function), hooks)
    assert hooks.told == EPOCHS


def test_the_model_of_a_transformer_is_kept(job: FunctionJob) -> None:
    outcome = run_function(replace(job, function=train_transformer), Recorder())
    assert outcome.keep == "best"
    assert (job.directory / "best/model.safetensors").is_file()


def test_the_best_checkpoint_of_lightning_is_kept(job: FunctionJob) -> None:
    outcome = run_function(replace(job, function=train_lightning), Recorder())
    assert (job.directory / outcome.keep).suffix == ".ckpt"


def test_the_weights_of_lightnings_best_checkpoint_are_a_model(job: FunctionJob) -> None:
    build = f"{__name__}:build_layers"
    outcome = run_function(replace(job, function=partial(train_lightning, build=build)), Recorder())
    assert outcome.has_model
    assert set(outcome.weights) == {"layer.weight", "layer.bias"}
    assert outcome.code["build"] == build
    saved = torch.load(job.directory / outcome.keep, weights_only=True)["state_dict"]
    assert all(torch.equal(outcome.weights[name], saved[name]) for name in saved)


def test_a_checkpoint_with_objects_is_refused_as_a_model(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": {"path": tmp_path}}, tmp_path / "last.ckpt")
    with pytest.raises(TrialError, match="must hold plain values"):
        read_weights(tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    ("name", "package", "said"),
    [
        ("lightning", "lightning.pytorch", r"velodrome\[lightning\]"),
        ("xgboost", "xgboost.callback", r"velodrome\[xgboost\]"),
        ("lightgbm", "lightgbm.callback", r"velodrome\[trees\]"),
        ("transformers", "transformers", r"transformers\[torch\]"),
    ],
)
def test_a_library_that_is_not_there_is_named_with_its_extra(
    name: str, package: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"velodrome.integrations.{name}", raising=False)
    monkeypatch.delitem(sys.modules, "pytorch_lightning", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=said):
        importlib.import_module(f"velodrome.integrations.{name}")
