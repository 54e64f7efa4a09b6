"""A version of a model on its way from the registry to those who answer with it: bytes, not yet trusted."""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from infra.errors import WrongInput
from infra.registry.artifacts import check_tree, find_bundle
from infra.registry.contents import OURS, loading_objection, model_loader
from infra.serving.model_schema import SPELT, Field, ModelSchema
from infra.tracking.mlflow_environment import set_defaults
from trainers.errors import InputError
from trainers.storage.encryption import WrongKey

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

    from trainers.bundle.predictor import Predictor
    from trainers.types import Cell, Document, JsonObject

MLMODEL = "MLmodel"
LEFT_OUT = ("wheels", "registered_model_meta")  # not read when the model is loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One version's files.

    Attributes:
        key: names the version among all that are loaded: `digits/3`.
        files: by their path within the folder.
        bundle: whether these are one of our bundles; else a folder of MLflow's.
        manifest_sha256: what the bundle's manifest must hash to, where the registry knows it.
    """

    key: str
    files: Mapping[str, bytes]
    bundle: bool
    manifest_sha256: str | None = None


class ServedModel(Protocol):
    """A model that answers."""

    @property
    def example(self) -> pd.DataFrame | None:
        """Rows as `predict` takes them."""

    @property
    def fields(self) -> list[Field]:
        """The columns that it takes; none where it does not say."""

    @property
    def outputs(self) -> list[str]:
        """The columns that it gives; none where it does not say."""

    @property
    def schema(self) -> ModelSchema:
        """What it takes and gives, and what training saw of it."""

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """One prediction a row.

        Raises:
            InputError: rows that it cannot read.
        """

    def count_unseen(self, rows: pd.DataFrame) -> dict[str, int]:
        """Column → how many of its values training never saw; only columns that the model knows this of."""


def read_artifact(
    key: str, folder: Path, *, manifest_sha256: str | None = None, loaders: Collection[str] = ()
) -> Artifact:
    """The files of a bundle's folder, or of MLflow's folder of a model.

    Args:
        loaders: loader modules that a policy allows beside the known ones.

    Raises:
        WrongInput: neither, or it brings links, or code or a pickle that would be executed.
    """
    check_tree(folder)
    if not (folder / MLMODEL).is_file():
        return Artifact(key=key, files=_read_files(folder), bundle=True, manifest_sha256=manifest_sha256)
    if why := loading_objection(folder, loaders):
        raise _unsafe_model_error(key, why)
    bundle = find_bundle(folder) if model_loader(folder) == OURS else None
    if bundle is None:
        return Artifact(key=key, files=_read_files(folder), bundle=False)
    return Artifact(key=key, files=_read_files(bundle), bundle=True, manifest_sha256=manifest_sha256)


def _unsafe_model_error(key: str, found: str) -> WrongInput:
    return WrongInput(
        "a model must load without running what a registry handed over",
        f"{key}: {found}",
        "log it without pickle and code (safetensors, ONNX, skops), or as a family of Velodrome's",
    )


def _read_files(folder: Path, most_bytes: int | None = None) -> dict[str, bytes]:
    """All files of a model; refuses one that does not fit into the memory that is free, before it is read."""
    import psutil

    limit = psutil.virtual_memory().available if most_bytes is None else most_bytes
    found: dict[str, bytes] = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] not in LEFT_OUT:
            total += path.stat().st_size
            if total > limit:
                raise _model_size_error(folder.name, limit)
            found[name.as_posix()] = path.read_bytes()
    return found


def _model_size_error(key: str, limit: int) -> WrongInput:
    return WrongInput(
        "a model must fit into memory", f"{key} is larger than the {limit / 2**30:.1f} GiB that are free"
    )


def load_artifact(artifact: Artifact, *, device: str = "cpu") -> ServedModel:
    """The model, ready to answer, and proven on its own example.

    Raises:
        WrongKey: it is encrypted, and its key is not here.
    """
    with tempfile.TemporaryDirectory(prefix="velodrome-load-") as aside:
        folder = Path(aside) / "model"
        _write_files(folder, artifact.files)
        try:
            loaded: ServedModel = (
                _BundleModel(folder, device, artifact.manifest_sha256)
                if artifact.bundle
                else _PyfuncModel(artifact.key, folder)
            )
        except WrongKey as error:  # which speaks of the copy
            named = error.must.replace(str(folder), artifact.key)
            raise WrongKey(named, error.found, error.do) from error
    check_example(artifact.key, loaded)
    return loaded


def predictor_of(key: str, loaded: ServedModel) -> Predictor:
    """The module behind a loaded bundle.

    Raises:
        WrongInput: the model is of another of MLflow's flavours.
    """
    if not isinstance(loaded, _BundleModel):
        raise WrongInput(
            "the model must be a bundle of Velodrome's", f"{key} is of another of MLflow's flavours"
        )
    return loaded.predictor


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        plain = PurePosixPath(name)
        if plain.is_absolute() or ".." in plain.parts:
            raise _unsafe_model_error(folder.name, f"a file named {ascii(name)[:80]}")
        (folder / plain).parent.mkdir(parents=True, exist_ok=True)
        (folder / plain).write_bytes(content)


def check_example(key: str, loaded: ServedModel) -> None:
    """Lets a model answer its own example."""
    example = loaded.example
    if example is None or example.empty:
        return
    answers = loaded.predict(example)
    found = ""
    if len(answers) != len(example):
        found = f"{len(answers)} answers for {len(example)} rows"
    elif loaded.outputs and [str(name) for name in answers.columns] != loaded.outputs:
        found = f"columns {', '.join(map(str, answers.columns))} instead of {', '.join(loaded.outputs)}"
    elif not all(_is_finite(value) for row in answers.itertuples(index=False) for value in row):
        found = "numbers that are not finite"
    if found:
        raise WrongInput("a model must answer its own example", f"{key}: {found}", "train or log it again")


def _is_finite(value: Cell) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


class _BundleModel:
    """One of our bundles."""

    def __init__(self, folder: Path, device: str, manifest_sha256: str | None) -> None:
        from trainers.bundle.bundle import infer_signature, load_bundle, read_description, spelt_numbers

        self.predictor = load_bundle(folder, device=device, manifest_sha256=manifest_sha256)
        signature = read_description(folder).signature or infer_signature(self.predictor)
        self.example: pd.DataFrame | None = self.predictor.example
        state, facts = self.predictor.document.get("state", {}), self.predictor.document["facts"]
        spelt = spelt_numbers(state)
        self.fields = [
            Field(name=c.name, type=SPELT if c.name in spelt else _free_type(c.name, c.type))
            for c in signature.inputs
        ]
        self.outputs = [column.name for column in signature.outputs]
        distribution, read = facts.get("distribution"), facts.get("read")
        self.schema = ModelSchema(
            fields=self.fields,
            outputs=[Field(name=c.name, type=c.type) for c in signature.outputs],
            example=_request_rows(self.example),
            task=str(state.get("task") or ""),
            classes=[str(label) for label in state.get("classes") or ()],
            distribution=dict(distribution) if isinstance(distribution, Mapping) else {},
            read=dict(read) if isinstance(read, Mapping) else {},
            target=str(facts.get("target") or ""),
        )

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        return self.predictor.predict(rows)

    def count_unseen(self, rows: pd.DataFrame) -> dict[str, int]:
        return self.predictor.count_unseen(rows)


class _PyfuncModel:
    """A model of another of MLflow's flavours."""

    def __init__(self, key: str, folder: Path) -> None:
        set_defaults()
        os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
        # MLflow warns of type hints of its own while it is imported.
        warnings.filterwarnings("ignore", message=".*inferred as AnyType", category=UserWarning)
        import mlflow.pyfunc

        try:
            self._model = mlflow.pyfunc.load_model(str(folder))
            self.example = self._model.input_example
        except Exception as error:  # whatever a flavour raises: this version is not loaded
            raise _unsafe_model_error(
                key, f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
            ) from error
        self.fields = _signature_fields(self._model.metadata.signature)
        self.outputs: list[str] = []
        self.schema = ModelSchema(fields=self.fields, example=_request_rows(self.example))

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The flavour's answers, one a row."""
        import pandas as pd

        try:
            found = self._model.predict(rows)
        except Exception as error:  # MLflow's checks and the flavour's own: these rows are not answered
            raise InputError("rows must be what the model takes", str(error).splitlines()[0][:300]) from error
        return found if isinstance(found, pd.DataFrame) else pd.DataFrame({"prediction": list(found)})

    def count_unseen(self, rows: pd.DataFrame) -> dict[str, int]:
        return {}


def _request_rows(example: pd.DataFrame | None) -> list[JsonObject]:
    """A model's example as a request has it; none where that is no JSON."""
    from trainers.bundle.frames import frame_to_json

    if not hasattr(example, "columns"):  # MLflow's may be an array
        return []
    document: Document = frame_to_json(example)
    return [dict(zip(document["columns"], row, strict=True)) for row in document["data"]]


_TYPES = {
    "double": "double", "float": "double", "integer": "long", "long": "long", "boolean": "boolean",
    "string": "string",
}  # fmt: skip


def _free_type(name: str, kind: str) -> str:
    """`audio` of the column of clips, whose signature says that it may hold anything."""
    return "audio" if kind == "any" and name == "audio" else kind


def _signature_fields(signature: ModelSignature | None) -> list[Field]:
    schema = signature.inputs if signature is not None else None
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        return []
    kinds = [getattr(column.type, "name", "any") for column in schema.inputs]
    return [
        Field(name=column.name, type=_free_type(column.name, _TYPES.get(kind, "any")))
        for column, kind in zip(schema.inputs, kinds, strict=True)
    ]
