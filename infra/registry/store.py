"""MLflow's registry behind one door: versions, aliases and tags by explicit names, errors of ours."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.errors import WrongInput
from infra.home import Home
from infra.names import quote_input
from infra.registry.registry_errors import RegistryUnavailable, registry_error
from infra.secrets import expand_variables, redact
from infra.tracking.client import (
    Connect,
    MissingEntity,
    RequestRejected,
    TrackingError,
    TrackingStore,
    connect,
    prepare_tracking,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
MANIFEST_TAG = "velodrome.manifest_sha256"
KEY_TAG = "velodrome.key"
SWEEP_TAG = "velodrome.sweep"
CARD_TAG = "velodrome.card"  # what the sweep's file says of its models and its data, as JSON
_SCHEMES = ("sqlite:///", "http://", "https://", "postgresql://", "postgresql+psycopg://")
_MODEL_ID = re.compile(r"models:/(m-[0-9a-f]{32})")
_ONE_AT_A_TIME = threading.Lock()  # of those who set what is the whole process's


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One registered version.

    Attributes:
        model, number: its name in the registry.
        source: as it was registered: `models:/m-…`, or a location.
        manifest_sha256: what its bundle's manifest hashes to; None where it is no bundle of ours.
        run_id: the run that it came from, where the registry knows it.
    """

    model: str
    number: int
    source: str
    manifest_sha256: str | None
    run_id: str | None
    tags: Mapping[str, str]

    @property
    def label(self) -> str:
        """`digits/3`."""
        return f"{self.model}/{self.number}"

    @property
    def model_id(self) -> str | None:
        """MLflow's logged model that it was made of, where it was made of one."""
        found = _MODEL_ID.fullmatch(self.source)
        return found[1] if found else None


class Registry:
    """One registry, with the tracking store beside it."""

    def __init__(self, tracking: TrackingStore, artifacts: Path) -> None:
        """Names the store; nothing is asked yet.

        Args:
            tracking: MLflow's client.
            artifacts: the folder for artifacts of a store without a server.
        """
        self.tracking, self._artifacts = tracking, artifacts

    @classmethod
    def open(cls, uri: str, home: Home, connect: Connect = connect) -> Registry:
        """The registry at a URI."""
        check_registry_uri(uri)
        prepare_tracking(uri, home)
        return cls(connect(uri), home.artifacts)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of `MlflowClient`.

        Raises:
            RegistryMissing, RegistryRejected: it is not there, or not taken.
            RegistryDenied: this account may not, or there is no MLflow at the address.
            RegistryUnavailable: it does not answer.
        """
        try:
            return self.tracking.call(method, *args, **kwargs)
        except TrackingError as error:
            raise registry_error(error, self.tracking.uri) from None

    # -- reading ---------------------------------------------------------------------------------------------

    def model_names(self) -> list[str]:
        """Names of all registered models."""
        names: list[str] = []
        token: str | None = None
        while True:
            page = self.call("search_registered_models", max_results=200, page_token=token)
            names += [entry.name for entry in page]
            token = page.token
            if not token:
                return names

    def aliases(self, model: str) -> dict[str, int] | None:
        """Which version each alias points at; None where no model has the name."""
        try:
            found = self.call("get_registered_model", model)
        except MissingEntity:
            return None
        return {alias: int(version) for alias, version in found.aliases.items()}

    def alias_target(self, model: str, alias: str) -> int | None:
        """The version that an alias points at, or None."""
        return (self.aliases(model) or {}).get(alias)

    def version_at(self, model: str, alias: str) -> ModelVersion | None:
        """The same with all that is known of it, in one question."""
        try:
            return _version_from_mlflow(self.call("get_model_version_by_alias", model, alias))
        except (MissingEntity, RequestRejected):
            return None

    def version(self, model: str, number: int) -> ModelVersion | None:
        """One version, or None."""
        try:
            found = self.call("get_model_version", model, str(number))
        except MissingEntity:
            return None
        return _version_from_mlflow(found)

    def versions(self, model: str) -> list[ModelVersion]:
        """All versions of a model, oldest first."""
        return sorted(self._search_versions(f"name = '{model}'"), key=lambda version: version.number)

    def versions_of_sweep(self, label: str) -> list[ModelVersion]:
        """All versions, of any model, that came from a sweep."""
        found = self._search_versions(f"tags.`{SWEEP_TAG}` = '{label}'")
        return sorted(found, key=lambda version: (version.model, version.number))

    def _search_versions(self, query: str) -> list[ModelVersion]:
        found: list[ModelVersion] = []
        token: str | None = None
        while True:
            page = self.call("search_model_versions", query, max_results=200, page_token=token)
            found += [_version_from_mlflow(entry) for entry in page]
            token = page.token
            if not token:
                return found

    def version_of_key(self, model: str, key: str) -> ModelVersion | None:
        """The oldest version with that key, or None."""
        return next((found for found in self.versions(model) if found.tags.get(KEY_TAG) == key), None)

    def location(self, version: ModelVersion) -> str:
        """Where a version's files are."""
        return str(self.call("get_model_version_download_uri", version.model, str(version.number)))

    # -- writing ---------------------------------------------------------------------------------------------

    def ensure_model(self, model: str) -> None:
        """Makes the registered model where there is none."""
        if self.aliases(model) is not None:
            return
        try:
            self.call("create_registered_model", model)
        except RequestRejected:  # somebody else made it between our two calls
            if self.aliases(model) is None:
                raise

    def register(
        self, model: str, *, key: str, source: str, run_id: str | None, tags: Mapping[str, str]
    ) -> ModelVersion:
        """The version of that key, made where there is none: creating one is not idempotent in MLflow.

        Args:
            key: what identifies the version's content; kept as the tag `velodrome.key`.
            source: `models:/m-…`, or a location of artifacts.
        """
        self.ensure_model(model)
        if (known := self.version_of_key(model, key)) is not None:
            return known
        logged = _MODEL_ID.fullmatch(source)
        try:
            with _global_tracking_uri(self.tracking.uri):
                made = self.call(
                    "create_model_version", model, source, run_id=run_id, tags={KEY_TAG: key, **tags},
                    model_id=logged[1] if logged else None,
                )  # fmt: skip
        except (MissingEntity, RequestRejected) as error:
            raise RegistryUnavailable(
                "the registry must take a version of this source", str(error), "see what its server allows"
            ) from None
        return _version_from_mlflow(made)

    def make_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """An experiment of that name, with its artifacts where the others of this store have theirs."""
        location = None if self.tracking.remote else (self._artifacts / name).as_uri()
        return str(self.call("create_experiment", name, artifact_location=location, tags=dict(tags)))

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Moves an alias. The last writer wins: callers hold the chain's word for it."""
        self.call("set_registered_model_alias", model, alias, str(number))

    def write_beside(self, version: ModelVersion, name: str, text: str) -> bool:
        """Puts a text into a version's folder, in place of one of that name, outside the bundle that its
        manifest seals. Whether it could be: only a logged model's folder is written to."""
        if version.model_id is None:
            return False
        with tempfile.TemporaryDirectory(prefix="velodrome-") as aside:
            (Path(aside) / name).write_text(text, encoding="utf-8")
            self.call("log_model_artifacts", version.model_id, aside)
        return True

    def set_tags(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Adds tags to a version."""
        for name, value in tags.items():
            self.call("set_model_version_tag", version.model, str(version.number), name, value)


def registry_uri(home: Home, written: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Where a model's registry is: as written, `MLFLOW_TRACKING_URI`, or the embedded store."""
    return expand_variables(written or environ.get("MLFLOW_TRACKING_URI") or home.mlflow_uri, environ)


def check_registry_uri(uri: str) -> None:
    """Refuses what is no address of a registry."""
    is_path = uri.startswith("sqlite:///") and uri == uri.strip()  # folders of people's have blanks in them
    checked = uri.replace(" ", "") if is_path else uri
    if not uri.startswith(_SCHEMES) or re.search(r"[\s\x00-\x1f\x7f#\\]", checked):
        known = ", ".join(_SCHEMES)
        raise WrongInput(
            f"a registry's address must begin with one of {known}, without # and \\ (blanks only in a path)",
            quote_input(redact(uri)),
            "name an MLflow server",
        )
    if uri.startswith("http") and not _has_server(uri):
        must = "a registry's address must name a server, and a port below 65,536"
        raise WrongInput(must, quote_input(redact(uri)), "write for instance http://mlflow.example:5000")


def _has_server(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _version_from_mlflow(found: MlflowVersion) -> ModelVersion:
    tags = dict(found.tags or {})
    return ModelVersion(
        model=found.name,
        number=int(found.version),
        source=str(found.source),
        manifest_sha256=tags.get(MANIFEST_TAG),
        run_id=found.run_id or None,
        tags=tags,
    )


@contextmanager
def _global_tracking_uri(uri: str) -> Iterator[None]:
    """MLflow 3.17 looks a version's `models:/m-…` source up at the process's own tracking URI, whatever the
    client's is."""
    import mlflow
    from mlflow.tracking._tracking_service import utils

    with _ONE_AT_A_TIME:
        variable = os.environ.get("MLFLOW_TRACKING_URI")
        before = utils._tracking_uri  # MLflow's own question counts the environment's variable too
        mlflow.set_tracking_uri(uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None sets none, which its hint leaves out
            if variable is None:
                os.environ.pop("MLFLOW_TRACKING_URI", None)
            else:
                os.environ["MLFLOW_TRACKING_URI"] = variable
