"""Weights from a file: safetensors, checked by names and shapes, never unpickled.

A file of torch's own format (`.pt`, `.pth`, `.bin`), as torchvision gives them out, is read with
`weights_only=True`, which takes tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.errors import InputError
from trainers.nearest import nearest
from trainers.pretrained.hub import check_hash
from trainers.storage.encryption import MARK, plain_content

if TYPE_CHECKING:
    import torch

    from trainers.types import JsonObject

_KEY = ("options", "pretrained")
_ENCODER = ("options", "encoder")
_DO = "save them with safetensors.torch.save_file(module.state_dict(), path)"


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name, on the CPU.

    Raises:
        InputError: there is no such file, or it holds anything but named tensors.
    """
    if not path.is_file():
        raise InputError("pretrained must be a file that exists", str(path), key=_KEY)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pt", ".pth", ".bin"):
        return _read_torch(path)
    raise InputError("pretrained must be a .safetensors, .pt, .pth or .bin file", path.name, _DO, key=_KEY)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        with path.open("rb") as file:
            encrypted = file.read(len(MARK)) == MARK
        weights: dict[str, torch.Tensor] = (
            load(plain_content(path.name, path.read_bytes())) if encrypted else load_file(path)
        )
    except (SafetensorError, ValueError) as error:
        raise InputError(
            "pretrained must be a whole safetensors file", f"{path}: {error}", key=_KEY
        ) from error
    return weights


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).splitlines()[0][:200]
        raise InputError(
            "pretrained must hold weights and nothing that runs code", f"{path}: {first}", _DO, key=_KEY
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise InputError("pretrained must be a mapping of names to tensors", f"{path}", _DO, key=_KEY)
    return {str(name): tensor for name, tensor in found.items()}


def load_pretrained(
    module: torch.nn.Module,
    path: Path,
    *,
    prefix: str = "",
    into: str = "",
    leave: Sequence[str] = (),
    sha256: str | None = None,
) -> list[str]:
    """Copies a file's weights into a module.

    Args:
        prefix: of the file's names; it is taken away, and names without it are passed over.
        into: put before what is left, to reach a part of the module (`blocks.`).
        leave: patterns of the module's names that need not be in the file (a new head), and stay as drawn.
        sha256: what the file must hash to.

    Returns:
        The names that were taken, as the module calls them.
    """
    if sha256 is not None and path.is_file():
        check_hash([path], sha256)
    return _copy_weights(module, path, read_weights(path), prefix=prefix, into=into, leave=leave)


def _copy_weights(
    module: torch.nn.Module,
    path: Path,
    weights: Mapping[str, torch.Tensor],
    *,
    prefix: str,
    into: str,
    leave: Sequence[str] = (),
) -> list[str]:
    found = {
        into + name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
    own = {name: tensor for name, tensor in module.state_dict().items() if name.startswith(into)}
    wanted = {name for name in own if not any(fnmatchcase(name, pattern) for pattern in leave)}
    _check_weights(path, found, own, wanted)
    taken = {name: tensor for name, tensor in found.items() if name in wanted}
    module.load_state_dict(taken, strict=False)
    return sorted(taken)


def _check_weights(
    path: Path, found: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], wanted: set[str]
) -> None:
    missing, unknown = sorted(wanted - found.keys()), sorted(found.keys() - own.keys())
    if missing or unknown:
        parts = [("without", missing), ("with the unknown", unknown)]
        told = " and ".join(f"{word} {_join_names(names)}" for word, names in parts if names)
        near = nearest(missing[0], unknown) if missing else None
        hint = f"is {near!r} the module's {missing[0]!r}?" if near else ""
        raise InputError(
            "pretrained weights must have the names of the module's", f"{path.name} {told}", hint, key=_KEY
        )
    for name in sorted(wanted):
        if found[name].shape != own[name].shape:
            raise InputError(
                f"pretrained {name} must have the module's shape {tuple(own[name].shape)}",
                f"{tuple(found[name].shape)} in {path.name}",
                key=_KEY,
            )


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


# -- encoders ----------------------------------------------------------------------------------------------

BLOCKS = "blocks."  # what an encoder's convolutions are called, in every family that has them
STRUCTURE = ("channels", "kernel", "padding", "batch_norm", "activation", "pooling")
"""Hyper-parameters that decide the shapes of blocks, and what goes on between them."""


def encoder_structure(path: Path, sha256: str | None) -> JsonObject:
    """With which of `STRUCTURE` a model's bundle was made; nothing for a file of weights alone.

    Args:
        path: a bundle's folder, or a file of weights.
        sha256: what the folder's manifest must hash to, where that is known.

    Raises:
        InputError: there is no such folder, it is damaged or another, or its model has no blocks.
    """
    if not path.is_dir():
        return {}
    document = json.loads(_read_encoder(path, sha256)["model.json"])
    params = document.get("params", {})
    known = {name: params[name] for name in STRUCTURE if name in params}
    if "channels" not in known:
        raise InputError(
            "an encoder must be a model with blocks of convolution", str(document.get("family")),
            "name a model of autoencoder or image_cnn", key=_ENCODER,
        )  # fmt: skip
    return known


def load_encoder(module: torch.nn.Module, path: Path, sha256: str | None) -> list[str]:
    """Copies the convolution blocks of another model into a module's.

    Returns:
        The names that were taken.
    """
    if not path.is_dir():
        return load_pretrained(module, path, prefix=BLOCKS, into=BLOCKS)
    from trainers.storage.safetensors_file import tensors_from_bytes

    weights = tensors_from_bytes(_read_encoder(path, sha256)["weights.safetensors"])
    return _copy_weights(module, path, weights, prefix=BLOCKS, into=BLOCKS)


def _read_encoder(path: Path, sha256: str | None) -> dict[str, bytes]:
    from trainers.storage.atomic_folders import read_folder

    files = read_folder(path, manifest_sha256=sha256)
    if not {"model.json", "weights.safetensors"} <= files.keys():
        raise InputError("an encoder must be a model's bundle", str(path), key=_ENCODER)
    return files


def freeze(module: torch.nn.Module, patterns: Iterable[str]) -> list[str]:
    """Keeps training from changing the parameters whose names match.

    Args:
        patterns: as the shell's: `blocks.*`; a name without a wildcard also means all below it.

    Returns:
        The names that are frozen now.

    Raises:
        InputError: a pattern matches no parameter, or nothing is left to train.
    """
    frozen: list[str] = []
    for pattern in patterns:
        names = [name for name, _ in module.named_parameters() if _matches(name, pattern)]
        if not names:
            known = [name for name, _ in module.named_parameters()]
            raise InputError(
                "freeze must name parameters of the module",
                repr(pattern),
                f"it has {_join_names(known)}",
                key=("options", "freeze"),
            )
        frozen += names
    for name, parameter in module.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    if frozen and not any(parameter.requires_grad for parameter in module.parameters()):
        raise InputError(
            "something must be left to train", "all parameters frozen", key=("options", "freeze")
        )
    return frozen


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or name.startswith(pattern + ".")
