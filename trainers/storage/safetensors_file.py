"""Tensors as a safetensors file, written and read one after another: a model is never twice in memory.

The file (format of the safetensors library, whose bytes these are): the header's length, 8 bytes,
little-endian; the header, JSON of each tensor's type, shape and place, filled up with blanks; the values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, TypedDict

if TYPE_CHECKING:
    import torch
    from typing_extensions import Buffer

# By torch's name, in the library's order, which sorts by the last of these first.
_TYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3",
    "int16": "I16", "uint16": "U16", "float16": "F16", "bfloat16": "BF16", "int32": "I32", "uint32": "U32",
    "float32": "F32", "complex64": "C64", "float64": "F64", "int64": "I64", "uint64": "U64",
}  # fmt: skip
_ORDER = {name: place for place, name in enumerate(reversed(_TYPES))}
_LARGEST_HEADER = 100_000_000  # the library's own limit


class _TensorEntry(TypedDict):
    """What the header says of a tensor."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


class BinaryReader(Protocol):
    """An open file, as far as it is needed here."""

    def read(self, count: int) -> bytes:
        """So many bytes, or what there is."""

    def readinto(self, buffer: Buffer) -> int:
        """Fills the buffer; how many bytes there were."""


class SafetensorsPieces:
    """The bytes of a safetensors file, piece by piece: a header, then each tensor's own memory.

    Tensors may be on any device and share memory (tied weights do): they are stored apart.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Looks at types and shapes."""
        self._tensors = sorted(tensors.items(), key=lambda item: (_ORDER[_type_name(*item)], item[0]))

    def __iter__(self) -> Iterator[Buffer]:
        """Bytes-like objects in the file's order; of each tensor one, copied only from another device."""
        yield self._header_bytes()
        for _, tensor in self._tensors:
            yield _tensor_bytes(tensor.detach().cpu().contiguous()).numpy().data

    def _header_bytes(self) -> bytes:
        entries, end = {}, 0
        for name, tensor in self._tensors:
            first, end = end, end + tensor.numel() * tensor.element_size()
            kind = _TYPES[_type_name(name, tensor)]
            entries[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [first, end]}
        text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


def load_tensors(file: BinaryReader, size_bytes: int) -> dict[str, torch.Tensor]:
    """CPU tensors by name, each read into memory of its own.

    Args:
        size_bytes: of the whole file.

    Raises:
        ValueError: it is no safetensors file.
    """
    import torch

    length = int.from_bytes(file.read(8), "little")
    if length > min(size_bytes - 8, _LARGEST_HEADER):
        raise ValueError(f"a header of {length} bytes in a file of {size_bytes}")
    left = size_bytes - 8 - length
    tensors, place = {}, 0
    for name, entry in _sort_entries(file.read(length)):
        dtype, shape, (first, end) = getattr(torch, entry["dtype"]), entry["shape"], entry["data_offsets"]
        count = 1
        for side in shape:
            count *= side
        if first != place or end - first != count * dtype.itemsize or min(shape, default=0) < 0 or end > left:
            raise ValueError(f"{name} is not where the header says")
        tensors[name] = torch.empty(shape, dtype=dtype)
        _fill_tensor(file, name, tensors[name])
        place = end
    if place != left:
        raise ValueError(f"{left} bytes of values, where the header says {place}")
    return tensors


def _fill_tensor(file: BinaryReader, name: str, tensor: torch.Tensor) -> None:
    rest = _tensor_bytes(tensor).numpy().data
    while len(rest):
        count = file.readinto(rest)
        if not count:
            raise ValueError(f"{name} ends before its end")
        rest = rest[count:]


def _sort_entries(text: bytes) -> list[tuple[str, _TensorEntry]]:
    """The header's entries as they follow each other, with torch's names of types."""
    try:
        document = json.loads(text)
        document.pop("__metadata__", None)
        found = [(name, _parse_entry(entry)) for name, entry in document.items()]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"a header that cannot be read: {type(error).__name__} {error}"[:300]) from error
    return sorted(found, key=lambda item: item[1]["data_offsets"])


def _parse_entry(entry: _TensorEntry) -> _TensorEntry:
    names = {kind: name for name, kind in _TYPES.items()}
    first, end = entry["data_offsets"]
    shape = [int(side) for side in entry["shape"]]
    return {"dtype": names[entry["dtype"]], "shape": shape, "data_offsets": [int(first), int(end)]}


def tensors_from_bytes(content: bytes) -> dict[str, torch.Tensor]:
    """CPU tensors by name."""
    from safetensors.torch import load

    tensors: dict[str, torch.Tensor] = load(content)
    return tensors


def _type_name(name: str, tensor: torch.Tensor) -> str:
    import torch

    kind = str(tensor.dtype).removeprefix("torch.")
    if kind not in _TYPES or tensor.layout is not torch.strided:
        raise ValueError(f"a stored tensor must be dense and of a plain type, but {name} is {kind}")
    return kind


def _tensor_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """A contiguous tensor's memory, uint8 [bytes]."""
    import torch

    return tensor.reshape(-1).view(torch.uint8)
