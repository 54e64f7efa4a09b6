"""A real registry in a home, with versions of small models in it."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.home import Home
from infra.registry.store import MANIFEST_TAG, Registry
from infra.serving.registry_source import RegistrySource
from infra.tracking.client import connect
from tests.infra.tracking.bundles import a_bundle
from tests.tracking_stores import prepare_empty_store
from trainers.bundle.bundle import infer_signature, load_bundle, read_bundle, read_description
from trainers.storage.atomic_folders import manifest_hash, write_folder


@dataclass
class RegistryFixture:
    """Registers bundles as `promote` does: a logged model, a version of it, an alias."""

    folder: Path
    home: Home = field(init=False)

    def __post_init__(self) -> None:
        self.home = Home(self.folder / "home")
        prepare_empty_store(self.home)
        self.client: Any = connect(self.home.mlflow_uri)
        self.experiment = self.client.call("create_experiment", "models", self.home.artifacts.as_uri())

    @property
    def registry(self) -> Registry:
        """What commands read it with."""
        return Registry.open(self.home.mlflow_uri, self.home)

    @property
    def source(self) -> RegistrySource:
        """What a server follows."""
        return RegistrySource(self.registry)

    def add(self, name: str, bundle: Path, *, alias: str | None = None, run_id: str | None = None) -> str:
        """A version made of a bundle; its number."""
        logged = self.client.call("create_logged_model", self.experiment, name=name, source_run_id=run_id)
        aside = self.folder / logged.model_id
        save_mlflow_folder(aside, bundle)
        self.client.call("log_model_artifacts", logged.model_id, str(aside))
        self.client.call("finalize_logged_model", logged.model_id, "READY")
        made = self.registry.register(
            name, key=logged.model_id, source=f"models:/{logged.model_id}", run_id=run_id,
            tags={MANIFEST_TAG: manifest_hash(bundle)},
        )  # fmt: skip
        if alias:
            self.move(name, alias, made.number)
        return str(made.number)

    def location(self, name: str, version: str) -> str:
        """Where a version's files are."""
        return str(self.client.call("get_model_version_download_uri", name, version))

    def move(self, name: str, alias: str, version: str | int) -> None:
        """Points an alias at a version."""
        self.client.call("set_registered_model_alias", name, alias, str(version))


def save_mlflow_folder(path: Path, bundle: Path) -> None:
    """MLflow's folder of a bundle, without the wheel that it has when it is really logged."""
    warnings.filterwarnings("ignore", message=".*inferred as AnyType", category=UserWarning)
    import mlflow.pyfunc

    from infra.tracking.model_logger import _mlflow_signature

    known = read_description(bundle)
    mlflow.pyfunc.save_model(
        path=str(path), loader_module="velodrome.model", data_path=str(bundle),
        signature=_mlflow_signature(known.signature or infer_signature(load_bundle(bundle))),
        input_example=known.example, pip_requirements=["velodrome"],
    )  # fmt: skip


def shift_bias(bundle: Path, folder: Path, by: float) -> Path:
    """The same model with another last bias, so that it answers otherwise."""
    import safetensors.torch

    weights = dict(read_bundle(bundle).weights)
    last = [name for name in weights if name.endswith("bias")][-1]
    weights[last] = weights[last] + by * (1 + weights[last].numel() * 0)
    files = {path.name: path.read_bytes() for path in bundle.iterdir() if path.name != "manifest.json"}
    return write_folder(folder, {**files, "weights.safetensors": safetensors.torch.save(weights)})


def flip_weight_bit(bundle: Path, folder: Path) -> Path:
    """The same model with one bit of its weights turned."""
    shutil.copytree(bundle, folder)
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    return folder


def answers(bundle: Path) -> list[dict[str, Any]]:
    """What the model says to its own example."""
    predictor = load_bundle(bundle)
    return list(predictor.predict(predictor.example).to_dict("records"))


__all__ = ["RegistryFixture", "a_bundle", "answers", "flip_weight_bit", "save_mlflow_folder", "shift_bias"]
