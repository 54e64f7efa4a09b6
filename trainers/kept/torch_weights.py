"""Weights that a script left in a checkpoint of torch's, read without unpickling objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from trainers.code.references import resolve_reference
from trainers.errors import TrialError

if TYPE_CHECKING:
    import torch

    from trainers.types import Params

# Where a checkpoint that holds more has them: Lightning, torch's tutorials, nanoGPT and timm.
_NAMES = ("state_dict", "model_state_dict", "model")
_WRAPPERS = ("module._orig_mod.", "_orig_mod.module.", "_orig_mod.", "module.")


def read_weights(path: Path | str) -> dict[str, torch.Tensor]:
    """The state dict that a checkpoint is, or has under one of its usual names.

    Raises:
        TrialError: it holds objects, which nothing but a pickle could bring back, or no state dict.
    """
    import torch

    must = "a checkpoint that is kept as a model must hold plain values"
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        do = (
            "save model.state_dict(), not the module; of Lightning leave objects out of "
            "save_hyperparameters(ignore=[…]) and of on_save_checkpoint"
        )
        raise TrialError(must, f"{path}: {(str(error).splitlines() or ['nothing'])[0][:200]}", do) from error
    for name in _NAMES:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping) or not all(isinstance(part, torch.Tensor) for part in found.values()):
        do = f"save model.state_dict(), or a dict that has it as {' or '.join(_NAMES)}"
        raise TrialError("a checkpoint that is kept as a model must hold weights", str(path), do)
    return dict(found)


def load_module(build: str, params: Params, path: Path) -> torch.nn.Module:
    """The module that `build(**params)` makes, with the weights of a checkpoint.

    Raises:
        InputError: `build` cannot be imported.
        TrialError: the checkpoint has no weights, or they are not this module's.
    """
    weights = read_weights(path)
    made: Callable[..., torch.nn.Module] = resolve_reference(build)
    module = made(**params)
    if weights.keys() != module.state_dict().keys():
        weights = {name.removeprefix(_wrapper_of(weights)): tensor for name, tensor in weights.items()}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        do = f"have {build} make what the command trained with the same parameters"
        found = " ".join(str(error).split())[:300]
        raise TrialError(f"{build} must make the module of {path.name}", found, do) from error
    return module


def _wrapper_of(weights: Mapping[str, torch.Tensor]) -> str:
    """What torch.compile or the wrapper of several processes put in front of every name."""
    return next((wrap for wrap in _WRAPPERS if all(name.startswith(wrap) for name in weights)), "")
