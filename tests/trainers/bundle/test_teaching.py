"""A teacher: its answers are learned beside the targets, once a data set; a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss, softmax

from trainers.bundle.bundle import load_bundle, read_bundle, save_bundle
from trainers.bundle.teaching import encode_for_training
from trainers.data.dataset import Dataset
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError
from trainers.family import Family
from trainers.inputs.encoded_arrays import encode_dataset
from trainers.registry import load_reference
from trainers.stacking.structure import structure_key
from trainers.tasks.classification import Classification
from trainers.tasks.regression import Regression
from trainers.try_out import try_out

BLEND = {"teacher_temperature": 3.0, "teacher_weight": 0.25}


def load_family(name: str, options: dict[str, Any]) -> Family:
    found = load_reference(name)
    assert isinstance(found, type)
    return found(options)


def save_model(folder: Path, name: str, dataset: Dataset, params: dict[str, Any], epochs: int = 3) -> Path:
    """A trained model's bundle."""
    family = load_family(name, {})
    ended = try_out(
        family, params, data=dataset, epochs=epochs, directory=folder / "made", show=lambda _: None
    )
    state = encode_dataset(family, dataset, family.complete(params), folder / "made").state
    rows, facts = family.example(dataset), {"train_rows_by": dataset.keyed_by}
    return save_bundle(
        folder / f"{name}-{dataset.task}", family_reference=name, options={}, params=params, state=state,
        weights=ended.weights, facts=facts, example_rows=rows,
        row_hashes_of_train=dataset.row_keys()[dataset.splits["train"]],
    )  # fmt: skip


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("digits")
    return open_dataset({"source": "builtin:digits"}, base=folder, cache=folder)


@pytest.fixture(scope="module")
def teacher(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that knows digits."""
    params = {"hidden": [64], "learning_rate": 0.005}
    return save_model(tmp_path_factory.mktemp("teacher"), "mlp", digits, params, epochs=6)


def test_loss_with_a_teacher_is_hintons() -> None:
    logits, answers = torch.randn(5, 3), torch.randn(5, 3)
    target = torch.tensor([0, 2, 1, 1, 0])
    rules = Classification({"classes": ["a", "b", "c"]})
    found = rules.loss(logits, {"target": target, "teacher": answers}, {"label_smoothing": 0.0, **BLEND})
    wanted, own = softmax(answers / 3, -1), softmax(logits / 3, -1)
    apart = (wanted * (wanted.log() - own.log())).sum(-1).mean()
    assert found.item() == pytest.approx(
        (0.75 * cross_entropy(logits, target) + 0.25 * 9 * apart).item(), rel=1e-5
    )


def test_loss_of_numbers_with_a_teacher_is_a_mean_of_squares() -> None:
    guess, target, answers = torch.randn(4, 1), torch.randn(4), torch.randn(4)
    found = Regression({}).loss(guess, {"target": target, "teacher": answers}, BLEND)
    wanted = 0.75 * mse_loss(guess[:, 0], target) + 0.25 * mse_loss(guess[:, 0], answers)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_teacher_answers_training_rows_in_another_family_and_no_others(
    digits: Dataset, teacher: Path, tmp_path: Path
) -> None:
    student = load_family("image_cnn", {"teacher": {"model": str(teacher)}})
    encoded = encode_for_training(student, digits, student.complete({}), tmp_path)
    train = digits.splits["train"]
    rows = student.example(digits, 2)
    asked = load_bundle(teacher).predict(rows).drop(columns="label").to_numpy()
    assert np.exp(encoded.arrays["teacher"][train[:2]]) == pytest.approx(asked, abs=1e-6)
    assert not encoded.arrays["teacher"][digits.splits["test"]].any()


def test_teacher_of_numbers_answers_in_the_scale_of_the_target(tmp_path: Path) -> None:
    data = open_dataset({"source": "builtin:diabetes"}, base=tmp_path, cache=tmp_path)
    teacher = save_model(tmp_path, "linear_regression", data, {"learning_rate": 0.05})
    student = load_family("mlp", {"teacher": {"model": str(teacher), "weight": 1.0}})
    encoded = encode_for_training(student, data, student.complete({}), tmp_path)
    asked = load_bundle(teacher).predict(student.example(data, 2))["prediction"].to_numpy()
    own = encoded.arrays["teacher"][data.splits["train"][:2]]
    scaled = own * encoded.state["target_std"] + encoded.state["target_mean"]
    assert scaled == pytest.approx(asked, rel=1e-4)


def test_student_learns_what_the_teacher_says_and_its_bundle_needs_no_teacher(
    digits: Dataset, teacher: Path, tmp_path: Path
) -> None:
    """By the teacher alone: the student has never seen a label."""
    options = {"teacher": {"model": str(teacher), "weight": 1.0}}
    params = {"hidden": [32], "learning_rate": 0.01, "teacher_temperature": 4.0}
    ended = try_out(
        "mlp", params, data=digits, options=options, epochs=4, directory=tmp_path, show=lambda _: None
    )
    assert ended.metrics["val/accuracy"] > 0.85
    family = load_family("mlp", options)
    state = encode_dataset(family, digits, family.complete(params), tmp_path).state
    folder = save_bundle(
        tmp_path / "student", family_reference="mlp", options=options, params=params, state=state,
        weights=ended.weights, facts={}, example_rows=family.example(digits),
        row_hashes_of_train=digits.row_keys()[:0],
    )  # fmt: skip
    document = read_bundle(folder).document
    assert not {"teacher", "teacher_weight", "teacher_temperature"} & {
        *document["options"],
        *document["params"],
    }
    assert len(load_bundle(folder).predict(family.example(digits))) == 2


def test_teachers_share_is_a_hyperparameter_of_taught_families_alone(teacher: Path) -> None:
    taught = load_family("mlp", {"teacher": {"model": str(teacher), "temperature": 5.0}})
    plain = load_family("mlp", {})
    assert taught.complete({"teacher_weight": 0.9})["teacher_temperature"] == 5.0
    assert "teacher" not in plain.options.model_dump()
    with pytest.raises(InputError, match="that the family reads"):
        plain.complete({"teacher_weight": 0.9})
    keys = {structure_key(taught, taught.complete({"teacher_weight": w})) for w in (0.1, 0.9)}
    assert len(keys) == 2  # a stack shares one weight among its members


def test_wrong_teachers_are_refused_with_what_is_wrong(
    digits: Dataset, teacher: Path, tmp_path: Path
) -> None:
    def refuse(name: str, data: Dataset, match: str, **more: Any) -> None:
        family = load_family(name, {"teacher": {"model": str(teacher), **more}})
        with pytest.raises(InputError, match=match):
            encode_for_training(family, data, family.complete({}), tmp_path)

    def opened(**spec: Any) -> Dataset:
        return open_dataset(spec, base=tmp_path, cache=tmp_path)

    refuse("mlp", opened(source="builtin:cancer"), "must know the same classes")
    refuse("mlp", opened(source="builtin:diabetes"), "must know regression")
    refuse("autoencoder", opened(source="builtin:digits", task="reconstruction"), "for classes and numbers")
    refuse("mlp", opened(source="builtin:digits", split={"salt": 1}), "rows of validation or test")
    refuse("mlp", digits, "manifest", sha256="0" * 64)
    with pytest.raises(InputError, match=r"option teacher\.weight must be valid"):
        load_family("mlp", {"teacher": {"model": "x", "weight": 2}})
