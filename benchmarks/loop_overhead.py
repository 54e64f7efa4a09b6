"""What the training loop costs beside one written by hand, family by family: the same model, in turns.

    python -m benchmarks.loop_overhead [--families image_cnn t5] [--rounds 9] [--json FILE]

All sides train on the CPU with one thread, the same model, batches of 32, Adam and the loss. The hand-written
loop is once the usual one (`torch.optim.Adam` as it comes) and once with `fused=True`, which the loop uses
too; `t5` and `bert` are trained by transformers' own Trainer as well (it needs `accelerate`, which `peft`
brings). Timed are epochs of 20 steps at most, without evaluation and reports; the figure is the ratio of
medians over interleaved rounds. Bars: at most 1.05 beside the fused loop, at most 1 beside the Trainer.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks.by_hand import BATCH, CASES, PreparedCase, bert_inputs, prepare_case, t5_inputs, time_by_hand
from benchmarks.figures import Measurements, parser, print_progress
from trainers.job import Job
from trainers.loop.training import train
from trainers.types import Goal, Json, Length, Tensors

EPOCHS = 3
AT_MOST, BESIDE_TRAINER = 1.05, 1.0
METRICS = {"gan": "distance"}


class TimingHooks:
    """Hooks that do nothing but keep the seconds of each epoch's training."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self.seconds: list[float] = []

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Keeps the epoch's."""
        self.seconds.append(metrics["train/epoch_seconds"])
        return True

    def alive(self, step: int) -> None:
        """Nobody watches."""

    def stopping(self) -> bool:
        """Never."""
        return False

    def save(self, tensors: Tensors, document: Mapping[str, Json]) -> None:
        """Nothing."""

    def load(self) -> None:
        """Nothing."""


def time_own_loop(given: PreparedCase) -> list[float]:
    """Seconds of an epoch's steps in `trainers.loop.training.train`, the mean of some epochs."""
    hooks, goal = TimingHooks(), _goal(given)
    steps = EPOCHS * -(-len(given.data.splits["train"]) // BATCH)
    length = Length(steps=steps, report_every=steps)  # one evaluation, which is not timed
    job = Job(
        family=given.family, params=given.params, seed=0, length=length, goals=(goal,), threads=1, at="last"
    )
    train(job, given.data, hooks)
    return [seconds / EPOCHS for seconds in hooks.seconds]


def _goal(given: PreparedCase) -> Goal:
    usual = given.family.rules(given.data.state).metrics
    return Goal(metric=f"val/{METRICS.get(given.case.family, usual[0])}", maximize=False)


def time_hf_trainer(given: PreparedCase) -> list[float]:
    """Seconds of an epoch's steps in transformers' Trainer, from its own marks; the mean of some epochs."""
    import time

    from transformers import Trainer, TrainerCallback, TrainingArguments

    marks: list[float] = []

    class Marks(TrainerCallback):
        def on_epoch_begin(self, *_: object, **__: object) -> None:
            marks.append(-time.perf_counter())

        def on_epoch_end(self, *_: object, **__: object) -> None:
            marks[-1] += time.perf_counter()

    tensors = given.tensors()
    rows = [{name: values[i] for name, values in tensors.items()} for i in range(len(tensors["target"]))]
    as_taken = t5_inputs if given.case.family == "t5" else bert_inputs
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, use_cpu=True,
            learning_rate=given.params["learning_rate"], weight_decay=0.0, max_grad_norm=0.0,
            lr_scheduler_type="constant", optim="adamw_torch_fused", eval_strategy="no", save_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False,
        )  # fmt: skip

        def collate(batch: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
            return as_taken({name: torch.stack([row[name] for row in batch]) for name in batch[0]})

        trainer = Trainer(given.module(), arguments, collate, rows, callbacks=[Marks()])  # type: ignore[arg-type]
        trainer.train()
    return [sum(marks) / EPOCHS]


def medians_ms(given: PreparedCase, rounds: int) -> dict[str, float]:
    """Medians in milliseconds an epoch, by side."""
    sides: dict[str, Callable[[], list[float]]] = {
        "loop": lambda: time_own_loop(given),
        "by hand": lambda: time_by_hand(given, EPOCHS, fused=None),
        "by hand, fused": lambda: time_by_hand(given, EPOCHS, fused=True),
    }
    if given.case.trainer:
        sides["Trainer"] = lambda: time_hf_trainer(given)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            found = side()
            times[name] += found if turn else []  # the first round warms up
    return {name: 1000.0 * statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Measures the families and prints the table."""
    made_parser = parser(__doc__ or "")
    made_parser.add_argument("--rounds", type=int, default=9)
    made_parser.add_argument("--families", nargs="+", choices=[case.family for case in CASES])
    arguments = made_parser.parse_args()
    torch.set_num_threads(1)
    figures = Measurements("The loop beside others, the same model", arguments.json)
    for case in CASES:
        if arguments.families and case.family not in arguments.families:
            continue
        with tempfile.TemporaryDirectory() as folder:
            ms = medians_ms(prepare_case(case, Path(folder)), arguments.rounds)
        print_progress(", ".join(f"{name} {value:.1f} ms" for name, value in ms.items()))
        note = f"{ms['loop']:.1f} ms an epoch"
        figures.add(f"{case.family}: loop / by hand, fused", ms["loop"] / ms["by hand, fused"],
                    at_most=AT_MOST, note=note)  # fmt: skip
        figures.add(f"{case.family}: loop / by hand", ms["loop"] / ms["by hand"], note=note)
        if "Trainer" in ms:
            ratio = ms["loop"] / ms["Trainer"]
            figures.add(f"{case.family}: loop / transformers' Trainer", ratio, at_most=BESIDE_TRAINER)
    figures.conclude()


if __name__ == "__main__":
    main()
