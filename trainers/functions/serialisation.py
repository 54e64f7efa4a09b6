"""The states of people's own objects as tensors and one JSON document, and back, without pickle.

A state is what `state_dict()` gave: nested mappings, lists and tuples of tensors, NumPy arrays, numbers,
strings, bytes and None. Types come back as they were (a defaultdict as a dict, a parameter as a tensor),
integer keys of optimizers among them. Tensors that share memory come back apart, equal.
"""

from __future__ import annotations

import base64
import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from trainers.errors import TrialError

if TYPE_CHECKING:
    import torch

    from trainers.types import Array, Document, Json, JsonObject, Tensors

PythonState: TypeAlias = Any  # what `state_dict()` of people's own objects gives
_KIND = "$"  # marks a JSON object that stands for something else
_DEEPEST = 200
_MAPPINGS: Mapping[type, str] = {
    dict: "dict",
    defaultdict: "dict",
    OrderedDict: "OrderedDict",
    Counter: "Counter",
}


def flatten(state: PythonState) -> tuple[dict[str, torch.Tensor], Json]:
    """The tensors of a state by name, contiguous and on the CPU, and the rest as JSON."""
    tensors: dict[str, torch.Tensor] = {}
    return tensors, _pack_value(state, "state", tensors, 0)


def unflatten(tensors: Mapping[str, torch.Tensor], document: Json) -> PythonState:
    """The state that `flatten` took apart."""
    if not isinstance(document, dict):
        return document
    return _READERS[str(document[_KIND])](document, tensors)


def _pack_value(value: PythonState, place: str, tensors: dict[str, torch.Tensor], depth: int) -> Json:
    import torch

    if depth > _DEEPEST:
        raise TrialError(f"a state must be nested at most {_DEEPEST} deep", place)
    if value is None or type(value) in (bool, str):
        plain: str | bool | None = value
        return plain
    if type(value) is int:
        return value if abs(value) < 2**53 else {_KIND: "int", "value": str(value)}
    if type(value) is float:
        return {_KIND: "float", "value": _float_text(value)}
    if isinstance(value, torch.Tensor):
        return _pack_tensor(value, place, tensors)
    if isinstance(value, (np.ndarray, np.generic)):
        return _pack_array(value, place, tensors)
    if type(value) in (bytes, bytearray):
        return {_KIND: type(value).__name__, "value": base64.b64encode(value).decode()}
    if type(value) is complex:
        return {_KIND: "complex", "value": [_float_text(value.real), _float_text(value.imag)]}
    if isinstance(value, (torch.Size, torch.dtype, torch.device)):
        return _pack_torch(value)
    return _pack_container(value, place, tensors, depth)


def _float_text(value: float) -> str:
    """Exact; of what is no number the bits, since its sign and payload have no other spelling."""
    return value.hex() if value == value else f"bits:{struct.pack('>d', value).hex()}"


def _read_float(text: str) -> float:
    if not text.startswith("bits:"):
        return float.fromhex(text)
    value: float = struct.unpack(">d", bytes.fromhex(text.removeprefix("bits:")))[0]
    return value


def _pack_container(value: PythonState, place: str, tensors: dict[str, torch.Tensor], depth: int) -> Json:
    if type(value) in _MAPPINGS:
        pairs = [
            [
                _pack_value(key, f"{place} key {key!r}", tensors, depth + 1),
                _pack_value(entry, f"{place}[{key!r}]", tensors, depth + 1),
            ]
            for key, entry in value.items()
        ]
        document: JsonObject = {_KIND: _MAPPINGS[type(value)], "items": pairs}
        if hasattr(value, "_metadata"):  # versions of the layers of a module's state
            document["metadata"] = _pack_value(value._metadata, f"{place}._metadata", tensors, depth + 1)
        return document
    if type(value) in (list, tuple, set, frozenset):
        entries = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        packed = [_pack_value(entry, f"{place}[{i}]", tensors, depth + 1) for i, entry in enumerate(entries)]
        return {_KIND: type(value).__name__, "items": packed}
    raise TrialError(
        "a state must hold tensors, arrays, numbers, strings, bytes, None, and mappings, lists, tuples or "
        "sets of these",
        f"{type(value).__module__}.{type(value).__qualname__} at {place}",
        "leave it out of state_dict(), or give the object a state_dict() of plain values",
    )


def _pack_tensor(value: torch.Tensor, place: str, tensors: dict[str, torch.Tensor]) -> JsonObject:
    import torch

    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        raise TrialError("a tensor in a state must be dense and hold data", f"{value.layout} at {place}")
    stored = value.detach().resolve_neg()
    document: JsonObject = {_KIND: "tensor"}
    if value.is_complex():
        stored, document["complex"] = torch.view_as_real(stored.resolve_conj()), True
    name = f"{len(tensors)}"
    # A copy of its own: safetensors refuses tensors that share memory.
    tensors[name] = stored.to("cpu", copy=True).contiguous()
    document["name"] = name
    return document


def _pack_array(value: Array | np.generic, place: str, tensors: dict[str, torch.Tensor]) -> JsonObject:
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise TrialError("an array in a state must hold numbers", f"{array.dtype} at {place}")
    import torch

    plain = np.ascontiguousarray(array)
    raw = torch.from_numpy(np.frombuffer(plain.tobytes(), dtype=np.uint8).copy())
    name = f"{len(tensors)}"
    tensors[name] = raw
    document: JsonObject = {
        _KIND: "array",
        "name": name,
        "dtype": array.dtype.str,
        "shape": list(array.shape),
    }
    return {**document, "scalar": True} if isinstance(value, np.generic) else document


def _pack_torch(value: torch.Size | torch.dtype | torch.device) -> JsonObject:
    import torch

    if isinstance(value, torch.Size):
        return {_KIND: "Size", "value": list(value)}
    return {_KIND: "dtype" if isinstance(value, torch.dtype) else "device", "value": str(value)}


def _read_items(document: Document, tensors: Mapping[str, torch.Tensor]) -> list[PythonState]:
    return [unflatten(tensors, entry) for entry in document["items"]]


def _read_mapping(document: Document, tensors: Mapping[str, torch.Tensor]) -> PythonState:
    pairs = {unflatten(tensors, key): unflatten(tensors, entry) for key, entry in document["items"]}
    read: PythonState = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}[document[_KIND]](pairs)
    if "metadata" in document:
        read._metadata = unflatten(tensors, document["metadata"])
    return read


def _read_tensor(document: Document, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    import torch

    stored = tensors[document["name"]]
    return torch.view_as_complex(stored) if document.get("complex") else stored


def _read_array(document: Document, tensors: Mapping[str, torch.Tensor]) -> PythonState:
    raw = tensors[document["name"]].cpu().numpy().tobytes()
    array = np.frombuffer(raw, dtype=np.dtype(document["dtype"])).reshape(document["shape"]).copy()
    return array[()] if document.get("scalar") else array


def _read_dtype(document: Document, tensors: Mapping[str, torch.Tensor]) -> torch.dtype:
    import torch

    found = getattr(torch, document["value"].removeprefix("torch."))
    if not isinstance(found, torch.dtype):
        raise TrialError("a stored type must be one of torch's", repr(document["value"]))
    return found


def _read_device(document: Document, tensors: Mapping[str, torch.Tensor]) -> torch.device:
    import torch

    return torch.device(document["value"])


def _read_size(document: Document, tensors: Mapping[str, torch.Tensor]) -> torch.Size:
    import torch

    return torch.Size(document["value"])


_READERS: Mapping[str, Callable[[Document, Tensors], PythonState]] = {
    "int": lambda document, tensors: int(document["value"]),
    "float": lambda document, tensors: _read_float(document["value"]),
    "complex": lambda document, tensors: complex(*map(_read_float, document["value"])),
    "bytes": lambda document, tensors: base64.b64decode(document["value"]),
    "bytearray": lambda document, tensors: bytearray(base64.b64decode(document["value"])),
    "list": _read_items,
    "tuple": lambda document, tensors: tuple(_read_items(document, tensors)),
    "set": lambda document, tensors: set(_read_items(document, tensors)),
    "frozenset": lambda document, tensors: frozenset(_read_items(document, tensors)),
    "dict": _read_mapping,
    "OrderedDict": _read_mapping,
    "Counter": _read_mapping,
    "tensor": _read_tensor,
    "array": _read_array,
    "dtype": _read_dtype,
    "device": _read_device,
    "Size": _read_size,
}
