"""A checkpoint's content: tensors by name and one JSON document, and whether it fits what resumes from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from trainers.errors import InputError

if TYPE_CHECKING:
    import torch

    from trainers.job import Job
    from trainers.loop.parallel import OptimizerState
    from trainers.types import Json, JsonObject

FORMAT = 1
Entry: TypeAlias = "tuple[int, str, Json]"  # parameter, key and value of an optimizer's state


def checkpoint_identity(job: Job, module: torch.nn.Module, fingerprint: str, steps: int) -> JsonObject:
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
    plain: JsonObject = json.loads(json.dumps(document, default=str))
    return plain


def refuse_other(expected: Mapping[str, Json], found: Mapping[str, Json]) -> None:
    """Refuses a checkpoint that was written for something else."""
    lines = differences(expected, found)
    if lines:
        more = f" and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise InputError(
            "a checkpoint must be of the family and the configuration that resumes from it",
            "; ".join(lines[:10]) + more,
            "start anew with an empty folder, or use the code that wrote it",
        )


def differences(expected: Mapping[str, Json], found: Mapping[str, Json]) -> list[str]:
    """One line for each key, at any depth, that is missing, unexpected or of another value."""
    want, have = dict(_flatten_keys(expected)), dict(_flatten_keys(found))
    lines = []
    for key in [*want, *(key for key in have if key not in want)]:
        if key not in have:
            lines.append(f"{key} is missing")
        elif key not in want:
            lines.append(f"{key} is unexpected")
        elif want[key] != have[key]:
            lines.append(f"{key} is {have[key]!r} instead of {want[key]!r}")
    return lines


def _flatten_keys(document: Mapping[str, Json], above: str = "") -> Iterator[tuple[str, Json]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _flatten_keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def pack_model(
    module: torch.nn.Module,
    kept: Mapping[str, torch.Tensor],
    optimizers: Mapping[str, torch.optim.Optimizer],
    *,
    keep: bool,
) -> tuple[dict[str, torch.Tensor], dict[str, list[Entry]]]:
    """Weights, kept weights and optimizers as whole tensors by name, and of each optimizer what is not a
    tensor, as [parameter, key, value] rows. Nothing is copied that this process has as a whole.

    Args:
        kept: this rank's, as `copy_weights` made them; empty before the first.
        keep: whether this rank wants the tensors. Where weights are sharded every rank must call.
    """
    from trainers.loop import parallel

    here = module.state_dict()
    named = {"model": (here, here), "kept": (kept, here)}
    rest = {}
    for name, optimizer in optimizers.items():
        own, rest[name] = _split_state(optimizer)
        named[f"optimizer/{name}"] = (own, own)
    tensors: dict[str, torch.Tensor] = {}
    for prefix, (held, like) in named.items():
        tensors |= {
            f"{prefix}/{name}": t for name, t in parallel.gather_wholes(held, like, keep=keep).items()
        }
    return tensors, rest


def _split_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[Entry]]:
    import torch

    tensors: dict[str, torch.Tensor] = {}
    rest: list[Entry] = []
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}/{key}"] = value
            else:
                rest.append((index, key, value))
    return tensors, rest


def unpack_model(
    module: torch.nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    tensors: Mapping[str, torch.Tensor],
    rest: Mapping[str, Sequence[Entry]],
) -> dict[str, torch.Tensor]:
    """Puts back what `pack` gave, this rank's part of it; returns the kept weights. Hyper-parameters stay as
    the optimizers were made."""
    from trainers.loop import parallel

    parallel.load_whole(module, strip_prefix("model", tensors))
    for name, optimizer in optimizers.items():
        state: dict[int, OptimizerState] = {}
        for path, tensor in strip_prefix(f"optimizer/{name}", tensors).items():
            index, _, key = path.partition("/")
            state.setdefault(int(index), {})[key] = tensor
        for number, key, value in rest[name]:
            state.setdefault(number, {})[key] = value
        laid_out = parallel.lay_out_state(optimizer, state)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": laid_out})
    here = module.state_dict()
    return {
        name: parallel.shard_like(whole, here[name]) for name, whole in strip_prefix("kept", tensors).items()
    }


def strip_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`/, without it."""
    return {
        name.removeprefix(f"{prefix}/"): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}/")
    }
