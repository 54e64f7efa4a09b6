"""The GAN: what its players learn, and what it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.families.cases import Memory, pictures
from trainers.bundle.bundle import load_bundle, save_bundle
from trainers.data.dataset import Dataset, EncodedDataset
from trainers.errors import InputError
from trainers.families.gan import GAN
from trainers.job import Hooks, Job
from trainers.loop.training import train
from trainers.types import Goal, Length

PARAMS = {"channels": [16, 8], "latent": 8, "batch_size": 20, "learning_rate": 2e-3}


class Silent(Hooks):
    """Takes reports, stops nothing, keeps nothing."""

    def __init__(self) -> None:
        self.reports: list[dict[str, float]] = []

    def report(self, epoch: int, metrics: Any) -> bool:
        self.reports.append(dict(metrics))
        return True

    def alive(self, step: int) -> None:
        return

    def stopping(self) -> bool:
        return False

    def save(self, tensors: Any, document: Any) -> None:
        raise AssertionError("nothing is to be saved")

    def load(self) -> None:
        return None


def encode_pictures(dataset: Dataset) -> tuple[GAN, EncodedDataset]:
    family, memory = GAN(), Memory()
    state = family.encode(dataset, family.complete(PARAMS), memory)
    arrays = {name: np.asarray(values) for name, values in memory.arrays.items()}
    return family, EncodedDataset(arrays=arrays, state=state, splits=dataset.splits, fingerprint="0" * 32)


def train_gan(
    epochs: int, samples: Path | None = None, seed: int = 0
) -> tuple[Any, Silent, EncodedDataset, GAN]:
    family, data = encode_pictures(pictures())
    hooks = Silent()
    job = Job(
        family=family, params=family.complete(PARAMS), seed=seed, length=Length(epochs=epochs),
        goals=(Goal(metric="val/distance", maximize=False),), device="cpu", samples=samples,
    )  # fmt: skip
    return train(job, data, hooks), hooks, data, family


def test_gan_distance_falls_and_each_report_has_samples(tmp_path: Path) -> None:
    outcome, hooks, _, _ = train_gan(40, tmp_path)
    distances = [report["val/distance"] for report in hooks.reports]
    assert min(distances) < 0.3 * distances[0]
    assert outcome.values[0] == min(distances)
    assert {"train/discriminator_loss", "train/generator_loss"} <= hooks.reports[0].keys()
    shown = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert shown == [f"{epoch:04d}.png" for epoch in range(1, 41)]


def test_gan_same_seed_gives_same_distances() -> None:
    first, second, other = (train_gan(2, seed=seed)[1].reports for seed in (0, 0, 1))
    assert [r["val/distance"] for r in first] == [r["val/distance"] for r in second]
    assert [r["val/distance"] for r in first] != [r["val/distance"] for r in other]


def test_a_bundle_makes_the_same_image_of_the_same_seed(tmp_path: Path) -> None:
    outcome, _, data, family = train_gan(1)
    dataset = pictures()
    save_bundle(
        tmp_path / "bundle", family_reference="gan", options={}, params=PARAMS, state=data.state,
        weights=outcome.weights, facts={}, example_rows=family.example(dataset),
        row_hashes_of_train=dataset.row_hashes,
    )  # fmt: skip
    model = load_bundle(tmp_path / "bundle")
    answers = model.predict(pd.DataFrame({"seed": [5, 6, 5]}))
    found = [np.array(image) for image in answers["image"]]
    assert found[0].shape == (8, 8, 1)
    assert (found[0] == found[2]).all()
    assert (found[0] != found[1]).any()
    assert found[0].min() >= 0
    assert found[0].max() <= 255
    for wrong in ([1.5], ["one"], [None]):
        with pytest.raises(InputError, match="whole number"):
            model.predict(pd.DataFrame({"seed": wrong}))


def test_gan_image_sides_that_cannot_be_halved_are_refused() -> None:
    family = GAN()
    state = {"task": "generation", "shape": [10, 10, 1]}
    with pytest.raises(InputError, match="multiples of 4"):
        family.build(state, family.complete(PARAMS))


def test_gan_images_have_the_real_shape_and_own_noise() -> None:
    family, data = encode_pictures(pictures())
    torch.manual_seed(0)
    module = family.build(data.state, family.complete(PARAMS)).eval()
    batch = {"inputs": torch.from_numpy(data.arrays["inputs"][:6].copy())}
    images_made = family.outputs(module, batch)
    assert images_made.shape == batch["inputs"].shape
    assert images_made.min() >= 0
    assert images_made.max() <= 1
    assert len({tuple(image.flatten().tolist()) for image in images_made}) == 6
