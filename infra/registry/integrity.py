"""Whether a version is still what its history has: the chain's word against the version's tag and files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from infra.registry.artifacts import FetchedFiles
from infra.registry.chain import Chain
from infra.registry.store import MANIFEST_TAG, ModelVersion
from trainers.errors import InputError

UNSEALED = ("README.md", "registered_model_meta")  # the card, and what MLflow writes as it downloads


def hash_files(files: FetchedFiles) -> str:
    """SHA-256 over the names and bytes of a version's files but its card; of a bundle over the hash of its
    manifest, which seals the rest of it."""
    beside = [
        path
        for path in sorted(files.folder.rglob("*"))
        if path.is_file() and not (files.bundle and path.is_relative_to(files.bundle))
    ]
    names = {path.relative_to(files.folder).as_posix(): path for path in beside}
    listed = [[name, _hash_file(path)] for name, path in names.items() if name not in UNSEALED]
    return hashlib.sha256(json.dumps([files.manifest_sha256, listed]).encode()).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_mismatch(files: FetchedFiles, manifest: str | None) -> str:
    """How files differ from their manifest, or that from the one that was registered; empty: not at all."""
    from trainers.bundle.bundle import read_description

    if files.bundle is None:
        return "" if manifest is None else "no bundle, where one was registered"
    try:
        read_description(files.bundle, manifest_sha256=manifest)
    except InputError as error:
        return error.found
    return ""


def tag_mismatch(chain: Chain, version: ModelVersion) -> str:
    """How a version's tag differs from what the chain recorded first; empty where it does not."""
    recorded = chain.manifest_entry(version.number)
    if recorded is None or version.manifest_sha256 == recorded.manifest:
        return ""
    has = "nothing" if version.manifest_sha256 is None else version.manifest_sha256[:16]
    return f"{version.label}: the tag {MANIFEST_TAG} has {has}, {_entry_words(chain, version)}"


def manifest_mismatch(chain: Chain, version: ModelVersion, files: FetchedFiles) -> str:
    """How a version's tag, its files' manifest or what lies beside its bundle differ from what the chain
    recorded first; empty: not."""
    if found := tag_mismatch(chain, version):
        return found
    recorded = chain.manifest_entry(version.number)
    if recorded is not None and files.manifest_sha256 != recorded.manifest:
        has = "no manifest" if files.manifest_sha256 is None else f"the manifest {files.manifest_sha256[:16]}"
        return f"{version.label}: its files have {has}, {_entry_words(chain, version)}"
    sealed = chain.files_entry(version.number)
    if sealed is None or hash_files(files) == sealed.files:
        return ""
    which = "files" if files.bundle is None else "files beside its bundle (MLmodel, requirements, wheels)"
    return f"{version.label}: its {which} are not those of entry {sealed.number}"


def version_mismatch(chain: Chain, version: ModelVersion, files: FetchedFiles) -> str:
    """As `manifest_mismatch`, and every file against its manifest."""
    return manifest_mismatch(chain, version, files) or files_mismatch(files, version.manifest_sha256)


def _entry_words(chain: Chain, version: ModelVersion) -> str:
    recorded = chain.manifest_entry(version.number)
    return "" if recorded is None else f"entry {recorded.number} has {str(recorded.manifest)[:16]}"
