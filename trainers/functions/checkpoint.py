"""The checkpoint of a training function: its states, every rank's generators, and the trial's bookkeeping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainers.errors import TrialError
from trainers.functions.state_dicts import Stateful, load_states, save_states
from trainers.loop.collectives import RankGroup
from trainers.loop.progress import TrainingProgress
from trainers.loop.randomness import capture_state, restore_state

if TYPE_CHECKING:
    import torch

    from trainers.types import Document, JsonObject

_FORMAT = 1


def pack_states(
    stateful: Mapping[str, Stateful],
    progress: TrainingProgress,
    kept: Mapping[str, torch.Tensor] | None,
    crew: RankGroup,
) -> tuple[dict[str, torch.Tensor], JsonObject]:
    """Tensors and JSON of a checkpoint. Called by every rank; rank 0's states are what is in it.

    Args:
        kept: the best epoch's weights, where a module's are kept.
    """
    import torch

    generators = {name: crew.gather_rows(state) for name, state in capture_state(torch.Generator()).items()}
    tensors, states = save_states(stateful) if crew.first else ({}, {})
    parts = {"state": tensors, "random": generators, "kept": dict(kept or {})}
    named = {f"{part}/{name}": tensor for part, own in parts.items() for name, tensor in own.items()}
    document: JsonObject = {
        "function": _FORMAT,
        "states": states,
        "progress": progress.to_json(),
        "kept": kept is not None,
        "world_size": crew.size,
    }
    return named, document


def unpack_states(
    stateful: Mapping[str, Stateful], tensors: Mapping[str, torch.Tensor], document: Document, crew: RankGroup
) -> tuple[TrainingProgress, dict[str, torch.Tensor] | None]:
    """Puts the states and this rank's generators back; returns the bookkeeping and the kept weights."""
    import torch

    _refuse_other(document, crew.size)
    load_states(stateful, _strip_prefix("state/", tensors), document["states"])
    generators = _strip_prefix("random/", tensors)
    restore_state({name: rows[crew.rank] for name, rows in generators.items()}, torch.Generator())
    kept = _strip_prefix("kept/", tensors) if document["kept"] else None
    return TrainingProgress.from_json(document["progress"]), kept


def _strip_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _refuse_other(document: Document, world_size: int) -> None:
    if document.get("function") != _FORMAT:
        raise TrialError(
            f"a checkpoint must be one of a training function, format {_FORMAT}",
            repr(document.get("function")),
            "start anew with an empty folder, or use the version that wrote it",
        )
    if document["world_size"] != world_size:
        raise TrialError(
            "a trial must go on with as many workers as it began with",
            f"{world_size} instead of {document['world_size']}",
        )
