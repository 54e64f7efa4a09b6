"""Out-of-fold probabilities on the sweep's storage: a sealed folder a fold, kept until the sweep is removed.

    STORAGE/SWEEP/.out-of-fold/DIGEST/K/fold-3

Shape legend: m rows that a fold leaves out, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infra.mirror import fetch, publish
from infra.storage.checkpoints import CheckpointStore
from infra.storage.sealed_folders import (
    StorageDamaged,
    read_tensors,
    remove_folder,
    verify_folder,
    write_folder,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from trainers.types import JsonObject

FOLDER = ".out-of-fold"  # of a sweep's: no family has such a name
_TENSORS, _DOCUMENT = "probabilities.safetensors", "fold.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldStore:
    """The folds of one configuration, data set and code.

    Attributes:
        folder: of them alone; below it one for each number of folds.
        say: told where a fold that was kept cannot be used.
    """

    folder: Path
    say: Callable[[str], None]

    def place(self, folds: int) -> Path:
        """Where the probabilities of so many folds are."""
        return self.folder / str(folds)

    def kept_counts(self) -> list[int]:
        """For which numbers of folds every fold is here, the largest last."""
        fetch(self.folder)
        numbers = [int(path.name) for path in self.folder.glob("*") if path.name.isdigit()]
        return sorted(k for k in numbers if all(self._fold(k, fold).is_dir() for fold in range(k)))

    def read(self, folds: int, fold: int, rows: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64] | None:
        """A fold's probabilities, float64 [m, C]; None where they are not here, or of other rows.

        Args:
            rows: hashes of the rows that the fold leaves out, [m].

        Raises:
            StorageUnavailable: they cannot be read, or their key is not here.
        """
        folder = self._fold(folds, fold)
        fetch(folder, exact=True)
        try:
            tensors = read_tensors(verify_folder(folder)[_TENSORS])
        except FileNotFoundError:
            return None
        except StorageDamaged as error:
            self.say(f"fold {fold + 1} of {folds} is trained again: {error}")
            return None
        if not np.array_equal(tensors["rows"].numpy(), rows.view(np.int64)):
            return None
        return np.asarray(tensors["probabilities"].numpy(), np.float64)

    def write(
        self,
        folds: int,
        fold: int,
        rows: npt.NDArray[np.uint64],
        chances: npt.NDArray[np.float64],
        about: JsonObject,
    ) -> None:
        """Keeps a fold's probabilities; its checkpoints go.

        Args:
            rows: as for `read`.
            about: what a person wants to know of them.
        """
        import torch

        folder = self._fold(folds, fold)
        remove_folder(folder)
        tensors = {
            "rows": torch.from_numpy(rows.view(np.int64).copy()),
            "probabilities": torch.from_numpy(np.ascontiguousarray(chances)),
        }
        write_folder(folder, tensors={_TENSORS: tensors}, documents={_DOCUMENT: about})
        publish(folder)
        self.checkpoints(folds, fold).delete()

    def checkpoints(self, folds: int, fold: int) -> CheckpointStore:
        """Those of the fold's model while it is trained."""
        return CheckpointStore(self.place(folds) / f"fold-{fold}-checkpoints")

    def _fold(self, folds: int, fold: int) -> Path:
        return self.place(folds) / f"fold-{fold}"
