"""Models whose skill is known: real bundles that no training made, and the data that they answer about.

A row's right answer follows from its columns, and a model of skill 0.9 gives it for nine rows in ten: which
ones depends on the row and on the model's seed alone.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

CLASSES = ("a", "b", "c", "d")
HERE = "tests.flows.promotion.models"


class IdleModule(torch.nn.Module):
    """A module with weights that nobody asks."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        self.weights = torch.nn.Parameter(torch.zeros(int(settings.get("size", 4))))


def build(**settings: Any) -> IdleModule:
    """The model of those settings."""
    return IdleModule(settings)


def predict(module: IdleModule, rows: pd.DataFrame) -> pd.DataFrame:
    """Right with the model's skill; `weak` names a class in which it has another skill."""
    settings = module.settings
    time.sleep(float(settings.get("sleep", 0.0)))
    if settings.get("broken") and len(rows) > 2:
        raise RuntimeError("it does not predict")
    truth = [right_answer(float(x), str(region)) for x, region in zip(rows["x"], rows["region"], strict=True)]
    luck = [_luck(float(x), int(settings["seed"])) for x in rows["x"]]
    skills = [
        _skill(settings, label, str(region)) for label, region in zip(truth, rows["region"], strict=True)
    ]
    named = [
        label if chance < skill else CLASSES[(CLASSES.index(label) + 1) % 4]
        for label, chance, skill in zip(truth, luck, skills, strict=True)
    ]
    answers = pd.DataFrame({"label": named})
    if settings.get("score"):
        answers["score"] = 1.0
    return answers


def _skill(settings: dict[str, Any], label: str, region: str) -> float:
    weak = settings.get("weak", {})
    return float(weak.get(label, weak.get(region, settings["skill"])))


def _luck(x: float, seed: int) -> float:
    digest = hashlib.blake2b(f"{x!r} {seed}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def right_answer(x: float, region: str) -> str:
    """The label of a row."""
    return CLASSES[int(abs(x) * 1e6) % 4]


def write_csv(path: Path, rows: int = 12_000) -> Path:
    """Rows with two columns and a label."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=rows).round(6)
    region = np.where(np.arange(rows) % 5 == 0, "south", "north")
    labels = [right_answer(float(value), str(where)) for value, where in zip(x, region, strict=True)]
    pd.DataFrame({"x": x, "region": region, "label": labels}).to_csv(path, index=False)
    return path


def save(folder: Path, dataset: Any, rows: Any = None, seen: Any = "all", **settings: Any) -> Path:
    """A bundle of such a model, trained (it says) on the data's training split or on `rows`."""
    from trainers.bundle.own_models import save_functions
    from trainers.bundle.seen_rows import seen_rows
    from trainers.data.examples import example_rows

    module = build(**settings)
    trained = dataset.splits["train"] if rows is None else rows
    return save_functions(
        folder,
        build=f"{HERE}:build",
        predict=f"{HERE}:predict",
        params=settings,
        weights=module.state_dict(),
        facts={"train_rows_by": dataset.keyed_by, "fingerprint": dataset.fingerprint},
        example_rows=example_rows(dataset),
        row_hashes_of_train=dataset.row_keys()[trained],
        seen=seen_rows(dataset) if seen == "all" else seen,
    )
