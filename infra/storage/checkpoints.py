"""An attempt's checkpoints: a folder of sealed folders, numbered, the newest that verifies being the one."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import StorageUnavailable, WrongInput
from infra.mirror import discard, fetch, publish
from infra.storage.sealed_folders import (
    StorageDamaged,
    folder_contents,
    list_folder,
    remove_folder,
    seal_folder,
    sweep_aside,
    verify_folder,
    write_folder,
)
from trainers.storage import safetensors_file as tensors

if TYPE_CHECKING:
    import torch

    from trainers.types import Document, Json

__all__ = ["CheckpointStore", "LoadedCheckpoint", "StorageDamaged", "verify_folder", "write_folder"]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"(\d{8})-([0-9a-f]{16})")
_WEIGHTS, _DOCUMENT = "tensors.safetensors", "document.json"
_LOOKS = 16  # at a list that a writer changes while it is read


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCheckpoint:
    """A checkpoint that verified.

    Attributes:
        tensors: CPU tensors by name.
        document: plain JSON.
        path: the folder it came from.
        damaged: one sentence for each newer checkpoint that did not verify.
    """

    tensors: dict[str, torch.Tensor]
    document: Document
    path: Path
    damaged: tuple[str, ...] = ()


class CheckpointStore:
    """Checkpoints of one trial, written by one process at a time and read by any.

    A checkpoint counts once its folder has been renamed into place; older ones are removed after that, so
    there is never a moment without one. A folder's name holds its number and the hash of its manifest.
    """

    def __init__(self, folder: Path, keep: int = 1) -> None:
        """Names the place; nothing is read or written yet.

        Args:
            folder: of this trial alone; made when the first checkpoint is written.
            keep: how many of the newest stay.

        Raises:
            WrongInput: `keep` is not at least 1.
        """
        if keep < 1:
            raise WrongInput("checkpoint.keep must be at least 1", str(keep))
        self.folder = Path(folder)
        self.keep = keep

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Json]) -> Path:
        """Writes a checkpoint durably, then removes those beyond `keep`."""
        parts = folder_contents({_WEIGHTS: tensors}, {_DOCUMENT: document}, None)
        committed = seal_folder(
            self.folder, parts, lambda manifest: f"{self._next_number():08d}-{_manifest_mark(manifest)}"
        )
        publish(committed)
        self._remove_old()
        return committed

    def load(self) -> LoadedCheckpoint | None:
        """The newest checkpoint that verifies, or None; what was damaged is logged and returned.

        Raises:
            StorageUnavailable: the file system or the bucket refused.
        """
        fetch(self.folder, exact=True)
        for _ in range(_LOOKS):
            try:
                return self._load_newest()
            except FileNotFoundError:  # removed by a writer that has committed a newer one: look again
                continue
        raise StorageUnavailable(
            "a checkpoint must stay readable while it is read", f"one that vanished {_LOOKS} times"
        )

    def paths(self) -> list[Path]:
        """Committed checkpoints, oldest first; damaged ones among them."""
        names = list_folder(self.folder)
        return [self.folder / name for name in sorted(names) if _NAME.fullmatch(name)]

    def delete(self) -> None:
        """Removes the whole folder, once its trial has ended. Gone already is fine."""
        remove_folder(self.folder)
        sweep_aside(self.folder.parent)
        discard(self.folder)

    def _next_number(self) -> int:
        paths = self.paths()
        return int(paths[-1].name[:8]) + 1 if paths else 1

    def _remove_old(self) -> None:
        try:
            for path in self.paths()[: -self.keep]:
                remove_folder(path)
                discard(path)
            sweep_aside(self.folder)
        except StorageUnavailable as error:  # the new one is committed: too many is no reason to stop
            _log.warning("an old checkpoint could not be removed: %s", error)

    def _load_newest(self) -> LoadedCheckpoint | None:
        damaged: list[str] = []
        for path in reversed(self.paths()):
            try:
                tensors, document = _load_checkpoint(path)
            except StorageDamaged as error:
                damaged.append(str(error))
                _log.warning("a damaged checkpoint was passed over: %s", error)
                continue
            return LoadedCheckpoint(tensors=tensors, document=document, path=path, damaged=tuple(damaged))
        return None


def _load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], Document]:
    parts = verify_folder(path, mark=path.name.partition("-")[2], readers={_WEIGHTS: tensors.load_tensors})
    if set(parts) != {_WEIGHTS, _DOCUMENT}:
        raise StorageDamaged(
            f"{path} must hold {_WEIGHTS} and {_DOCUMENT}", ", ".join(sorted(parts)) or "nothing"
        )
    return parts[_WEIGHTS], json.loads(parts[_DOCUMENT])


def _manifest_mark(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()[:16]
