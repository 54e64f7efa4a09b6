"""A model in a new interpreter, and one whose pickle must never be read there (F46)."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from infra.errors import WrongInput
from infra.registry.artifacts import check_tree, find_bundle
from infra.registry.contents import is_pickle, loading_objection
from infra.registry.isolated_predict import UnusableModel, predict_isolated
from tests.infra.tracking.bundles import a_bundle


class Canary:
    """Unpickling it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*inferred as AnyType:UserWarning")
def test_trial_use_loads_and_predicts_in_a_new_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    bundle = a_bundle("linear_regression", tmp_path / "bundle", tmp_path / "cache")
    mlflow.pyfunc.save_model(
        str(tmp_path / "model"), loader_module="velodrome.model", data_path=str(bundle), pip_requirements=[]
    )
    from trainers.bundle.bundle import load_bundle

    predictor = load_bundle(bundle)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    found = predict_isolated(tmp_path / "model", predictor.example)
    wanted = list(predictor.predict(predictor.example)["prediction"])
    assert list(found.predictions["prediction"]) == pytest.approx(wanted)
    assert found.facts["parameters"] == predictor.parameters
    assert 0 < found.facts["latency_ms"] <= found.facts["latency_p99_ms"]
    assert find_bundle(tmp_path / "model") is not None
    assert loading_objection(tmp_path / "model") == ""
    started = time.monotonic()
    with pytest.raises(UnusableModel, match="within"):
        predict_isolated(tmp_path / "model", predictor.example, limit_s=0.1)
    assert time.monotonic() - started < 10
    for weights in (tmp_path / "model").rglob("weights.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(UnusableModel, match="SHA-256"):
        predict_isolated(tmp_path / "model", predictor.example)


@pytest.mark.slow
def test_trial_use_never_reads_a_pickle_even_unscanned(tmp_path: Path) -> None:
    import pandas as pd

    folder, canary = tmp_path / "model", tmp_path / "canary"
    folder.mkdir()
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Canary(canary)))
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    cloudpickle_version: 3.1.1\n"
        "    loader_module: mlflow.pyfunc.model\n"
        "    python_model: python_model.pkl\n    python_version: 3.11.2\nmlflow_version: 3.17.0\n"
    )
    assert loading_objection(folder) == "a pickled object (python_model)"
    with pytest.raises(UnusableModel):
        predict_isolated(folder, pd.DataFrame({"x": [1.0]}))
    assert not canary.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_is_pickle_knows_files_by_name_or_by_bytes(tmp_path: Path, protocol: int) -> None:
    named = tmp_path / ("a.pkl" if protocol == 0 else "a.dat")
    named.write_bytes(pickle.dumps({"a": 1}, protocol))
    assert is_pickle(named)
    plain = tmp_path / "b.json"
    plain.write_text("{}")
    assert not is_pickle(plain)


def test_is_pickle_finds_a_pickle_inside_an_archive(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(1))
    assert is_pickle(tmp_path / "a.bin")


def test_model_tree_over_its_limits_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for number in range(5):
        (folder / str(number)).write_bytes(b"x" * 100)
    check_tree(folder)
    with pytest.raises(WrongInput, match="within limits"):
        check_tree(folder, most_files=4)
    with pytest.raises(WrongInput, match="within limits"):
        check_tree(folder, most_bytes=499)
    (folder / "sparse").touch()
    os.truncate(folder / "sparse", 1 << 40)  # a bomb costs its maker nothing
    with pytest.raises(WrongInput, match="within limits"):
        check_tree(folder)
