"""What a member of a stack costs beside the same trial by hand and by the plain loop: whole trials.

    python -m benchmarks.stacked [--families linear_regression mlp] [--widths 4 16 64] [--epochs 10] [--small]

One thread; processor time, so that what else runs counts little. By hand: batches of 32 over tensors in
memory, `torch.optim.Adam` as it comes, the loss read every step and the validation part's after each epoch.
Stacked: as many trials with other seeds and rates, each with all metrics, its kept weights and its report.
Bars: linear and logistic regression 15, mlp 8, text_cnn 3, image_cnn and transformer 1.4 times at 64. Of
text_cnn and transformer there are several sizes: what a stack saves is the cost of a step that is not its
arithmetic.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.by_hand import (
    BATCH,
    CASES,
    DIGITS,
    DOCSTRINGS,
    BenchmarkCase,
    PreparedCase,
    class_loss,
    prepare_case,
    time_by_hand,
)
from benchmarks.figures import Measurements, parser, print_progress
from benchmarks.loop_overhead import TimingHooks
from trainers.job import Job, Outcome
from trainers.loop.training import train
from trainers.stacking.structure import structure_key
from trainers.stacking.training import Member, train_stack
from trainers.types import Goal, Length

BARS = {
    "linear_regression": 15.0, "logistic_regression": 15.0, "mlp": 8.0, "text_cnn": 3.0, "image_cnn": 1.4,
    "transformer": 1.4,
}  # fmt: skip
ROUNDS = 3
SIZES = (
    BenchmarkCase(
        family="transformer", name="transformer, 1 layer of 32, on digits", data=DIGITS, loss=class_loss,
        params={"width": 32, "heads": 2, "layers": 1, "feed_forward": 64, "gradient_clip": None},
    ),
    BenchmarkCase(
        family="transformer", name="transformer, 2 layers of 64, on digits", data=DIGITS, loss=class_loss,
        params={"width": 64, "heads": 4, "layers": 2, "feed_forward": 128, "gradient_clip": None},
    ),
    BenchmarkCase(
        family="text_cnn", name="text_cnn, 16 filters of 3, on 32 words", data=DOCSTRINGS, loss=class_loss,
        options={"max_words": 32},
        params={"embedding": 32, "filters": 16, "vocabulary": 1000, "filter_widths": [3]},
    ),
    BenchmarkCase(
        family="text_cnn", name="text_cnn, 32 filters of 3, 4 and 5, on 32 words", data=DOCSTRINGS,
        loss=class_loss, options={"max_words": 32}, params={"embedding": 64, "filters": 32},
    ),
)  # fmt: skip


def time_call(call: Callable[[], object]) -> float:
    """The least processor seconds of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return min(seconds)


def train_by_hand(given: PreparedCase, epochs: int) -> None:
    """The usual loop, and the validation part's loss after each epoch."""
    loss = given.case.loss
    assert loss is not None
    rows = torch.from_numpy(np.array(given.data.splits["validation"]))
    judged = {name: torch.from_numpy(np.array(v))[rows] for name, v in given.data.arrays.items()}
    time_by_hand(given, epochs, fused=None)
    module = given.module().eval()
    with torch.no_grad():
        for _ in range(epochs):
            for at in torch.split(torch.arange(len(rows)), 4 * BATCH):
                loss(module, {name: values[at] for name, values in judged.items()}).item()


def train_members(given: PreparedCase, width: int, epochs: int) -> None:
    """So many trials; by the plain loop where it is one."""
    job = Job(
        family=given.family, params=given.params, seed=0, length=Length(epochs=epochs),
        goals=(Goal(metric="val/loss", maximize=False),), threads=1,
    )  # fmt: skip
    if width == 1:
        train(job, given.data, TimingHooks())
        return

    def pass_failure_on(member: Member, outcome: Outcome | Exception) -> None:
        if isinstance(outcome, Exception):
            raise outcome

    members = []
    for seed in range(width):
        params = {**given.params, "learning_rate": given.params["learning_rate"] * (1 + seed / width)}
        members.append(Member(job=replace(job, seed=seed, params=params), hooks=TimingHooks()))
    train_stack(members, given.data, refill=lambda: None, ended=pass_failure_on, width=width)


def measure(given: PreparedCase, widths: list[int], epochs: int, figures: Measurements) -> None:
    """One family's figures: how many times less a member costs than a trial by hand, and than one by the
    plain loop."""
    name = given.case.name or given.case.family
    by_hand = time_call(lambda: train_by_hand(given, epochs))
    plain = time_call(lambda: train_members(given, 1, epochs))
    for width in widths:
        each = time_call(lambda width=width: train_members(given, width, epochs)) / width  # type: ignore[misc]
        note = f"{1000 * each:.1f} ms a member, by hand {1000 * by_hand:.1f}, plain loop {1000 * plain:.1f}"
        bar = BARS.get(given.case.family) if width == 64 else None
        figures.add(f"{name}, {width} stacked / by hand", by_hand / each, "times", at_least=bar, note=note)
        print_progress(f"{name}, {width}: {by_hand / each:.1f} and {plain / each:.1f} times; {note}")


def main() -> None:
    """Measures and prints a table."""
    arguments = parser(__doc__ or "")
    known = [case.family for case in CASES if case.loss is not None]
    arguments.add_argument("--families", nargs="+", choices=known, default=list(BARS))
    arguments.add_argument("--widths", nargs="+", type=int, default=[4, 16, 64])
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--small", action="store_true", help="only the sizes beside the own cases")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    figures = Measurements("A member of a stack beside a trial by hand", given.json)
    gc.collect()
    gc.freeze()  # as a lane does: what was imported is not looked through again, for either side
    for case in SIZES if given.small else (*CASES, *SIZES):
        if case.family in given.families:
            with tempfile.TemporaryDirectory() as folder:
                prepared = prepare_case(case, Path(folder))
            if structure_key(prepared.family, prepared.params) is not None:
                measure(prepared, given.widths, given.epochs, figures)
    figures.conclude()


if __name__ == "__main__":
    main()
