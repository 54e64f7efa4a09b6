"""States of people's own objects survive a checkpoint as they were, and what cannot is refused by name."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.torch import load_file, save_file

from trainers.errors import TrialError
from trainers.functions.serialisation import flatten, unflatten


def round_trip(state: Any, folder: Path) -> Any:
    """What comes back from safetensors and JSON on disk."""
    tensors, document = flatten(state)
    save_file(tensors, folder / "state.safetensors")
    text = json.dumps(document, allow_nan=False)
    return unflatten(load_file(folder / "state.safetensors"), json.loads(text))


def deep_equal(a: Any, b: Any) -> bool:
    """Equal in type and value, at any depth; NaN equals NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return (
            list(a) == list(b)
            and all(type(x) is type(y) for x, y in zip(a, b, strict=True))
            and all(deep_equal(a[key], b[key]) for key in a)
        )
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(deep_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return math.copysign(1, a) == math.copysign(1, b) and (a == b or (a != a and b != b))
    return bool(a == b)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.contiguous().reshape(-1)
    return torch.frombuffer(bytearray(flat.numpy(force=True).tobytes()) or bytearray(1), dtype=torch.uint8)


arrays = npst.arrays(
    npst.scalar_dtypes().filter(lambda kind: kind.kind in "biufc" and kind.itemsize <= 16),
    npst.array_shapes(min_dims=0, max_side=3),
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.complex_numbers(allow_nan=False)
    | arrays
    | st.sampled_from(
        [
            torch.tensor(3),
            torch.zeros(0, 2),
            torch.arange(6).reshape(2, 3).T,
            torch.tensor([1 + 2j]),
            torch.tensor([True, False]),
            torch.tensor([0.1], dtype=torch.float16),
            torch.float16,
            torch.device("cpu"),
            torch.Size([2, 3]),
            np.float32(0.1),
        ]
    )
)
keys = (
    st.text(max_size=4) | st.integers(-5, 5) | st.tuples(st.integers(0, 3), st.text(max_size=2)) | st.none()
)
states = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3).map(OrderedDict)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(state=states)
def test_stored_state_loads_unchanged(state: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert deep_equal(state, round_trip(state, tmp_path_factory.getbasetemp()))


@pytest.mark.parametrize("bits", ["7ff8000000000000", "fff8000000000000", "7ff8000000000123"])
def test_stored_not_a_number_keeps_its_bits(bits: str, tmp_path: Path) -> None:
    value = struct.unpack(">d", bytes.fromhex(bits))[0]
    found = round_trip([value, complex(1.0, value)], tmp_path)
    assert [struct.pack(">d", part).hex() for part in (found[0], found[1].imag)] == [bits, bits]


def test_stored_state_of_an_earlier_version_still_loads() -> None:
    assert math.isnan(unflatten({}, {"$": "float", "value": "nan"}))
    assert unflatten({}, {"$": "float", "value": "0x1.8000000000000p+1"}) == 3.0


OPTIMIZERS: list[Callable[[Any], torch.optim.Optimizer]] = [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.1)),
    lambda p: torch.optim.RMSprop(p, lr=0.1, centered=True),
    lambda p: torch.optim.Adagrad(p, lr=0.1),
    lambda p: torch.optim.LBFGS(p, lr=0.1, history_size=3),
]


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):

        def closure(step: int = step) -> torch.Tensor:
            optimizer.zero_grad()
            loss = model(torch.full((3, 2), 0.1 * step)).square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_stored_optimizer_continues_as_if_never_stopped(
    make: Callable[[Any], torch.optim.Optimizer], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    optimizer = make(model.parameters())
    train(model, optimizer, 3)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    again = round_trip(state, tmp_path)
    assert all(type(key) is int for key in again["optimizer"]["state"])
    other = torch.nn.Linear(2, 2)
    other_optimizer = make(other.parameters())
    other.load_state_dict(again["model"])
    other_optimizer.load_state_dict(again["optimizer"])
    train(model, optimizer, 3)
    train(other, other_optimizer, 3)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_stored_schedules_and_gradient_scaler_continue(tmp_path: Path) -> None:
    def make() -> tuple[torch.optim.Optimizer, list[Any]]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
        rates = torch.optim.lr_scheduler
        cosine = rates.CosineAnnealingLR(optimizer, 10)
        one = rates.MultiStepLR(optimizer, [2, 2, 5], gamma=0.5)
        chain = rates.SequentialLR(
            optimizer, [rates.LinearLR(optimizer), rates.ExponentialLR(optimizer, 0.9)], [3]
        )
        plateau = rates.ReduceLROnPlateau(optimizer, patience=1)
        lambdas = rates.LambdaLR(optimizer, lambda epoch: 0.95**epoch)
        return optimizer, [cosine, one, chain, plateau, lambdas]

    def step(optimizer: torch.optim.Optimizer, schedules: list[Any]) -> float:
        optimizer.step()
        for schedule in schedules:
            schedule.step(*([1.0] if type(schedule).__name__ == "ReduceLROnPlateau" else []))
        return float(optimizer.param_groups[0]["lr"])

    optimizer, schedules = make()
    for _ in range(4):
        step(optimizer, schedules)
    state = [optimizer.state_dict(), *(schedule.state_dict() for schedule in schedules)]
    again = round_trip(state, tmp_path)
    other, others = make()
    for thing, own in zip([other, *others], again, strict=True):
        thing.load_state_dict(own)
    assert [step(other, others) for _ in range(5)] == [step(optimizer, schedules) for _ in range(5)]
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=7)
    scaler_again = torch.amp.GradScaler("cpu")
    scaler_again.load_state_dict(round_trip(scaler.state_dict(), tmp_path))
    assert scaler_again.state_dict() == scaler.state_dict() != torch.amp.GradScaler("cpu").state_dict()


def test_a_modules_layer_versions_are_kept(tmp_path: Path) -> None:
    state = torch.nn.BatchNorm1d(3).state_dict()
    assert round_trip(state, tmp_path)._metadata == state._metadata  # type: ignore[attr-defined]


def test_stored_numpy_generators_and_counters_continue(tmp_path: Path) -> None:
    state = {"numpy": np.random.RandomState(3).get_state(), "seen": Counter("abca")}
    again = round_trip(state, tmp_path)
    assert type(again["seen"]) is Counter
    restored = np.random.RandomState()
    restored.set_state(again["numpy"])
    assert restored.rand() == np.random.RandomState(3).rand()


def test_tensors_that_share_memory_can_be_stored(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    again = round_trip({"a": base, "b": base, "c": base[2:]}, tmp_path)
    assert torch.equal(again["c"], base[2:])
    assert torch.equal(again["a"], again["b"])


def test_a_stored_state_does_not_change_with_its_owner() -> None:
    weight = torch.zeros(2)
    tensors, _ = flatten({"w": weight})
    weight += 1
    assert torch.equal(next(iter(tensors.values())), torch.zeros(2))


class Code:
    """Something that only pickle could store."""


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": [1, Code()]}, r"Code at state\['a'\]\[1\]"),
        ({"f": len}, r"builtin_function_or_method at state\['f'\]"),
        ({Code: 1}, "state key"),
        ({"x": np.array([object()])}, r"object at state\['x'\]"),
        (torch.eye(2).to_sparse(), "sparse_coo at state"),
        (torch.empty(2, device="meta"), "at state"),
    ],
)
def test_state_that_cannot_be_stored_is_refused_by_its_place(state: Any, place: str) -> None:
    with pytest.raises(TrialError, match=place):
        flatten(state)


def test_a_state_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TrialError, match="nested at most"):
        flatten(loop)
