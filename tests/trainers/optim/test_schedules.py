from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from trainers.optim.initialisation import initialise_weights
from trainers.optim.schedules import make_schedule


def test_constant_schedule_is_always_one() -> None:
    assert [make_schedule("constant", 4)(step) for step in range(4)] == [1.0] * 4


def test_step_schedule_falls_at_a_half_and_three_quarters() -> None:
    factor = make_schedule("step", 8)
    assert [factor(step) for step in range(8)] == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]


def test_cosine_schedule_equals_torchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    factor = make_schedule("cosine", 50)
    for step in range(50):
        assert factor(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        theirs.step()


def test_warmup_schedule_rises_to_the_peak_and_then_falls() -> None:
    factor = make_schedule("warmup-cosine", 100, 0.2)
    values = [factor(step) for step in range(100)]
    assert values[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert values[20] == 1.0
    assert values[60] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert all(a > b for a, b in itertools.pairwise(values[20:]))


def test_warmup_cosine_schedule_always_has_a_warmup() -> None:
    assert make_schedule("warmup-cosine", 100)(0) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "warmup-cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 17])
def test_schedules_are_positive_and_at_most_one(name: str, warmup: float, steps: int) -> None:
    factor = make_schedule(name, steps, warmup)
    assert all(0 < factor(step) <= 1 for step in range(steps))


@pytest.mark.parametrize(
    ("name", "spread"),
    [
        ("xavier", (2 / 300) ** 0.5),
        ("kaiming", 0.1),
        ("normal", 0.02),
        ("orthogonal", 200**-0.5),
    ],
)
def test_initialisation_has_the_spread_of_its_formula(name: str, spread: float) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(200, 100), nn.Embedding(10, 4), nn.LayerNorm(4))
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    initialise_weights(module, name)
    weight = module.get_parameter("0.weight")
    assert float(weight.detach().std()) == pytest.approx(spread, rel=0.05)
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[key]) == (key != "0.weight")


def test_initialisation_skips_frozen_and_reaches_all_weight_kinds() -> None:
    module = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.LSTM(3, 4), nn.Linear(2, 2)])
    frozen = module.get_parameter("2.weight").requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    initialise_weights(module, "orthogonal")
    changed = {key for key, tensor in module.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == {"0.weight", "1.weight_ih_l0", "1.weight_hh_l0"}
    assert torch.equal(frozen, before["2.weight"])


def test_default_initialisation_draws_nothing() -> None:
    module = nn.Linear(2, 2)
    state = torch.get_rng_state()
    initialise_weights(module, "default")
    assert torch.equal(torch.get_rng_state(), state)
