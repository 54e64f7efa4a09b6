"""The versions that one process has loaded."""

from __future__ import annotations

from infra.serving.artifact import Artifact, ServedModel, load_artifact
from infra.serving.model_schema import ModelSchema
from infra.serving.scoring import Answer, RequestBatch, answer_batch


class LoadedModels:
    """Loaded versions by their keys; several threads may use it."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._loaded: dict[str, ServedModel] = {}

    def load(self, artifact: Artifact) -> ModelSchema:
        """Loads and proves a version beside those that are there; what it takes and gives."""
        if artifact.key not in self._loaded:
            self._loaded[artifact.key] = load_artifact(artifact, device=self._device)
        return self._loaded[artifact.key].schema

    def drop(self, key: str) -> None:
        """Lets go of a version; batches that are being computed end with it."""
        self._loaded.pop(key, None)

    def score(self, key: str, batch: RequestBatch) -> list[Answer] | None:
        """Answers, or None where the version is not loaded here."""
        model = self._loaded.get(key)
        return None if model is None else answer_batch(model, batch)
