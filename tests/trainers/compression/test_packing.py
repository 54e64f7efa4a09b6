"""Packed weights: what they take, how far they come back, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.compression.methods import parse_method
from trainers.compression.packing import hold_zeros, pack_weights, prune_weights, unpack_weights
from trainers.errors import InputError

WAYS = ["int8", "bf16", "prune:0.5"]
OPTIMIZERS = [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop]


def weights() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "layer.weight": torch.randn(16, 40, generator=draw) * torch.logspace(-6, 3, 16)[:, None],
        "kernels": torch.randn(8, 3, 3, 3, generator=draw, dtype=torch.float64),
        "layer.bias": torch.randn(16, generator=draw),
        "count": torch.tensor(7),
        "zeros": torch.zeros(3, 5),
    }


def size(tensors: dict[str, torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize(("how", "share", "error"), [("int8", 0.3, 1 / 254), ("bf16", 0.5, 2**-8)])
def test_packed_weights_come_back_within_their_rounding(how: str, share: float, error: float) -> None:
    before = weights()
    stored, packing = pack_weights(before, parse_method(how))
    after = unpack_weights(stored, packing)
    assert after.keys() == before.keys()
    assert size(stored) < share * size(before) + 200
    for name, tensor in after.items():
        assert tensor.dtype == before[name].dtype
        largest = before[name].abs().reshape(len(tensor), -1).amax(1) if tensor.dim() > 1 else torch.zeros(())
        assert bool(((tensor - before[name]).abs().reshape(len(tensor) if tensor.dim() else 1, -1)
                     <= largest.reshape(-1, 1) * error * 1.001).all())  # fmt: skip


def test_pruned_weights_come_back_exactly() -> None:
    pruned = prune_weights(weights(), 0.7)
    stored, packing = pack_weights(pruned, parse_method("prune:0.7"))
    after = unpack_weights(stored, packing)
    assert all(torch.equal(after[name], tensor) for name, tensor in pruned.items())
    layer, before = after["layer.weight"], weights()["layer.weight"]
    assert int((layer == 0).sum()) == int(0.7 * layer.numel())
    assert before[layer == 0].abs().max() <= before[layer != 0].abs().min()
    assert size(stored) < 0.4 * size(pruned)
    assert torch.equal(after["layer.bias"], weights()["layer.bias"])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.sampled_from(WAYS), st.integers(0, 99))
def test_packed_tensors_of_any_shape_keep_their_shape(rows: int, columns: int, how: str, seed: int) -> None:
    tensor = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    stored, packing = pack_weights({"w": tensor}, parse_method(how))
    assert unpack_weights(stored, packing)["w"].shape == tensor.shape


@pytest.mark.parametrize(
    "optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop]
)
def test_held_zeros_stay_zero_in_training(optimizer: type[torch.optim.Optimizer]) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    module.load_state_dict(prune_weights(module.state_dict(), 0.5))
    hold_zeros(module)
    before = {name: p.detach().clone() for name, p in module.named_parameters() if p.dim() == 2}
    steps = optimizer(module.parameters(), lr=0.05, weight_decay=0.1)  # type: ignore[call-arg]
    for _ in range(5):
        steps.zero_grad()
        module(torch.randn(16, 6)).square().mean().backward()
        steps.step()
    for name, parameter in module.named_parameters():
        if name in before:
            assert torch.equal(parameter == 0, before[name] == 0)
            assert not torch.equal(parameter, before[name])


@pytest.mark.parametrize("text", ["int4", "prune", "prune:1", "prune:0", "prune:x", "int8:0.5", ""])
def test_unknown_ways_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--how must be"):
        parse_method(text)


def test_models_without_matrices_are_refused() -> None:
    with pytest.raises(InputError, match="two dimensions"):
        pack_weights({"text": torch.zeros(9, dtype=torch.uint8)}, parse_method("int8"))


def test_forged_packings_are_errors_of_values() -> None:
    stored, packing = pack_weights(weights(), parse_method("prune:0.5"))
    with pytest.raises(ValueError, match="a value for each"):
        unpack_weights({**stored, "kernels": stored["kernels"][1:]}, packing)
    stored, packing = pack_weights(weights(), parse_method("int8"))
    with pytest.raises(ValueError, match="no int8 tensor"):
        unpack_weights({**stored, "kernels": stored["kernels"].float()}, packing)
