"""Pictures and texts that show what a model does: their files, and that showing changes nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainers.families.cases import CASES, ROWS, Memory, images, make_dataset, pairs, questions
from trainers.data.dataset import Column, Dataset, EncodedDataset
from trainers.errors import InputError
from trainers.families.image_cnn import ImageCNN
from trainers.family import Family
from trainers.job import Job
from trainers.loop.training import train
from trainers.registry import load_reference
from trainers.samples.pictures import grid
from trainers.samples.writing import samples_of_weights, write_samples
from trainers.tasks.confusion import confusion_picture
from trainers.types import Goal, Length

SMALL = {"channels": [4], "dense": [8], "dropout": 0.5}


class SampleShowingFamily(ImageCNN):
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


def data(family: ImageCNN) -> EncodedDataset:
    dataset, memory = images(), Memory()
    state = family.encode(dataset, family.complete(SMALL), memory)
    return EncodedDataset(arrays=memory.arrays, state=state, splits=dataset.splits)


def job(family: ImageCNN, samples: Path | None) -> Job:
    return Job(
        family=family, params=family.complete(SMALL), seed=0, length=Length(epochs=3), samples=samples,
        goals=(Goal(metric="val/accuracy", maximize=True),),
    )  # fmt: skip


def test_samples_at_each_report_change_no_bit_of_training(tmp_path: Path) -> None:
    shown, unseen = Quiet(), Quiet()
    outcome = train(job(SampleShowingFamily(), tmp_path / "samples"), data(SampleShowingFamily()), shown)
    expected = train(job(SampleShowingFamily(), None), data(SampleShowingFamily()), unseen)
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


def test_samples_replace_earlier_attempts_files_whole(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    write_samples(folder, {"text": "old"}, 7)
    (path,) = write_samples(folder, {"text": "new"}, 7)
    assert path == folder / "text" / "0007.txt"
    assert path.read_text() == "new"
    assert [found.name for found in tmp_path.rglob("*") if found.is_file()] == ["0007.txt"]


@pytest.mark.parametrize("name", ["../up", "A", "", "a/b", ".x"])
def test_sample_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name"):
        write_samples(tmp_path / "samples", {name: "text"})


@pytest.mark.parametrize(
    "sample", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), 3, np.zeros(0, np.uint8)]
)
def test_sample_that_is_no_text_or_picture_is_refused(sample: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="picture"):
        write_samples(tmp_path, {"it": sample})


def test_confusion_cell_shade_is_its_share_of_the_row() -> None:
    all_right = confusion_picture(np.array([[9, 0], [0, 3]]), ["cat", "a rather long name of a class"])
    all_wrong = confusion_picture(np.array([[0, 9], [3, 0]]), ["cat", "a rather long name of a class"])
    assert all_right.shape == all_wrong.shape
    dark = [(picture == (8, 48, 107)).all(axis=2) for picture in (all_right, all_wrong)]
    assert dark[0].any()
    assert not (dark[0] & dark[1]).any()


def test_confusion_corner_label_is_whole_beside_short_names() -> None:
    picture = confusion_picture(np.eye(10, dtype=int), [str(digit) for digit in range(10)])
    assert (picture[:30, :8] == 255).all()
    assert (picture[:30, 8:60] != 255).any()


def test_image_grid_shows_every_image_whole() -> None:
    values = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 24, 24), np.uint8)
    sheet = grid(values, columns=3)
    assert sheet.shape == (2 * 48 + 2, 3 * 48 + 4, 3)
    assert [int(sheet[0, 0, 0]), int(sheet[0, 50, 0]), int(sheet[50, 50, 0])] == [0, 1, 4]
    assert (sheet[50:, 100:] == 255).all()


def samples_of(name: str, dataset: Dataset, options: dict[str, Any]) -> str:
    """What a fresh model of the family shows, as its one text."""
    case = next(case for case in CASES if case.name == name)
    family = load_reference(name)(options)  # type: ignore[call-arg]  # a class
    assert isinstance(family, Family)
    params, memory = family.complete({**case.params, "vocabulary": 320}), Memory()
    state = json.loads(json.dumps(family.encode(dataset, params, memory)))
    encoded = EncodedDataset(arrays=memory.arrays, state=state, splits=dataset.splits)
    weights = family.build(state, params).state_dict()
    ((label, text),) = samples_of_weights(family, encoded, params, weights, "cpu").items()
    return f"{label}\n{text}"


@pytest.mark.parametrize("name", ["transformer", "t5"])
def test_samples_of_pairs_show_inputs_references_and_outputs(name: str) -> None:
    label, head, *rows = samples_of(name, pairs(), {"generate": {"max_tokens": 3}}).splitlines()
    assert (label, head.split("\t")) == ("texts", ["input", "reference", "output"])
    source, target = pairs().columns["input"].values, pairs().target
    assert target is not None
    held = pairs().splits["validation"][:10]
    shown = [row.split("\t") for row in rows]
    assert [columns[1] for columns in shown] == [target.values[row] for row in held]
    # cut where the longest source of training ends
    assert all(source[row].startswith(columns[0]) for row, columns in zip(held, shown, strict=True))
    assert all(columns[0] for columns in shown)


def test_samples_of_language_model_show_continuations() -> None:
    column = Column(name="text", kind="text", values=["abcd" * 20] * ROWS)
    corpus = make_dataset("corpus", "language-model", {"text": column}, None)
    label, *rest = samples_of("transformer", corpus, {"generate": {"max_tokens": 5}}).splitlines()
    assert label == "continuations"
    written = [line for line in rest if "[…]" in line and line.startswith("abcd")]
    assert len(written) == 4
    assert all(re.fullmatch(r"(abcd){8}\[…\][abcd]{5}", line) for line in written)


def test_samples_of_question_model_show_questions_and_answers() -> None:
    label, head, *rows = samples_of("bert", questions(), {"max_tokens": 40}).splitlines()
    assert (label, head.split("\t")) == ("answers", ["question", "reference", "answer", "score"])
    assert len(rows) == 10
    assert rows[0].split("\t")[1] == questions().target.values[60]  # type: ignore[union-attr]
    assert "how many coins does the" in rows[0]
