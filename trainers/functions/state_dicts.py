"""The states of several named objects of people's own: saved together, and loaded back into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from trainers.errors import TrialError
from trainers.functions.serialisation import PythonState, flatten, unflatten

if TYPE_CHECKING:
    import torch

    from trainers.types import Json, JsonObject


class StatefulObject(Protocol):
    """What torch's modules, optimizers and schedulers have, and people's own objects may."""

    def state_dict(self) -> PythonState:
        """What must be kept."""

    def load_state_dict(self, state_dict: PythonState, /) -> object:
        """Takes back what was kept."""


Stateful: TypeAlias = "StatefulObject | torch.Generator"


def save_states(stateful: Mapping[str, Stateful]) -> tuple[dict[str, torch.Tensor], JsonObject]:
    """The states of all as tensors and JSON."""
    tensors: dict[str, torch.Tensor] = {}
    documents: JsonObject = {}
    for name, entry in stateful.items():
        try:
            own, documents[name] = flatten(_state_of(name, entry))
        except TrialError as error:
            raise TrialError(f"{name}, given to trial.epochs: {error.must}", error.found, error.do) from error
        tensors |= {f"{name}/{key}": tensor for key, tensor in own.items()}
    return tensors, documents


def load_states(
    stateful: Mapping[str, Stateful], tensors: Mapping[str, torch.Tensor], documents: Mapping[str, Json]
) -> None:
    """Puts the states back."""
    if set(stateful) != set(documents):
        raise TrialError(
            "trial.epochs must be given the names that the checkpoint holds",
            f"{', '.join(sorted(stateful))} instead of {', '.join(sorted(documents))}",
        )
    for name, entry in stateful.items():
        prefix = f"{name}/"
        own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
        state = unflatten(own, documents[name])
        if hasattr(entry, "load_state_dict"):
            entry.load_state_dict(state)
        else:
            entry.set_state(state)


def _state_of(name: str, entry: Stateful) -> PythonState:
    import torch

    if hasattr(entry, "state_dict") and hasattr(entry, "load_state_dict"):
        return entry.state_dict()
    if isinstance(entry, torch.Generator):
        return entry.get_state()
    raise TrialError(
        "it must have state_dict and load_state_dict", type(entry).__name__, f"leave {name} out, or wrap it"
    )


def check_states(stateful: Mapping[str, Stateful]) -> None:
    """Refuses, before an epoch is spent, what could not be saved after it."""
    save_states(stateful)


def find_module(stateful: Mapping[str, Stateful]) -> torch.nn.Module | None:
    """The module called `model`, or the only one there is, else None."""
    modules = {name: unwrap_module(entry) for name, entry in stateful.items()}
    if modules.get("model") is not None:
        return modules["model"]
    found = [module for module in modules.values() if module is not None]
    return found[0] if len(found) == 1 else None


def unwrap_module(entry: object) -> torch.nn.Module | None:
    """The module itself, out of DistributedDataParallel and torch.compile; None for anything else."""
    import torch

    if not isinstance(entry, torch.nn.Module):
        return None
    if isinstance(entry, (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)):
        return unwrap_module(entry.module)
    compiled: torch.nn.Module | None = getattr(entry, "_orig_mod", None)
    return entry if compiled is None else unwrap_module(compiled)


def plain_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of a module's weights on the CPU, by name, none sharing memory with another."""
    import torch

    weights: dict[str, torch.Tensor] = {}
    for name, weight in module.state_dict().items():
        if not isinstance(weight, torch.Tensor):
            raise TrialError("a model's state must hold tensors alone", f"{type(weight).__name__} at {name}")
        weights[name] = weight.detach().to("cpu", copy=True).contiguous()
    return weights


def pack_plain(state: PythonState) -> Json:
    """A dict of plain values as JSON."""
    tensors, document = flatten(state)
    if tensors:
        do = "give what has a state_dict to trial.epochs"
        raise TrialError("trial.state must hold plain values", "a tensor or an array", do)
    return document


def read_plain(document: Json) -> dict[str, Any]:
    """What `pack_plain` packed; empty where a checkpoint has none."""
    return {} if document is None else dict(unflatten({}, document))
