"""Whether a version is still what its history has: the chain's word against the version's tag and files."""

from __future__ import annotations

from infra.registry.artifacts import FetchedFiles
from infra.registry.chain import Chain
from infra.registry.store import MANIFEST_TAG, ModelVersion
from trainers.errors import InputError


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
    """How a version's tag or its files' manifest differ from what the chain recorded first; empty: not."""
    recorded = chain.manifest_entry(version.number)
    if (found := tag_mismatch(chain, version)) or recorded is None:
        return found
    if files.manifest_sha256 == recorded.manifest:
        return ""
    has = "no manifest" if files.manifest_sha256 is None else f"the manifest {files.manifest_sha256[:16]}"
    return f"{version.label}: its files have {has}, {_entry_words(chain, version)}"


def version_mismatch(chain: Chain, version: ModelVersion, files: FetchedFiles) -> str:
    """As `manifest_mismatch`, and every file against its manifest."""
    return manifest_mismatch(chain, version, files) or files_mismatch(files, version.manifest_sha256)


def _entry_words(chain: Chain, version: ModelVersion) -> str:
    recorded = chain.manifest_entry(version.number)
    return "" if recorded is None else f"entry {recorded.number} has {str(recorded.manifest)[:16]}"
