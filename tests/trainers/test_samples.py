"""Pictures and texts that show what a model does: their files, and that showing changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainers.families.cases import Memory, images
from trainers.dataset import Encoded
from trainers.errors import InputError
from trainers.families.image_cnn import ImageCNN
from trainers.job import Goal, Job, Length
from trainers.loop import train
from trainers.samples import confusion_picture, grid, samples_of_weights, write_samples

SMALL = {"channels": [4], "dense": [8], "dropout": 0.5}


class Showing(ImageCNN):
    """Shows what chance gives, at each report."""

    samples_at = "report"

    def samples(self, module: Any, source: Any, state: Any, params: Any) -> dict[str, Any]:
        assert not module.training
        assert not torch.is_grad_enabled()
        return {"drawn": f"{torch.rand(()).item()}", **super().samples(module, source, state, params)}


class Quiet:
    """Hooks that keep the reports."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def report(self, epoch: int, metrics: Any) -> bool:
        self.losses.append(metrics["train/loss"])
        return True

    def alive(self, step: int) -> None:
        pass

    def stopping(self) -> bool:
        return False

    def save(self, tensors: Any, document: Any) -> None:
        pass

    def load(self) -> None:
        return None


def data(family: ImageCNN) -> Encoded:
    dataset, memory = images(), Memory()
    state = family.encode(dataset, family.complete(SMALL), memory)
    return Encoded(arrays=memory.arrays, state=state, splits=dataset.splits)


def job(family: ImageCNN, samples: Path | None) -> Job:
    return Job(
        family=family, params=family.complete(SMALL), seed=0, length=Length(epochs=3), samples=samples,
        goals=(Goal(metric="val/accuracy", maximize=True),),
    )  # fmt: skip


def test_showing_at_each_report_changes_no_bit_of_training(tmp_path: Path) -> None:
    shown, unseen = Quiet(), Quiet()
    outcome = train(job(Showing(), tmp_path / "samples"), data(Showing()), shown)
    expected = train(job(Showing(), None), data(Showing()), unseen)
    assert shown.losses == unseen.losses
    assert all(torch.equal(outcome.weights[name], expected.weights[name]) for name in expected.weights)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    assert [name for name in files if "drawn" in name] == [f"samples/drawn/000{i}.txt" for i in (1, 2, 3)]
    assert len({(tmp_path / name).read_text() for name in files if "drawn" in name}) == 1
    assert "samples/confusion/0003.png" in files


def test_a_finished_classifier_shows_its_confusions(tmp_path: Path) -> None:
    family = ImageCNN()
    encoded = data(family)
    outcome = train(job(family, tmp_path / "none"), encoded, Quiet())
    assert not (tmp_path / "none").exists()
    made = samples_of_weights(family, encoded, family.complete(SMALL), outcome.weights, "cpu")
    assert made.keys() == {"confusion", "classes"}
    head, *lines = str(made["classes"]).splitlines()
    assert head.split("\t") == ["class", "precision", "recall", "f1", "rows"]
    assert sum(int(line.split("\t")[-1]) for line in lines) == len(encoded.splits["validation"])
    (path, table) = write_samples(tmp_path, made)
    assert (path.name, table.name) == ("confusion.png", "classes.txt")
    with Image.open(path) as picture:
        assert picture.size[0] > 100


def test_an_earlier_attempts_file_is_replaced_and_none_is_half_written(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    write_samples(folder, {"text": "old"}, 7)
    (path,) = write_samples(folder, {"text": "new"}, 7)
    assert path == folder / "text" / "0007.txt"
    assert path.read_text() == "new"
    assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == ["0007.txt"]


@pytest.mark.parametrize("name", ["../up", "A", "", "a/b", ".x"])
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name"):
        write_samples(tmp_path / "samples", {name: "text"})


@pytest.mark.parametrize(
    "sample", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), 3, np.zeros(0, np.uint8)]
)
def test_what_is_neither_text_nor_picture_is_refused(sample: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="picture"):
        write_samples(tmp_path, {"it": sample})


def test_a_cells_shade_is_its_share_of_the_row() -> None:
    all_right = confusion_picture(np.array([[9, 0], [0, 3]]), ["cat", "a rather long name of a class"])
    all_wrong = confusion_picture(np.array([[0, 9], [3, 0]]), ["cat", "a rather long name of a class"])
    assert all_right.shape == all_wrong.shape
    dark = [(picture == (8, 48, 107)).all(axis=2) for picture in (all_right, all_wrong)]
    assert dark[0].any()
    assert not (dark[0] & dark[1]).any()


def test_a_grid_has_every_image_whole() -> None:
    values = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 24, 24), np.uint8)
    sheet = grid(values, columns=3)
    assert sheet.shape == (2 * 48 + 2, 3 * 48 + 4, 3)
    assert [int(sheet[0, 0, 0]), int(sheet[0, 50, 0]), int(sheet[50, 50, 0])] == [0, 1, 4]
    assert (sheet[50:, 100:] == 255).all()
