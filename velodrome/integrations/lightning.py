"""Lightning's Trainer (`lightning` and `pytorch_lightning`): validations are reports.

`fit_trial(trial, trainer, model, loader)` stands for `trainer.fit(model, loader)`; a loop that needs more of
it adds the callback:

callback = VelodromeCallback(trial, accuracy="val_acc")
trainer = L.Trainer(callbacks=[callback], max_epochs=trial.budget.epochs, default_root_dir=trial.directory)
trainer.fit(model, ckpt_path=callback.checkpoint)
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from trainers.kept.torch_weights import read_weights

try:
    if "pytorch_lightning" in sys.modules:  # the older name, whose Trainer takes its own callbacks alone
        from pytorch_lightning import Callback
    else:
        from lightning.pytorch import Callback
except ImportError as error:
    raise ImportError(
        "velodrome.integrations.lightning needs lightning: pip install 'velodrome[lightning]'"
    ) from error
if TYPE_CHECKING:
    from trainers.functions.trial import Trial

_LAST = "last.ckpt"


class VelodromeCallback(Callback):  # type: ignore[misc]
    """Reports each validation, saves a checkpoint an epoch, stops where the trial is to end, and keeps the
    best checkpoint (`ModelCheckpoint`'s; without one the last)."""

    def __init__(
        self, trial: Trial, *, build: str | None = None, predict: str | None = None, **metrics: str
    ) -> None:
        """For one trial.

        Args:
            build: `package.module:name` of a function that makes the module anew from the params: with it the
                best checkpoint's weights are the trial's model, without the checkpoint that is a pickle.
            predict: the same of a function of module and rows, for predictions in a person's terms.
            metrics: names of reports by what the module logs, `accuracy="val_acc"`; by default all it logs.
        """
        self._trial, self._names = trial, metrics
        self._build, self._predict = build, predict
        self._reported = False

    @property
    def checkpoint(self) -> str | None:
        """The trial's own checkpoint, for `ckpt_path`; None at a first attempt."""
        path = self._trial.directory / _LAST
        return str(path) if path.is_file() else None

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint is told of: the reports before it."""
        return {"reports": self._trial.reports}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Validations behind the checkpoint come again, and were told already."""
        self._trial.begin_after(state_dict["reports"])

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Without a checkpoint all of them come again."""
        if trainer.global_step == 0:
            self._trial.begin_after(0)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Reports; the check before training is none."""
        if trainer.sanity_checking:
            return
        logged = trainer.callback_metrics
        names = self._names or {name: name for name in logged}
        self._trial.report({name: float(logged[own]) for name, own in names.items() if own in logged})
        self._reported = True

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> int | None:
        """The last report is judged once training goes on."""
        self._trial.alive()
        if not self._reported:
            return None
        self._reported = False
        if not self._trial.over():
            return None
        trainer.should_stop = True
        return -1  # without the rest of the epoch

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Saves what another attempt begins with."""
        if not trainer.should_stop:
            self._trial.deliver_reports()  # which the checkpoint would let be skipped
            trainer.save_checkpoint(self._trial.directory / _LAST)

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        """Names what is kept."""
        own = getattr(trainer.checkpoint_callback, "best_model_path", "") or self.checkpoint
        if own and trainer.is_global_zero:
            self._trial.keep(own)
        if self._build is None:
            return
        if own:
            module.load_state_dict(read_weights(own))
        self._trial.model(module, build=self._build, predict=self._predict)


def fit_trial(
    trial: Trial,
    trainer: Any,
    model: Any,
    *data: Any,
    build: str | None = None,
    predict: str | None = None,
    **metrics: str,
) -> None:
    """Instead of `trainer.fit(model, …)`: goes on from the trial's own checkpoint, each validation is a
    report, and the best checkpoint is kept.

    Args:
        data: loaders or a data module, as `fit` takes them.
        build, predict, metrics: as `VelodromeCallback` takes them.
    """
    callback = VelodromeCallback(trial, build=build, predict=predict, **metrics)
    trainer.callbacks.insert(0, callback)  # before Lightning's own checkpoints, which come last
    trainer.fit(model, *data, ckpt_path=callback.checkpoint)
