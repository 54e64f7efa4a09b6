"""Bundles: whole or refused, no code and no pickle in them, and people's own functions by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from trainers.bundle.bundle import (
    MODEL,
    WEIGHTS,
    infer_signature,
    load_bundle,
    read_bundle,
    read_description,
    save_bundle,
)
from trainers.bundle.latency import measure_latency
from trainers.bundle.own_models import save_functions
from trainers.errors import InputError
from trainers.storage.atomic_folders import MANIFEST, DamagedFolder, manifest_hash, read_folder, write_folder

OWN_CODE = """
import torch

def build(hidden, **others):
    return torch.nn.Linear(2, hidden)

def predict(module, rows):
    return module(torch.tensor(rows[["a", "b"]].to_numpy(), dtype=torch.float32)).sum(1)

from pandas import read_pickle
"""
HASHES = np.array([3, 1, 2], dtype=np.uint64)
EXAMPLE = pd.DataFrame({"a": [1.0, 2.0], "b": [0.5, 0.25]})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable package of people's own."""
    folder = tmp_path / "own" / "mynets"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "nets.py").write_text(OWN_CODE)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "mynets"]:
        del sys.modules[name]


def linear_bundle(folder: Path, **changes: Any) -> Path:
    numbers = [{"name": n, "kind": "number", "fill": 0.0, "shift": 0.0, "factor": 1.0} for n in ("a", "b")]
    prepare = {"missing": "median", "scale": "standard", "categories": "embed", "rare_below": 1}
    table = {"prepare": prepare, "numbers": numbers, "categories": [], "inputs": 2, "cardinalities": []}
    given: dict[str, Any] = {
        "family_reference": "linear_regression",
        "options": {"preset": "line"},
        "params": {},
        "state": {"task": "regression", "table": table, "target_mean": 10.0, "target_std": 2.0},
        "weights": {"linear.weight": torch.tensor([[1.0, -1.0]]), "linear.bias": torch.tensor([0.5])},
        "facts": {},
        "example_rows": EXAMPLE,
        "row_hashes_of_train": HASHES,
    }
    return save_bundle(folder, **{**given, **changes})


def own_bundle(folder: Path, **changes: Any) -> Path:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "build": "mynets.nets:build",
        "predict": "mynets.nets:predict",
        "params": {"hidden": 3, "learning_rate": 0.1},
        "weights": torch.nn.Linear(2, 3).state_dict(),
        "facts": {},
        "example_rows": EXAMPLE,
        "row_hashes_of_train": HASHES,
    }
    return save_functions(folder, **{**given, **changes})


def test_bundle_predictions_are_in_the_targets_units(tmp_path: Path) -> None:
    predictor = load_bundle(linear_bundle(tmp_path / "b"))
    rows = pd.DataFrame({"b": [1.0, 0.0], "other": ["x", "y"], "A": [2.0, 4.0]}, index=[7, 9])
    answers = predictor.predict(rows)
    assert answers["prediction"].tolist() == [10 + 2 * (2 - 1 + 0.5), 10 + 2 * (4 + 0.5)]
    assert answers.index.tolist() == [7, 9]
    assert predictor.predict(np.array([[2.0, 1.0]]))["prediction"].tolist() == [13.0]
    assert predictor.predict({"a": 2.0, "b": 1.0})["prediction"].tolist() == [13.0]
    assert predictor.predict([{"a": 2.0, "b": 1.0}] * 3, batch_size=2)["prediction"].tolist() == [13.0] * 3
    assert predictor.predict(rows.iloc[:0]).columns.tolist() == ["prediction"]
    np.testing.assert_array_equal(predictor.train_rows, [1, 2, 3])


def test_rows_without_a_column_are_refused_by_its_name(tmp_path: Path) -> None:
    predictor = load_bundle(linear_bundle(tmp_path / "b"))
    with pytest.raises(InputError, match="no b among a"):
        predictor.predict(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(InputError, match="2 columns"):
        predictor.predict([[1.0, 2.0, 3.0]])


def test_loading_and_predicting_leave_the_callers_randomness_alone(tmp_path: Path) -> None:
    linear_bundle(tmp_path / "b")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_bundle(tmp_path / "b").predict(EXAMPLE)
    assert torch.equal(torch.rand(1), expected)


def test_bundle_loads_without_options_of_training_alone(tmp_path: Path) -> None:
    options = {"pretrained": "/gone.safetensors", "freeze": ["linear.bias"]}
    folder = linear_bundle(tmp_path / "b", options=options)
    assert read_bundle(folder).document["options"] == {}
    load_bundle(folder).predict(EXAMPLE)


def test_failed_bundle_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        linear_bundle(tmp_path / "b", facts={"loss": float("nan")})
    folder = linear_bundle(tmp_path / "b")
    before = manifest_hash(folder)
    with pytest.raises(OSError, match="b"):
        linear_bundle(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert manifest_hash(folder) == before


@pytest.mark.parametrize("name", [WEIGHTS, MODEL, MANIFEST])
def test_bundle_with_a_missing_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = linear_bundle(tmp_path / "b")
    (folder / name).unlink()
    with pytest.raises(DamagedFolder, match=name):
        load_bundle(folder)


def test_bundle_with_an_added_file_is_refused_except_mlflows_own(tmp_path: Path) -> None:
    folder = linear_bundle(tmp_path / "b")
    (folder / "registered_model_meta").write_text("model_name: x")
    load_bundle(folder)
    (folder / "extra.pkl").write_bytes(b"")
    with pytest.raises(DamagedFolder, match=r"extra\.pkl"):
        load_bundle(folder)


def test_bundle_with_a_link_is_refused(tmp_path: Path) -> None:
    folder = linear_bundle(tmp_path / "b")
    (folder / WEIGHTS).rename(tmp_path / "elsewhere")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedFolder, match="a link"):
        load_bundle(folder)


def test_a_bundle_replaced_as_a_whole_is_found_by_the_manifests_hash(tmp_path: Path) -> None:
    first = linear_bundle(tmp_path / "first")
    other = linear_bundle(tmp_path / "other", facts={"n": 1})
    load_bundle(first, manifest_sha256=manifest_hash(first))
    with pytest.raises(DamagedFolder, match="another manifest"):
        load_bundle(other, manifest_sha256=manifest_hash(first))


def test_bundle_with_unfitting_weights_is_refused(tmp_path: Path) -> None:
    weights = {"linear.weight": torch.zeros(1, 3), "linear.bias": torch.zeros(1)}
    folder = linear_bundle(tmp_path / "b", weights=weights)
    assert read_description(folder).signature is None
    with pytest.raises(InputError, match="must fit the module"):
        load_bundle(folder)


def test_a_manifest_may_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    folder = write_folder(tmp_path / "b", {"a": b"1"})
    document = json.loads((folder / MANIFEST).read_text())
    document["files"]["../secret"] = {"size": 1, "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db"}
    (folder / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(DamagedFolder, match="entry that cannot be used"):
        read_folder(folder)


def test_bundle_loads_own_functions_by_name(tmp_path: Path, package: Path) -> None:
    folder = own_bundle(tmp_path / "b")
    predictor = load_bundle(folder)
    module = torch.nn.Linear(2, 3)
    module.load_state_dict(dict(read_bundle(folder).weights))
    rows = torch.tensor(EXAMPLE.to_numpy(), dtype=torch.float32)
    np.testing.assert_allclose(
        predictor.predict(EXAMPLE)["prediction"], module(rows).sum(1).detach().numpy(), rtol=1e-6
    )
    assert not any(path.suffix == ".py" for path in folder.iterdir())


def test_bundle_without_predict_answers_by_its_module(tmp_path: Path, package: Path) -> None:
    predictor = load_bundle(own_bundle(tmp_path / "b", predict=None))
    assert list(predictor.predict(EXAMPLE).columns) == ["prediction_0", "prediction_1", "prediction_2"]
    empty = load_bundle(own_bundle(tmp_path / "none", predict=None, example_rows=pd.DataFrame()))
    assert infer_signature(empty).inputs == ()


def test_rows_that_a_module_without_predict_cannot_take_are_refused(tmp_path: Path, package: Path) -> None:
    predictor = load_bundle(own_bundle(tmp_path / "b", predict=None, example_rows=pd.DataFrame()))
    with pytest.raises(InputError, match=r"without a predict function.*predict='package\.module:predict'"):
        predictor.predict(pd.DataFrame({"image": [[[0.0, 1.0], [1.0, 0.0]]]}))
    with pytest.raises(InputError, match=r"module of mynets\.nets:build must answer.*RuntimeError: mat1"):
        predictor.predict(pd.DataFrame({"a": [1.0], "b": [2.0], "c": [3.0]}))


def test_bundle_of_uninstalled_own_code_is_refused_by_name(tmp_path: Path, package: Path) -> None:
    folder = own_bundle(tmp_path / "b")
    sys.path.remove(str(package.parent))
    for name in ("mynets", "mynets.nets"):
        del sys.modules[name]
    with pytest.raises(InputError, match="install the package 'mynets'"):
        load_bundle(folder)


def test_bundle_of_changed_own_code_is_refused_unless_accepted(tmp_path: Path, package: Path) -> None:
    folder = own_bundle(tmp_path / "b")
    (package / "nets.py").write_text(OWN_CODE + "# changed\n")
    with pytest.raises(InputError, match="SHA-256 differs"):
        load_bundle(folder)
    load_bundle(folder, accept_code_change=True).predict(EXAMPLE)


@pytest.mark.parametrize(
    "reference",
    [
        "os:system",
        "pandas:read_pickle",
        "torch:load",
        "mynets.nets:read_pickle",
        "mynets.nets:nothing",
        "nets",
    ],
)
def test_bundle_reference_outside_own_code_is_refused(tmp_path: Path, package: Path, reference: str) -> None:
    with pytest.raises(InputError):
        own_bundle(tmp_path / "refused", build=reference)
    folder = own_bundle(tmp_path / "b")
    document = json.loads((folder / MODEL).read_text())
    document |= {"build": reference, "code": {}}
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
    forged = write_folder(tmp_path / "forged", {**files, MODEL: json.dumps(document).encode()})
    with pytest.raises(InputError):
        load_bundle(forged, accept_code_change=True)


def test_bundle_of_a_foreign_family_must_be_a_family(tmp_path: Path, package: Path) -> None:
    folder = linear_bundle(tmp_path / "b")
    document = json.loads((folder / MODEL).read_text()) | {"family": "mynets.nets:build"}
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
    forged = write_folder(tmp_path / "forged", {**files, MODEL: json.dumps(document).encode()})
    with pytest.raises(InputError, match="must be a Family"):
        load_bundle(forged)


def test_bundle_signature_and_latency_are_measured(tmp_path: Path) -> None:
    predictor = load_bundle(linear_bundle(tmp_path / "b"))
    signature = infer_signature(predictor)
    assert [(c.name, c.type) for c in signature.inputs] == [("a", "double"), ("b", "double")]
    assert [(c.name, c.type) for c in signature.outputs] == [("prediction", "double")]
    assert read_description(tmp_path / "b").signature == signature
    figures = measure_latency(predictor, predictor.example, budget_s=0.05)
    assert figures.keys() == {"latency_ms", "latency_p99_ms", "parameters", "size_bytes", "flops"}
    assert 0 < figures["latency_ms"] <= figures["latency_p99_ms"]
    assert (figures["parameters"], figures["size_bytes"]) == (3, 12)


def test_bundle_says_what_its_training_took(tmp_path: Path) -> None:
    took = {"price": 0.25, "cpu_seconds": 12.0, "energy_joules": 900.0, "epsilon": 7.5}
    predictor = load_bundle(linear_bundle(tmp_path / "b", facts={**took, "number": 3}))
    figures = measure_latency(predictor, predictor.example, budget_s=0.01)
    assert took.items() <= figures.items()
    assert "number" not in figures
