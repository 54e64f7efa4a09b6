"""Test examples' own scores on disk: a sealed folder beside a confirmed run's model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infra.ledger.rows import TrialRow
from infra.mirror import fetch
from infra.storage.sealed_folders import read_tensors, remove_folder, verify_folder, write_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

TEST_SCORES = "test_scores"  # the trial's fact that names the folder, relative to the storage root
_FILE = "scores.safetensors"


def write_scores(folder: Path, scores: Mapping[str, torch.Tensor]) -> None:
    """Writes one tensor [examples] a metric; what an attempt that died here left behind is replaced."""
    remove_folder(folder)
    write_folder(folder, tensors={_FILE: scores})


def read_scores(storage: Path, trial: TrialRow) -> dict[str, npt.NDArray[np.float64]]:
    """The trial's scores, float64 [examples] by metric; empty where none were kept or their folder is
    gone."""
    relative = trial.facts.get(TEST_SCORES)
    if not isinstance(relative, str):
        return {}
    folder = (storage / relative).resolve()
    if not folder.is_relative_to(storage.resolve()):
        return {}
    fetch(folder, exact=True)
    try:
        files = verify_folder(folder)
    except FileNotFoundError:
        return {}
    return {name: tensor.double().numpy() for name, tensor in read_tensors(files[_FILE]).items()}
