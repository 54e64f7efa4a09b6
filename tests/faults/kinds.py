"""Training code of people's own in each shape that there is, slowed down, with values known beforehand.

What a trial reports after an epoch depends on its parameters and the epoch alone, and goes up and down: a
report that is lost, told twice or forgotten at a resume shows in the trial's value.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

EPOCHS = 5
_WAVE = (0.2, 0.7, 0.4, 0.9, 0.5)
_SPACE = """
    space:
      rate: {type: float, low: 0.01, high: 0.5, log: true}
      shift: {type: int, low: 0, high: 4}
"""
SCRIPT = "script.py"
SCRIPT_TEXT = f"""
import argparse, pathlib, time

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--shift", type=int)
parser.add_argument("--out", type=pathlib.Path)
parser.add_argument("--resume", type=pathlib.Path)
given = parser.parse_args()
done = int(given.resume.read_text()) if given.resume else 0
for epoch in range(done, {EPOCHS}):
    time.sleep({{pause}})
    print(f"accuracy={{{{(1 - given.rate) * {_WAVE}[(epoch + given.shift) % {EPOCHS}]}}}}", flush=True)
    time.sleep(0.05)
    (given.out / "next.txt").write_text(str(epoch + 1))
    (given.out / "next.txt").rename(given.out / "last.txt")
"""
_COMMAND = f"""  script:
    command: python {SCRIPT} ${{args}} --out ${{directory}}
    metrics: {{accuracy: 'accuracy=([0-9.e-]+)'}}
    resume: --resume ${{directory}}/last.txt"""
NAMES = ("function", "command", "transformers", "lightning", "optuna", "sklearn", "lightgbm", "xgboost")


def describe_family(kind: str) -> str:
    """What a sweep file says of a kind, below `families:`."""
    return (_COMMAND if kind == "command" else f"  {__name__}:train_{kind}:") + _SPACE


def score(params: Mapping[str, Any], epoch: int) -> float:
    """What a trial reports after an epoch, from 1."""
    return float((1 - params["rate"]) * _WAVE[(epoch - 1 + params["shift"]) % EPOCHS])


def explain_damage(
    params: Mapping[str, Any], reports: Sequence[float], value: float | None, most: int
) -> str:
    """What is wrong with a trial's reports and its value; empty where nothing is.

    Args:
        reports: in the order of their numbers.
        most: how many epochs a trial of this kind has.
    """
    meant = [score(params, epoch) for epoch in range(1, most + 1)]
    epochs = sorted({_nearest(meant, report) for report in reports})
    if -1 in epochs:
        return f"a report that no epoch made: {reports}"
    if epochs != list(range(len(epochs))):
        return f"the report of an epoch is lost: {[epoch + 1 for epoch in epochs]}"
    if value is None or abs(value - max(reports, default=-1.0)) > 1e-6:
        return f"{value} is not the best of {reports}"
    return ""


def _nearest(meant: Sequence[float], report: float) -> int:
    found = [place for place, value in enumerate(meant) if abs(value - report) < 1e-6]
    return found[0] if found else -1


def _pause() -> None:
    time.sleep(float(os.environ.get("SCRIPTED_SLEEP", "0")))


def train_function(trial: Any) -> None:
    """A loop over epochs."""
    for epoch in trial.epochs():
        _pause()
        trial.report(accuracy=score(trial.params, epoch + 1))


def train_optuna(trial: Any) -> float:
    """An objective, which begins anew at each attempt unless it looks for what it wrote."""
    import optuna

    params = {"rate": trial.suggest_float("rate", 0.01, 0.5), "shift": trial.suggest_int("shift", 0, 4)}
    done = Path(trial.directory) / "done.txt"
    for epoch in range(int(done.read_text()) if done.exists() else 0, EPOCHS):
        _pause()
        trial.report(score(params, epoch + 1), epoch)
        done.write_text(str(epoch + 1))
        if trial.should_prune():
            raise optuna.TrialPruned
    return score(params, EPOCHS)


def train_transformers(trial: Any) -> None:
    """Hugging Face's Trainer, by its own checkpoints."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from velodrome.integrations.transformers import train_trial

    class Slow(TrainerCallback):  # type: ignore[misc]
        def on_epoch_begin(self, *args: Any, **more: Any) -> None:
            _pause()

    arguments = TrainingArguments(
        num_train_epochs=EPOCHS, eval_strategy="epoch", save_strategy="epoch", report_to=[], use_cpu=True,
        disable_tqdm=True, save_total_limit=2,
    )  # fmt: skip
    config = BertConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    rows = [{"input_ids": [row, 1, 2], "labels": row % 2} for row in range(8)]
    trainer = Trainer(
        model=BertForSequenceClassification(config), args=arguments, train_dataset=rows,
        eval_dataset=rows, callbacks=[Slow()],
        compute_metrics=lambda _: {"accuracy": score(trial.params, round(trainer.state.epoch))},
    )  # fmt: skip
    train_trial(trial, trainer)


def train_lightning(trial: Any) -> None:
    """A Lightning module, by its own checkpoints."""
    import lightning as L
    import torch

    from tests.velodrome.ports.lightning_module_trial import LightningNet
    from velodrome.integrations.lightning import fit_trial

    class Slow(LightningNet):  # type: ignore[misc]
        def on_train_epoch_start(self) -> None:
            _pause()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log(
                "val_acc", torch.tensor(score(trial.params, self.current_epoch + 1), dtype=torch.float64)
            )

    loader = torch.utils.data.DataLoader(torch.rand(16, 2), batch_size=8)
    trainer = L.Trainer(
        logger=False, max_epochs=EPOCHS, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=trial.directory,
    )  # fmt: skip
    fit_trial(trial, trainer, Slow(4, 1e-3), loader, loader, accuracy="val_acc")


def train_sklearn(trial: Any) -> None:
    """An estimator that is fitted at one go, and kept."""
    from sklearn.datasets import load_iris
    from sklearn.tree import DecisionTreeClassifier

    _pause()
    model = DecisionTreeClassifier(max_depth=3).fit(*load_iris(return_X_y=True))
    trial.model(model)
    trial.report(accuracy=score(trial.params, 1))


def train_lightgbm(trial: Any) -> None:
    """Boosted rounds, each saved; a later attempt boosts on."""
    import lightgbm
    import numpy as np

    from velodrome.integrations.lightgbm import velodrome_callback

    x, y = np.random.default_rng(0).random((60, 2)), np.arange(60) % 2
    saved = Path(trial.directory) / "rounds.txt"
    done = lightgbm.Booster(model_file=saved).current_iteration() if saved.exists() else 0
    if done == EPOCHS:
        return
    data = lightgbm.Dataset(x, y, free_raw_data=False)

    def save(env: Any) -> None:
        env.model.save_model(saved.with_suffix(".new"))
        saved.with_suffix(".new").rename(saved)
        _pause()

    save.order = 99  # type: ignore[attr-defined]  # behind the report
    rounds = iter(range(done + 1, EPOCHS + 1))
    lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1, "metric": "None"}, data, EPOCHS - done,
        valid_sets=[data], init_model=saved if done else None,
        feval=lambda *_: ("accuracy", score(trial.params, next(rounds)), True),
        callbacks=[velodrome_callback(trial), save],
    )  # fmt: skip


def train_xgboost(trial: Any) -> None:
    """The same with XGBoost."""
    import numpy as np
    import xgboost

    from velodrome.integrations.xgboost import VelodromeCallback

    saved = Path(trial.directory) / "rounds.json"
    done = xgboost.Booster(model_file=saved).num_boosted_rounds() if saved.exists() else 0

    class Save(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            model.save_model(saved.with_name("new.json"))
            saved.with_name("new.json").rename(saved)
            _pause()
            return False

    data = xgboost.DMatrix(np.random.default_rng(0).random((60, 2)), np.arange(60) % 2)
    rounds = iter(range(done + 1, EPOCHS + 1))
    xgboost.train(
        {"objective": "binary:logistic", "nthread": 1, "disable_default_eval_metric": True}, data,
        EPOCHS - done, evals=[(data, "val")], xgb_model=saved if done else None, verbose_eval=False,
        custom_metric=lambda *_: ("accuracy", score(trial.params, next(rounds))),
        callbacks=[VelodromeCallback(trial), Save()],
    )  # fmt: skip
