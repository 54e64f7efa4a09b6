"""Hugging Face's Trainer: evaluations are reports, and the trial's end is the training's.

`train_trial(trial, trainer)` stands for `trainer.train()`; a loop that needs more of it adds the callback:

callback = VelodromeCallback(trial)
trainer = Trainer(..., args=TrainingArguments(output_dir=trial.directory, ...), callbacks=[callback])
trainer.train(resume_from_checkpoint=callback.checkpoint)
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

try:
    from transformers import TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint
except ImportError as error:
    raise ImportError(
        "velodrome.integrations.transformers needs transformers with accelerate: "
        "pip install 'transformers[torch]'"
    ) from error

if TYPE_CHECKING:
    from trainers.functions.trial import Trial

_ASK_S = 1.0
_BEST = "best"
_TOLD = "velodrome_reports"  # in the Trainer's own history, which travels in its checkpoints


class VelodromeCallback(TrainerCallback):  # type: ignore[misc]
    """Reports each evaluation, stops where the trial is to end, and keeps the model at the end.

    What is kept is the model that training ends with, with its tokenizer: with
    `load_best_model_at_end=True` the best one.
    """

    def __init__(self, trial: Trial) -> None:
        """For one trial."""
        self._trial = trial
        self._reported, self._asked_at = False, time.monotonic()
        self._ending = self._saving = False

    @property
    def checkpoint(self) -> str | None:
        """The newest checkpoint of the Trainer's own in the trial's folder, for `resume_from_checkpoint`."""
        found: str | None = get_last_checkpoint(str(self._trial.directory))
        return found

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Evaluations behind the checkpoint that training goes on from come again, and were told already."""
        told = [entry[_TOLD] for entry in state.log_history if _TOLD in entry]
        if told or state.global_step == 0:
            self._trial.begin_after(max(told, default=0))

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any], **more: Any) -> None:
        """Reports `eval_accuracy` as `accuracy`; the evaluation's own pace is left out."""
        numbers = {
            name.removeprefix("eval_"): value
            for name, value in metrics.items()
            if isinstance(value, (int, float)) and not name.endswith(("_runtime", "_per_second", "epoch"))
        }
        self._trial.report(numbers)
        self._trial.deliver_reports()  # the checkpoint that may come next would let it be skipped
        if state.log_history:
            state.log_history[-1][_TOLD] = self._trial.reports
        self._reported = True

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """The last report is judged once training goes on; several ranks ask at the same steps."""
        late = self._trial.world_size == 1 and time.monotonic() - self._asked_at > _ASK_S
        if not self._reported and not late:
            return
        after_report, self._reported, self._asked_at = self._reported, False, time.monotonic()
        if self._trial.over():
            control.should_training_stop = True
            self._ending, self._saving = True, not after_report

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """A sign of life; the step that was begun when the trial was told to end is the last.

        In the middle of an epoch it is saved, for a stopped trial to go on from; a checkpoint at an epoch's
        end would let it go on behind an evaluation that never was reported.
        """
        self._trial.alive()
        if self._ending:
            control.should_evaluate = False
            control.should_save = self._saving and not float(state.epoch).is_integer()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """As after the last step."""
        if self._ending:
            control.should_evaluate = control.should_save = False

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Writes what is kept."""
        if not state.is_world_process_zero:
            return
        folder = self._trial.directory / _BEST
        for part in ("model", "processing_class"):
            if more.get(part) is not None:
                more[part].save_pretrained(str(folder))
        self._trial.keep(folder)


def train_trial(trial: Trial, trainer: Any) -> Any:
    """Instead of `trainer.train()`: checkpoints lie in the trial's folder, training goes on from its own,
    each evaluation is a report, and the model that it ends with is kept.

    Returns:
        What `train` returns.
    """
    trainer.args.output_dir = str(trial.directory)
    callback = VelodromeCallback(trial)
    trainer.add_callback(callback)
    return trainer.train(resume_from_checkpoint=callback.checkpoint)
