"""Versions of registered models, as MLflow knows them, and their files; nothing is fetched from elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from infra.errors import Unavailable, WrongInput
from infra.home import Home
from infra.serving.artifact import Artifact, read_artifact
from infra.serving.reference import Reference
from infra.tracking.client import Missing, Rejected, Tracking, TrackingTrouble, connect, embedded_path
from infra.tracking.redact import redact

STORES = ("mlflow-artifacts", "s3", "gs", "abfs", "abfss", "wasbs", "hdfs")
MANIFEST_TAG = "velodrome.manifest_sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a registered model.

    Attributes:
        key: names it among all that are loaded: `digits/3`.
        source: where MLflow says its files are.
        manifest_sha256: what its bundle's manifest must hash to, where that was written down.
    """

    key: str
    source: str
    manifest_sha256: str | None = None


class Registry:
    """A tracking store's registered models."""

    def __init__(self, tracking: Tracking, home: Home, environ: Mapping[str, str] = os.environ) -> None:
        self._tracking = tracking
        self._roots = _own_roots(tracking.uri, home, environ)

    @classmethod
    def at(cls, uri: str, home: Home) -> Registry:
        """The registry of a tracking URI."""
        return cls(connect(uri), home)

    def at_alias(self, model: str, alias: str) -> Version | None:
        """The version that the alias points at; None where there is no such model or alias.

        Raises:
            Away: the registry does not answer.
        """
        try:
            return _version(self._tracking.call("get_model_version_by_alias", model, alias))
        except (Missing, Rejected):
            return None

    def version(self, model: str, number: str) -> Version:
        """A version by its number.

        Raises:
            WrongInput: there is none.
            Away: the registry does not answer.
        """
        try:
            return _version(self._tracking.call("get_model_version", model, number))
        except (Missing, Rejected):
            raise WrongInput(
                "a version must be registered", f"no {model}/{number} in {redact(self._tracking.uri)}"
            ) from None

    def fetch(self, version: Version, folder: Path) -> Artifact:
        """The files of a version.

        Args:
            folder: an empty one, where they are put first.

        Raises:
            WrongInput: they stand where nothing is fetched from, or are not what may be loaded.
            Away: they can't be had now.
        """
        source, manifest = version.source, version.manifest_sha256
        logged = re.fullmatch(r"models:/(m-[0-9a-f]{32})", source)
        if logged:
            return self._fetch_logged(version.key, logged[1], folder, manifest)
        other = re.fullmatch(r"models:/([^/@]+)/([0-9]+)", source)  # a copied version
        if other:
            original = self.version(other[1], other[2])
            if original.key == version.key or original.source.startswith(f"models:/{other[1]}/"):
                raise _refused_place(version.key, source)
            return self.fetch(
                Version(
                    key=version.key,
                    source=original.source,
                    manifest_sha256=manifest or original.manifest_sha256,
                ),
                folder,
            )
        if source.startswith("runs:/"):
            return self.fetch_uri(source, folder, key=version.key)
        return self._download(version.key, source, folder, manifest)

    def fetch_uri(self, uri: str, folder: Path, *, key: str | None = None) -> Artifact:
        """The files of a logged model (`models:/m-…`) or of a run (`runs:/ID/PATH`).

        Raises:
            WrongInput: no such model or run, or not what may be loaded.
            Away: they can't be had now.
        """
        try:
            if uri.startswith("models:/"):
                return self._fetch_logged(key or uri, uri.removeprefix("models:/"), folder, None)
            run_id, _, path = uri.removeprefix("runs:/").partition("/")
            run = self._tracking.call("get_run", run_id)
            logged = self._logged_in(run, path)
            if logged is not None:
                return self._fetch_logged(key or uri, logged, folder, None)
            place = f"{run.info.artifact_uri.rstrip('/')}/{path}"
        except (Missing, Rejected) as error:
            raise WrongInput("a model must be there", f"{uri}: {error}") from None
        return self._download(key or uri, place, folder, None)

    def _logged_in(self, run: object, name: str) -> str | None:
        """Since MLflow 3 a run's models stand beside it, by their names."""
        for output in run.outputs.model_outputs:  # type: ignore[attr-defined]
            model = self._tracking.call("get_logged_model", output.model_id)
            if name in (model.name, "model"):
                return str(model.model_id)
        return None

    def _fetch_logged(self, key: str, model_id: str, folder: Path, manifest: str | None) -> Artifact:
        model = self._tracking.call("get_logged_model", model_id)
        if str(model.status) not in ("READY", "LoggedModelStatus.READY"):
            raise WrongInput("a logged model must be READY", f"{key}: {model.status}")
        known = manifest or model.tags.get(MANIFEST_TAG)
        return self._download(key, str(model.artifact_location), folder, known)

    def _download(self, key: str, place: str, folder: Path, manifest: str | None) -> Artifact:
        local = self._local(key, place)
        if local is not None:
            return read_artifact(key, local, manifest_sha256=manifest)
        from mlflow.artifacts import download_artifacts

        from infra.tracking.client import Away

        try:
            found = download_artifacts(
                artifact_uri=place, dst_path=str(folder), tracking_uri=self._tracking.uri
            )
        except Exception as error:  # whatever a store's client raises: the files are not here
            text = redact(f"{place}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
            raise Away(text[:500]) from None
        return read_artifact(key, Path(found), manifest_sha256=manifest)

    def _local(self, key: str, place: str) -> Path | None:
        """The folder, where it is one of this machine's that we may read; None for a store elsewhere.

        Raises:
            WrongInput: another folder, or a scheme that nothing is fetched by.
        """
        parts = urlsplit(place)
        if parts.scheme in ("", "file") and not parts.netloc and not parts.query and not parts.fragment:
            path = Path(unquote(parts.path)).resolve()
            if path.is_absolute() and any(path.is_relative_to(root) for root in self._roots):
                return path
        elif parts.scheme in STORES and _is_plain(parts):
            return None
        raise _refused_place(key, place)


def _is_plain(parts: SplitResult) -> bool:
    """Whether an address in a store stays in it, and names no other server than the store's own."""
    foreign = parts.scheme == "mlflow-artifacts" and parts.netloc
    climbs = {"..", "."} & set(unquote(unquote(parts.path)).split("/"))
    return not (foreign or climbs or parts.fragment or parts.query or "@" in parts.netloc)


def _own_roots(uri: str, home: Home, environ: Mapping[str, str]) -> list[Path]:
    roots = [home.artifacts, home.storage]
    if storage := environ.get("VELODROME_STORAGE"):
        roots.append(Path(storage).expanduser())
    if database := embedded_path(uri):
        roots.append(database.parent)
    return [root.resolve() for root in roots]


def _refused_place(key: str, place: str) -> WrongInput:
    return WrongInput(
        "a version's files must stand in this home, or in a store of the tracking server's",
        f"{key} names {redact(place)[:200]}",
        "register the model anew; nothing was fetched",
    )


def _version(found: object) -> Version:
    tags = dict(found.tags or {})  # type: ignore[attr-defined]
    return Version(
        key=f"{found.name}/{found.version}",  # type: ignore[attr-defined]
        source=str(found.source),  # type: ignore[attr-defined]
        manifest_sha256=tags.get(MANIFEST_TAG),
    )


def find_version(registry: Registry, reference: Reference, alias: str) -> Version | None:
    """The version that a reference to a registered model means now; None where the alias points nowhere.

    Raises:
        WrongInput: there is no such version.
        Unavailable: the registry does not answer.
    """
    try:
        if reference.version:
            return registry.version(reference.name, reference.version)
        return registry.at_alias(reference.name, reference.alias or alias)
    except TrackingTrouble as error:
        raise Unavailable("the registry must answer", str(error), "see `velodrome doctor`") from None
