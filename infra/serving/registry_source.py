"""`infra.registry`'s versions as those take them who answer with them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from infra.errors import RefusedError, WrongInput
from infra.registry.artifacts import fetch_files, fetch_version
from infra.registry.chain import State, alias_state
from infra.registry.contents import LOADERS, model_loader
from infra.registry.integrity import manifest_mismatch
from infra.registry.logged_models import find_logged_model
from infra.registry.records import Records
from infra.registry.store import CHAMPION, MANIFEST_TAG, ModelVersion, Registry
from infra.serving.artifact import Artifact, read_artifact
from infra.tracking.client import MissingEntity, RequestRejected


@dataclass(frozen=True, slots=True)
class RegistrySource:
    """A registry as a `VersionSource`.

    Attributes:
        only_promoted: an alias `champion` that was moved by hand is not followed.
    """

    registry: Registry
    only_promoted: bool = False

    def alias_target(self, model: str, alias: str) -> str | None:
        """The label (`digits/3`) of the version that an alias points at; None where it points nowhere.

        With `only_promoted`, `champion` points at what the model's history last moved it to, wherever
        somebody put the alias by hand.
        """
        if self.only_promoted and alias == CHAMPION:
            move = Records(self.registry, model).read_chain().last_move
            return None if move is None or move.target is None else f"{model}/{move.target}"
        version = self.registry.version_at(model, alias)
        return None if version is None else version.label

    def champion_state(self, model: str) -> State:
        """How the alias `champion` stands to the model's history."""
        chain = Records(self.registry, model).read_chain()
        return alias_state(chain, self.registry.alias_target(model, CHAMPION))

    def fetch(self, label: str, folder: Path) -> Artifact:
        """The files of a version.

        Args:
            folder: an empty one, for what is downloaded.

        Raises:
            WrongInput: no such version, or its files stand where none are taken from, or may not be loaded.
            RefusedError: it is not what the model's history has.
            RegistryUnavailable: they cannot be had now.
        """
        model, _, number = label.rpartition("/")
        version = self.registry.version(model, int(number))
        if version is None:
            raise WrongInput("a version must be registered", f"no {label}")
        try:
            fetched = fetch_version(self.registry, version, folder)
            manifest = version.manifest_sha256 or self._logged_manifest(version)
        except (MissingEntity, RequestRejected) as error:
            raise WrongInput("a version's files must be there", f"{label}: {error}") from None
        if found := manifest_mismatch(Records(self.registry, model).read_chain(), version, fetched):
            do = (
                f"`velodrome history {model} --verify` says what else; `velodrome rollback {model}` goes back"
            )
            raise RefusedError("a version must be what its history has", found, do)
        files = fetched.folder
        loaders = () if model_loader(files) in LOADERS else self._allowed_loaders(model)
        return read_artifact(label, files, manifest_sha256=manifest, loaders=loaders)

    def fetch_uri(self, uri: str, folder: Path) -> Artifact:
        """The files of a logged model: `models:/m-…` or `runs:/RUN/NAME`."""
        logged = find_logged_model(self.registry, uri)
        files = fetch_files(self.registry, str(logged.artifact_location), folder).folder
        return read_artifact(uri, files, manifest_sha256=logged.tags.get(MANIFEST_TAG))

    def _logged_manifest(self, version: ModelVersion) -> str | None:
        """What the logged model says that a version was made of, which somebody registered by hand."""
        if version.model_id is None:
            return None
        tags: dict[str, str] = self.registry.call("get_logged_model", version.model_id).tags
        return tags.get(MANIFEST_TAG)

    def _allowed_loaders(self, model: str) -> Collection[str]:
        """The loaders that the model's policy allows beside the known ones."""
        records = Records(self.registry, model)
        policy = records.read_chain().last_policy
        if policy is None or policy.policy is None:
            return ()
        return [str(loader) for loader in records.read_document(policy.policy).get("loaders", [])]
