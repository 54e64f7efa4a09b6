"""A version's files, fetched with limits: an allow-list of schemes and roots, no links, no bombs."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import ParseResult, unquote, urlparse

from infra.errors import WrongInput
from infra.names import quote_input
from infra.registry.registry_errors import RegistryUnavailable
from infra.registry.store import ModelVersion, Registry
from infra.secrets import redact
from trainers.storage.atomic_folders import MANIFEST, manifest_hash

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

MOST_FILES = 10_000
MOST_BYTES = 64 << 30
_REMOTE = ("mlflow-artifacts", "s3", "gs", "abfss", "wasbs")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFiles:
    """A version's files on this machine.

    Attributes:
        folder: MLflow's folder of the model, with `MLmodel`.
        bundle: the bundle inside it; None where it is no model of ours.
        manifest_sha256: what the bundle's manifest hashes to here; None without a bundle.
    """

    folder: Path
    bundle: Path | None
    manifest_sha256: str | None


def fetch_files(registry: Registry, location: str, into: Path) -> FetchedFiles:
    """The files of a location, downloaded into `into` where they are not on this machine.

    Args:
        location: `Registry.location` of a version, or a logged model's `artifact_location`.
        into: a folder for what is downloaded; may exist.
    """
    folder = _local_folder(registry, location) or _download_files(registry, location, into)
    check_tree(folder)
    bundle = find_bundle(folder)
    return FetchedFiles(
        folder=folder, bundle=bundle, manifest_sha256=None if bundle is None else manifest_hash(bundle)
    )


def fetch_version(registry: Registry, version: ModelVersion, into: Path) -> FetchedFiles:
    """`fetch_files` of a registered version."""
    return fetch_files(registry, registry.location(version), into)


def find_bundle(folder: Path) -> Path | None:
    """Our bundle in MLflow's folder of a model, by its manifest; None where there is none."""
    data = folder / "data"
    found = [path for path in sorted(data.iterdir()) if (path / MANIFEST).is_file()] if data.is_dir() else []
    if (data / MANIFEST).is_file():
        return data
    return found[0] if len(found) == 1 else None


def check_tree(folder: Path, *, most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> None:
    """Refuses a folder with links, devices, hard links to elsewhere, or more than its limits.

    Raises:
        WrongInput: names the first of them.
    """
    must = "a model must be plain files in folders, within limits"
    total = 0
    for count, path in enumerate(_walk_tree(folder), start=1):
        known = path.lstat()
        if not (stat.S_ISREG(known.st_mode) or stat.S_ISDIR(known.st_mode)):
            raise WrongInput(must, f"{quote_input(path.name)} is a link or a device")
        if stat.S_ISREG(known.st_mode):
            if known.st_nlink > 1:
                raise WrongInput(must, f"{quote_input(path.name)} is a hard link")
            total += known.st_size
        if count > most_files or total > most_bytes:
            raise WrongInput(must, f"more than {most_files:,} files or {most_bytes / (1 << 30):g} GiB")


def _walk_tree(folder: Path) -> Iterator[Path]:
    if folder.is_symlink() or not folder.is_dir():
        raise WrongInput("a model must be a folder", quote_input(str(folder)), "register it again")
    for base, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            yield Path(base) / name


def _local_folder(registry: Registry, location: str) -> Path | None:
    """The folder of a location on this machine, once it lies where the store keeps its artifacts."""
    parts = urlparse(location)
    if parts.scheme in _REMOTE:
        clean = _stays_in_store(parts, registry.tracking.uri) and not re.search(
            r"[\s\x00-\x1f\\#?]", location
        )
        if not clean or not _is_known_location(registry, parts):
            raise _location_error(location)
        return None
    if parts.scheme not in ("", "file") or parts.netloc or parts.query or parts.fragment:
        raise _location_error(location)
    if registry.tracking.remote:  # a server's own path, which would be looked for on this machine
        raise _location_error(location)
    path = Path(unquote(parts.path))
    resolved = path.resolve()
    if not any(resolved.is_relative_to(root) for root in _artifact_roots(registry)):
        raise _location_error(location)
    return resolved


def _stays_in_store(parts: ParseResult, tracking: str) -> bool:
    """Whether a store's address stays in it, and names no other server than the tracking server."""
    foreign = parts.scheme == "mlflow-artifacts" and parts.netloc not in ("", urlparse(tracking).netloc)
    climbs = {"..", "."} & set(unquote(unquote(parts.path)).split("/"))
    return not (foreign or climbs or "@" in parts.netloc)


def _artifact_roots(registry: Registry) -> list[Path]:
    """The folders that the embedded store's experiments keep artifacts in."""
    return [
        Path(unquote(parts.path)).resolve()
        for parts in _artifact_locations(registry)
        if parts.scheme in ("", "file") and len(PurePosixPath(parts.path).parts) > 2
    ]


def _is_known_location(registry: Registry, parts: ParseResult) -> bool:
    """Whether an experiment keeps its artifacts at this address of a store, or above it."""
    own = urlparse(registry.tracking.uri).netloc
    store, path = _store_path(parts, own)
    roots = [_store_path(kept, own) for kept in _artifact_locations(registry)]
    return any(root_store == store and path.is_relative_to(root) for root_store, root in roots)


def _store_path(parts: ParseResult, own: str) -> tuple[tuple[str, str], PurePosixPath]:
    """A store, where the tracking server's own may go without its name, and a path in it."""
    return (parts.scheme, "" if parts.netloc == own else parts.netloc), PurePosixPath(parts.path or "/")


def _artifact_locations(registry: Registry) -> Iterator[ParseResult]:
    """Where experiments keep their artifacts; a deleted one's models may still be in use."""
    from mlflow.entities import ViewType

    token: str | None = None
    while True:
        page = registry.call("search_experiments", ViewType.ALL, max_results=1000, page_token=token)
        for experiment in page:
            yield urlparse(experiment.artifact_location or "")
        token = page.token
        if not token:
            return


def _location_error(location: str) -> WrongInput:
    return WrongInput(
        "a model's files must lie where the registry's experiments keep theirs",
        quote_input(redact(location)),
        f"log the model in an experiment; a server's models come by {', '.join(_REMOTE)}",
    )


def _download_files(registry: Registry, location: str, into: Path) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        repository = get_artifact_repository(location, tracking_uri=registry.tracking.uri)
        sizes = _check_listing(repository)
        folder = Path(repository.download_artifacts("", dst_path=str(into)))  # type: ignore[no-untyped-call]  # MLflow's own
        _check_download(folder, sizes)
        return folder
    except WrongInput:
        raise
    except Exception as error:  # whatever a storage's client raises
        text = redact(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")[:300]
        raise RegistryUnavailable("a model's files must be readable", text, "repeat the command") from None


def _check_listing(repository: ArtifactRepository) -> dict[str, int]:
    """Sizes and names as the store lists them, before a byte is fetched; the sizes of files, where told."""
    waiting, count, total = [""], 0, 0
    sizes: dict[str, int] = {}
    while waiting:
        for entry in repository.list_artifacts(waiting.pop() or None):
            parts = PurePosixPath(entry.path).parts
            if ".." in parts or entry.path.startswith("/") or "\\" in entry.path:
                raise WrongInput("a model's files must have plain names", quote_input(entry.path))
            count, total = count + 1, total + int(entry.file_size or 0)
            if entry.is_dir:
                waiting.append(entry.path)
            elif entry.file_size is not None:
                sizes[entry.path] = int(entry.file_size)
            if count > MOST_FILES or total > MOST_BYTES:
                found = f"more than {MOST_FILES:,} files or {MOST_BYTES >> 30} GiB"
                raise WrongInput("a model must be within limits", found)
    return sizes


def _check_download(folder: Path, sizes: dict[str, int]) -> None:
    """What a server answers in place of a file (an error page, a redirect) is written as if it were one."""
    for name, size in sizes.items():
        found = (folder / name).stat().st_size
        if found != size:
            raise OSError(f"{quote_input(name)} must have {size} bytes, but {found} arrived")
