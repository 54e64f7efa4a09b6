"""Kept models: logged once, whole, without pickle, and loadable where only the logged wheel is."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from infra.ledger.views import sweep_by_id
from infra.spec import FamilySpec
from infra.tracking import model_logger
from infra.tracking.client import TrackingUnavailable
from tests.infra.tracking import failing
from tests.infra.tracking.bundles import a_bundle
from tests.infra.tracking.closed_environment import link_distributions, name_closure, python
from tests.infra.tracking.conftest import runs_of
from tests.infra.tracking.failing import FailingClient
from tests.infra.tracking.story import SPACE, Story
from trainers.bundle.bundle import MODEL, load_bundle
from trainers.errors import CellError
from trainers.storage.atomic_folders import MANIFEST, write_folder

Tell = Callable[..., Story]

MODEL_WRITES = {"create_logged_model", "log_model_artifacts", "log_outputs", "finalize_logged_model"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text model."""
    folder = tmp_path_factory.mktemp("bundle")
    return a_bundle("text_cnn", folder / "text_cnn", folder / "cache")


def with_models(tell: Tell, bundle: Path, **changes: Any) -> Story:
    """Two trials of one family, both with a model in the storage."""
    family = FamilySpec(name="text_cnn", reference="text_cnn", space=SPACE)
    story = tell(families=(family,), **changes)
    for number, value in enumerate([0.9, 0.8]):
        folder = story.home.storage / "models" / str(number)
        folder.parent.mkdir(parents=True, exist_ok=True)
        copy(bundle, folder)
        trial = story.complete_trial("text_cnn", number, value=value, epochs=2)
        trial.model = f"models/{number}"
        story.tell("model", {"path": trial.model}, trial)
    return story


def copy(bundle: Path, folder: Path) -> None:
    """The bundle's files in another folder."""
    folder.mkdir()
    for file in bundle.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())


def models_of(mlflow: Any, story: Story) -> list[Any]:
    """The logged models of a story's experiment."""
    experiment = mlflow.get_experiment_by_name(story.spec.name)
    return list(mlflow.search_logged_models([experiment.experiment_id]))


def test_best_model_of_a_family_is_logged_once_at_the_end(
    store: str, mlflow: Any, tell: Tell, bundle: Path
) -> None:
    story = with_models(tell, bundle)
    sender = story.sender(store)
    sender.send_once()
    assert models_of(mlflow, story) == []
    story.conclude()
    sender.send_once()
    (model,) = models_of(mlflow, story)
    run = runs_of(mlflow, story)["text_cnn-0000"]
    assert (model.name, str(model.status), model.source_run_id) == (
        "text_cnn-0000",
        "READY",
        run.info.run_id,
    )
    assert {m.key: m.value for m in model.metrics}["val/accuracy"] == 0.9
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("**val/accuracy 0.9** on validation, rank 1 of 2 complete trials")
    assert f"velodrome promote {story.spec.name} --family text_cnn --trial 0" in note
    assert f"models:/{model.model_id}" in note
    assert [(output.model_id, output.step) for output in run.outputs.model_outputs] == [(model.model_id, 2)]
    for leftover in story.home.path.glob("outbox.db*"):
        leftover.unlink()
    story.sender(store).send_once()
    assert len(models_of(mlflow, story)) == 1


def test_models_are_all_logged_with_keep_models_all(
    store: str, mlflow: Any, tell: Tell, bundle: Path
) -> None:
    story = with_models(tell, bundle, keep_models="all")
    story.conclude()
    story.sender(store).send_once()
    assert {model.name for model in models_of(mlflow, story)} == {"text_cnn-0000", "text_cnn-0001"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_model_logging_failing_at_any_step_leaves_one_ready_model(
    store: str, mlflow: Any, tell: Tell, bundle: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(failing, "WRITES", MODEL_WRITES)
    for broken in range(1, len(MODEL_WRITES) + 1):
        story = with_models(tell, bundle)
        story.conclude()
        client = FailingClient(mlflow, lambda count, broken=broken: when if count == broken else "")  # type: ignore[misc]
        with pytest.raises(TrackingUnavailable):
            story.sender(store, connect=client.connect).send_once()
        story.sender(store).send_once()
        assert [str(model.status) for model in models_of(mlflow, story)] == ["READY"]


def test_a_model_outside_the_storage_or_damaged_is_not_logged(
    store: str, mlflow: Any, tell: Tell, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    story = with_models(tell, bundle, keep_models="all")
    outside = story.complete_trial("text_cnn", 2)
    outside.model = str(bundle)
    story.tell("model", {"path": outside.model}, outside)
    weights = story.home.storage / "models" / "1" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    story.conclude()
    story.sender(store).send_once()
    assert {m.name: str(m.status) for m in models_of(mlflow, story)} == {
        "text_cnn-0000": "READY",
        "text_cnn-0001": "FAILED",
    }
    assert "text_cnn-0002 is not where the ledger says" in caplog.text


def test_model_signature_is_read_or_found_by_predicting(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads((bundle / MODEL).read_text())
    del document["signature"]
    files = {path.name: path.read_bytes() for path in bundle.iterdir() if path.name != MANIFEST}
    older = write_folder(tmp_path / "older", {**files, MODEL: json.dumps(document).encode()})
    wheel = tmp_path / "velodrome.whl"
    wheel.write_bytes(b"")
    monkeypatch.setattr(model_logger, "build_wheel", lambda folder, lean: _copy_wheel(wheel, folder))
    story = Story(tmp_path / "home")
    sweep = sweep_by_id(story.ledger, story.sweep_id)
    loaded: list[Path] = []

    def load(folder: Path) -> Any:
        loaded.append(folder)
        return load_bundle(folder)

    monkeypatch.setattr(model_logger, "load_bundle", load)
    signatures = []
    for number, folder in enumerate([bundle, older]):
        model_logger.write_mlflow_model(tmp_path / str(number) / "model", folder, sweep)
        signatures.append(Model.load(str(tmp_path / str(number) / "model")).signature.to_dict())
    assert signatures[0] == signatures[1]
    assert "text" in str(signatures[0])
    assert loaded == [older]


@pytest.mark.filterwarnings("ignore:.*inferred as AnyType:UserWarning")
def test_logged_model_takes_what_other_ways_in_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.pyfunc import load_model

    wheel = tmp_path / "velodrome.whl"
    wheel.write_bytes(b"")
    monkeypatch.setattr(model_logger, "build_wheel", lambda folder, lean: _copy_wheel(wheel, folder))
    story = Story(tmp_path / "home")
    sweep = sweep_by_id(story.ledger, story.sweep_id)
    loaded = {}
    for name in ("linear_regression", "gan"):
        made = a_bundle(name, tmp_path / name / "bundle", tmp_path / "cache")
        model_logger.write_mlflow_model(tmp_path / name / "model", made, sweep)
        loaded[name] = load_model(str(tmp_path / name / "model"))
    line = loaded["linear_regression"]
    rows = line.input_example.astype({"age": "int64", "sex": "int64"})
    answers = line.predict(rows)
    assert answers.equals(line.predict(line.input_example))
    whole = line.predict(rows.assign(bmi=[30, 20]))  # a column of fractions
    assert whole.equals(line.predict(rows.assign(bmi=["30", "20.0"])))
    missing = line.predict(rows.assign(age=[None, 50.5]))
    assert missing["prediction"].notna().all()
    with pytest.raises(CellError, match="heavy"):
        line.predict(rows.assign(bmi="heavy"))
    with pytest.raises(MlflowException, match="missing"):
        line.predict(rows.drop(columns="bmi"))
    images = loaded["gan"].predict(pd.DataFrame({"seed": [3, 4]}))
    assert len(images) == 2


def test_encrypted_model_asks_for_what_opens_it(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "velodrome.whl"
    wheel.write_bytes(b"")
    monkeypatch.setattr(model_logger, "build_wheel", lambda folder, lean: _copy_wheel(wheel, folder))
    files = {path.name: path.read_bytes() for path in bundle.iterdir() if path.name != MANIFEST}
    monkeypatch.setenv("VELODROME_KEY", base64.b64encode(bytes(range(32))).decode())
    encrypted = write_folder(tmp_path / "encrypted", files)
    sweep = sweep_by_id((story := Story(tmp_path / "home")).ledger, story.sweep_id)
    asked = []
    for number, folder in enumerate([bundle, encrypted]):
        model_logger.write_mlflow_model(tmp_path / str(number) / "model", folder, sweep)
        lines = (tmp_path / str(number) / "model" / "requirements.txt").read_text().splitlines()
        asked.append({line.partition("==")[0] for line in lines[1:]})
    assert asked[1] - asked[0] == {"cryptography"}


def _copy_wheel(wheel: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    return Path(shutil.copy(wheel, folder))


CLEAN = """
import json, sys
import mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
import trainers
answers = model.predict([{"text": "a fine film"}, {"text": "a dull film"}])
print(json.dumps({"rows": len(answers), "columns": list(answers.columns), "from": trainers.__file__}))
"""


@pytest.mark.slow
def test_logged_model_loads_where_only_its_requirements_are_installed(
    store: str, mlflow: Any, tell: Tell, bundle: Path, tmp_path: Path
) -> None:
    story = with_models(tell, bundle)
    story.conclude()
    story.sender(store).send_once()
    (model,) = models_of(mlflow, story)
    folder = Path(model.artifact_location.removeprefix("file://"))
    ours, *others = (folder / "requirements.txt").read_text().splitlines()
    assert ours.startswith("file:wheels/velodrome-")
    (tmp_path / "ours.txt").write_text(ours)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
    site = tmp_path / "site"
    command = [*install, "--target", str(site), "-r", str(tmp_path / "ours.txt")]
    subprocess.run(command, cwd=folder, timeout=600, check=True)
    names = name_closure(others)
    assert {"mlflow", "torch", "tokenizers"} <= names
    assert not {"ray", "optuna", "transformers", "datasets", "peft"} & names
    found = subprocess.run(
        [*python(site, link_distributions(names, tmp_path / "others")), CLEAN, str(folder)],
        env={"PATH": os.environ["PATH"], "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    answer = json.loads(found.stdout)
    assert answer["rows"] == 2
    assert answer["columns"][0] == "label"
    assert answer["from"].startswith(str(site))


def test_logged_model_holds_no_code_or_pickle_and_pins_its_wheel(
    store: str, mlflow: Any, tell: Tell, bundle: Path, tmp_path: Path
) -> None:
    story = with_models(tell, bundle)
    story.conclude()
    story.sender(store).send_once()
    (model,) = models_of(mlflow, story)
    folder = Path(model.artifact_location.removeprefix("file://"))
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert kinds <= {"", ".yaml", ".txt", ".json", ".safetensors", ".bin", ".whl"}
    assert "code: null" in (folder / "MLmodel").read_text()
    assert "signature" in (folder / "MLmodel").read_text()
    ours = (folder / "requirements.txt").read_text().splitlines()[0]
    wheel = folder / ours.removeprefix("file:").partition("#")[0]
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    (tmp_path / "ours.txt").write_text(ours)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
    command = [*install, "--target", str(tmp_path / "site"), "-r", str(tmp_path / "ours.txt")]
    refused = subprocess.run(command, cwd=folder, timeout=600, check=False, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
