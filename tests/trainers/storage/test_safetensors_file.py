"""Tensors as safetensors files: the library's bytes, written and read piece by piece."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from trainers.storage.safetensors_file import SafetensorsPieces, load_tensors

KINDS = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16,
    torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.uint16, torch.uint32, torch.uint64,
    torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip


def _tensors() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    made = {f"{i}/{kind}": (torch.rand(3, 5, generator=draw) * 9).to(kind) for i, kind in enumerate(KINDS)}
    return {**made, "b": torch.tensor(2.5), "a": torch.zeros(0, 4), "été": torch.arange(6)[::2]}


def test_safetensors_bytes_equal_the_librarys() -> None:
    plain = {name: tensor.contiguous() for name, tensor in _tensors().items()}
    content = b"".join(map(bytes, SafetensorsPieces(_tensors())))
    assert content == save(plain)
    found = load_tensors(io.BytesIO(content), len(content))
    assert found.keys() == plain.keys()
    for name, tensor in plain.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))


def test_safetensors_with_notes_of_another_library_are_read() -> None:
    content = save({"a": torch.arange(3.0)}, metadata={"format": "pt"})
    assert {name: one.tolist() for name, one in load_tensors(io.BytesIO(content), len(content)).items()} == {
        "a": [0.0, 1.0, 2.0]
    }


def test_safetensors_stores_tied_tensors_apart() -> None:
    one = torch.arange(4.0)
    found = load(b"".join(map(bytes, SafetensorsPieces({"a": one, "b": one, "c": one[1:]}))))
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "a": one.tolist(),
        "b": one.tolist(),
        "c": one[1:].tolist(),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [3]},
        {"shape": [-2, -1]},
        {"data_offsets": [4, 12]},
        {"data_offsets": [0, 80]},
        {"data_offsets": [0]},
        {"dtype": "F31"},
        {"dtype": None},
        {"shape": "ab"},
    ],
)
def test_safetensors_header_that_contradicts_data_is_refused(change: Any) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **change}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(8)
    with pytest.raises(ValueError, match=r"header|where"):
        load_tensors(io.BytesIO(content), len(content))


@pytest.mark.parametrize("content", [b"", b"1234", (1 << 62).to_bytes(8, "little"), bytes(8), b"\x80" * 40])
def test_file_that_is_no_safetensors_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|where"):
        load_tensors(io.BytesIO(content), len(content))


def test_safetensors_header_may_fill_the_file_and_no_more() -> None:
    content = b"".join(map(bytes, SafetensorsPieces({})))
    assert load_tensors(io.BytesIO(content), len(content)) == {}
    with pytest.raises(ValueError, match=f"a header of {len(content) - 8} bytes in a file of"):
        load_tensors(io.BytesIO(content), len(content) - 1)


def test_safetensors_of_sparse_or_odd_type_is_refused() -> None:
    with pytest.raises(ValueError, match="dense and of a plain type"):
        SafetensorsPieces({"x": torch.eye(2).to_sparse()})


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (100_000_001, "a header of 100000001 bytes in a file of"),
        (100_000_000, "a header that cannot be read"),
    ],
)
def test_safetensors_header_is_no_longer_than_the_library_reads(length: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_tensors(io.BytesIO(length.to_bytes(8, "little") + b"{"), 10**9)


def test_safetensors_values_that_end_early_or_late_are_refused() -> None:
    content = b"".join(map(bytes, SafetensorsPieces({"a": torch.arange(4.0), "b": torch.arange(3.0)})))
    for cut, said in ((4, "b ends before its end"), (13, "a ends before its end")):
        with pytest.raises(ValueError, match=said):
            load_tensors(io.BytesIO(content[:-cut]), len(content))
    with pytest.raises(ValueError, match="32 bytes of values, where the header says 28"):
        load_tensors(io.BytesIO(content + bytes(4)), len(content) + 4)
    with pytest.raises(ValueError, match="b is not where the header says"):
        load_tensors(io.BytesIO(content), len(content) - 4)


def test_safetensors_are_read_where_a_reader_gives_few_bytes_at_a_time() -> None:
    class Slow(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            return super().readinto(memoryview(buffer)[:3])

    content = b"".join(map(bytes, SafetensorsPieces({"a": torch.arange(4.0)})))
    assert load_tensors(Slow(content), len(content))["a"].tolist() == [0.0, 1.0, 2.0, 3.0]
