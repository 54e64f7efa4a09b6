"""A model's files from one store to another: the same bytes, known by their manifest on both sides."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import Unavailable
from infra.registry.artifacts import FetchedFiles, fetch_files
from infra.registry.store import KEY_TAG, Registry
from infra.tracking.client import RequestRejected

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel


def copy_model(registry: Registry, model: str, files: FetchedFiles, key: str, tags: Mapping[str, str]) -> str:
    """The logged model of that key in another store, copied there where it is not yet.

    Args:
        registry: where to; its experiment of the model's name takes the files.
        files: checked before.
        key: what identifies the content: `create_logged_model` is not idempotent.
        tags: the copied model's, with where it came from.

    Returns:
        `models:/m-…` of the copy.
    """
    experiment = _ensure_experiment(registry, model)
    query = f"tags.`{KEY_TAG}` = '{key}'"
    found = registry.call("search_logged_models", [experiment], filter_string=query, max_results=1)
    logged = found[0] if found else _create_copy(registry, experiment, model, key, tags)
    if str(logged.status) != "READY":
        registry.call("log_model_artifacts", logged.model_id, str(files.folder))
        registry.call("finalize_logged_model", logged.model_id, "READY")
    _check_copy(registry, str(logged.artifact_location), files)
    return f"models:/{logged.model_id}"


def _create_copy(
    registry: Registry, experiment: str, model: str, key: str, tags: Mapping[str, str]
) -> LoggedModel:
    name = model.replace(".", "_")
    made: LoggedModel = registry.call(
        "create_logged_model", experiment, name=name, tags={KEY_TAG: key, **tags}
    )
    return made


def _ensure_experiment(registry: Registry, name: str) -> str:
    found = registry.call("get_experiment_by_name", name)
    if found is None:
        with suppress(RequestRejected):  # somebody else made it between our two calls
            return registry.make_experiment(name, {})
        found = registry.call("get_experiment_by_name", name)
    return str(found.experiment_id)


def _check_copy(registry: Registry, location: str, files: FetchedFiles) -> None:
    with tempfile.TemporaryDirectory(prefix="velodrome-copy-") as aside:
        there = fetch_files(registry, location, Path(aside))
        if there.manifest_sha256 != files.manifest_sha256:
            raise Unavailable(
                "a copied model must have the same bytes",
                "another manifest after the copy",
                "repeat the command",
            )
