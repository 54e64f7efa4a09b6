"""A checkpoint's content: tensors by name and one JSON document, and whether it fits what resumes from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trainers.errors import InputError

if TYPE_CHECKING:
    import torch

    from trainers.job import Job

FORMAT = 1


def identity(job: Job, module: torch.nn.Module, fingerprint: str, steps: int) -> dict[str, Any]:
    """What must be equal for a checkpoint to be carried on: plain JSON."""
    family = job.family
    weights = {name: [str(t.dtype), *t.shape] for name, t in module.state_dict().items()}
    document = {
        "format": FORMAT,
        "family": family.name or f"{type(family).__module__}:{type(family).__qualname__}",
        "options": family.options.model_dump(mode="json"),
        "params": dict(job.params),
        "seed": job.seed,
        "data": fingerprint,
        "steps": steps,
        "world_size": job.ranks.world_size,
        "weights": weights,
    }
    plain: dict[str, Any] = json.loads(json.dumps(document, default=str))
    return plain


def refuse_other(expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuses a checkpoint that was written for something else.

    Raises:
        InputError: lists the first ten differences.
    """
    lines = differences(expected, found)
    if lines:
        more = f" and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise InputError(
            "a checkpoint must be of the family and the configuration that resumes from it",
            "; ".join(lines[:10]) + more,
            "start anew with an empty folder, or use the code that wrote it",
        )


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """One line for each key, at any depth, that is missing, unexpected or of another value."""
    want, have = dict(_flat(expected)), dict(_flat(found))
    lines = []
    for key in [*want, *(key for key in have if key not in want)]:
        if key not in have:
            lines.append(f"{key} is missing")
        elif key not in want:
            lines.append(f"{key} is unexpected")
        elif want[key] != have[key]:
            lines.append(f"{key} is {have[key]!r} instead of {want[key]!r}")
    return lines


def _flat(document: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def pack_optimizer(name: str, optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """An optimizer's state as tensors by name, and what is not a tensor as [parameter, key, value] rows."""
    import torch

    tensors, rest = {}, []
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{name}/{index}/{key}"] = value
            else:
                rest.append([index, key, value])
    return tensors, rest


def unpack_optimizer(
    name: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], rest: list[Any]
) -> None:
    """The inverse of `pack_optimizer`; hyper-parameters stay as the optimizer was made."""
    state: dict[int, dict[str, Any]] = {}
    for path, tensor in tensors.items():
        kind, _, entry = path.partition("/")
        if kind == "optimizer" and entry.startswith(f"{name}/"):
            index, _, key = entry.removeprefix(f"{name}/").partition("/")
            state.setdefault(int(index), {})[key] = tensor
    for index, key, value in rest:
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`/, without it."""
    return {
        name.removeprefix(f"{prefix}/"): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}/")
    }
