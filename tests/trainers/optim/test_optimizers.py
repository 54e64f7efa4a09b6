from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn, optim

from trainers.errors import InputError
from trainers.families.mlp import MLP
from trainers.hyperparameters import TRAINING, fill_defaults
from trainers.optim.optimizers import (
    add_l1,
    clip_gradients,
    clip_weights,
    flag_not_finite,
    gradient_norm,
    make_optimizer,
)


def _params(**given: Any) -> dict[str, Any]:
    return fill_defaults(TRAINING, {"learning_rate": 0.01, **given})


CASES: list[tuple[dict[str, Any], type[optim.Optimizer], dict[str, Any]]] = [
    ({"optimizer": "sgd"}, optim.SGD, {}),
    ({"optimizer": "sgd", "momentum": 0.9}, optim.SGD, {"momentum": 0.9}),
    (
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        optim.SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    ({"optimizer": "sgd", "nesterov": True}, optim.SGD, {}),
    ({"optimizer": "adam"}, optim.Adam, {}),
    (
        {"optimizer": "adam", "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.1},
        optim.Adam,
        {"betas": (0.5, 0.9), "weight_decay": 0.1},
    ),
    ({"optimizer": "adamw", "weight_decay": 0.1}, optim.AdamW, {"weight_decay": 0.1}),
    ({"optimizer": "adamw"}, optim.AdamW, {"weight_decay": 0.0}),
    ({"optimizer": "rmsprop"}, optim.RMSprop, {}),
    ({"optimizer": "rmsprop", "beta2": 0.999}, optim.RMSprop, {"alpha": 0.999}),
    (
        {"optimizer": "rmsprop", "momentum": 0.9, "beta2": 0.9, "weight_decay": 0.1},
        optim.RMSprop,
        {"momentum": 0.9, "alpha": 0.9, "weight_decay": 0.1},
    ),
]


@pytest.mark.parametrize(("params", "kind", "settings"), CASES)
def test_optimizer_steps_equal_torchs(
    params: dict[str, Any], kind: type[Any], settings: dict[str, Any]
) -> None:
    draw = torch.Generator().manual_seed(0)
    start = [torch.randn(5, 7, generator=draw), torch.randn(7, generator=draw)]
    ours = [nn.Parameter(tensor.clone()) for tensor in start]
    theirs = [nn.Parameter(tensor.clone()) for tensor in start]
    mine, reference = (
        make_optimizer(ours, _params(**params)),
        kind(theirs, lr=0.01, foreach=False, **settings),
    )
    for _ in range(10):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=draw)
            b.grad = a.grad.clone()
        mine.step()
        reference.step()
    for a, b, tensor in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
        assert not torch.equal(a, tensor)


def test_optimizer_leaves_out_frozen_parameters() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    (group,) = make_optimizer(list(module.parameters()), _params()).param_groups
    assert group["params"] == [module.weight]
    module.weight.requires_grad_(False)
    with pytest.raises(InputError, match="weights to train"):
        make_optimizer(list(module.parameters()), _params())


@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_optimizer_beta_of_one_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be below 1"):
        make_optimizer([nn.Parameter(torch.ones(1))], _params(**{name: 1.0}))


def test_l1_gradient_equals_autograds() -> None:
    weights = [nn.Parameter(torch.tensor([1.0, -2.0, 0.0])), nn.Parameter(torch.randn(3, 2))]
    loss = sum((w**2).sum() for w in weights)
    (loss + 0.3 * sum(w.abs().sum() for w in weights)).backward()
    gradients = [2 * w.detach() for w in weights]
    add_l1(weights, gradients, 0.3)
    for w, gradient in zip(weights, gradients, strict=True):
        torch.testing.assert_close(w.grad, gradient)


def test_gradient_norm_and_clipping_equal_torchs() -> None:
    weights = [nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(3))]
    copies = [nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(3))]
    for w, c in zip(weights, copies, strict=True):
        w.grad = torch.randn(w.shape)
        c.grad = w.grad.clone()
    norm = gradient_norm([w.grad for w in weights if w.grad is not None])
    clip_gradients([w.grad for w in weights if w.grad is not None], norm, 0.5)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(copies, 0.5))
    for w, c in zip(weights, copies, strict=True):
        torch.testing.assert_close(w.grad, c.grad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_gradient_is_found_and_others_are_unchanged(bad: float) -> None:
    gradients = [torch.randn(100), torch.full((7,), 1e30)]
    copies = [gradient.clone() for gradient in gradients]
    found, ones = torch.zeros(1), torch.ones(1)
    flag_not_finite(gradients, found, ones)
    assert not found
    assert all(torch.equal(a, b) for a, b in zip(gradients, copies, strict=True))
    gradients[1][3] = bad
    flag_not_finite(gradients, found, ones)
    assert found
    assert not torch.isfinite(gradient_norm(gradients))


def test_weights_are_clipped_in_place() -> None:
    weight = nn.Parameter(torch.tensor([-3.0, -0.1, 0.2, 5.0]))
    clip_weights([weight], 0.15)
    assert weight.tolist() == pytest.approx([-0.15, -0.1, 0.15, 0.15])


@pytest.mark.parametrize(
    ("options", "params", "beta2"),
    [
        ({"beta2": 0.95}, {"optimizer": "rmsprop"}, 0.95),
        ({"beta2": 0.999}, {"optimizer": "rmsprop"}, 0.999),
        ({"beta2": 0.95}, {"optimizer": "rmsprop", "beta2": 0.9}, 0.9),
        ({"optimizer": "rmsprop"}, {}, 0.99),
        ({}, {"optimizer": "adam"}, 0.999),
    ],
)
def test_second_moment_is_as_written_in_options_too(
    options: dict[str, Any], params: dict[str, Any], beta2: float
) -> None:
    assert MLP(options).complete(params)["beta2"] == beta2
