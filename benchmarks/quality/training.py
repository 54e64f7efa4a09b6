"""One training of one configuration in this process, without Ray: what benchmarks over seeds repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from trainers.bundle.teaching import encode_for_training
from trainers.data.dataset import Dataset
from trainers.job import Job, Outcome, SilentHooks
from trainers.loop.training import train
from trainers.registry import load_reference
from trainers.types import Goal, JsonObject, Length


def train_once(
    family: str,
    params: JsonObject,
    dataset: Dataset,
    *,
    seed: int,
    epochs: int,
    cache: Path,
    at: Literal["best", "last"] = "best",
    options: JsonObject | None = None,
    read_test: bool = False,
) -> Outcome:
    """Trains on the data set's training part, and evaluates on validation, and on test where asked."""
    made = load_reference(family)(options or {})
    complete = made.complete(params)
    job = Job(
        family=made, params=complete, seed=seed, length=Length(epochs=epochs), at=at, threads=1,
        goals=(Goal(metric="val/accuracy", maximize=True),), read_test=read_test,
    )  # fmt: skip
    return train(job, encode_for_training(made, dataset, complete, cache), SilentHooks())
