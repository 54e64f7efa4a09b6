"""What makes the ports' models again, and answers rows with them: it stands beside a script, not in it."""

from __future__ import annotations

import torch
from torch import nn

BUILD, READ = f"{__name__}:build_net", f"{__name__}:read_points"


def build_mnist(**params: object) -> nn.Module:
    """The net of `mnist`."""
    from tests.velodrome.ports.mnist import Net

    return Net()


def read_digits(module: nn.Module, rows):
    """Digits of 64 grey values each."""
    pictures = torch.tensor(rows.to_numpy("float32")).view(-1, 1, 8, 8) / 16
    return {"label": [str(int(digit)) for digit in module(pictures).argmax(1)]}


def build_gpt(**params: object) -> nn.Module:
    """The model of `nanogpt` with the settings that no trial changes."""
    made = nn.Module()
    made.wte = nn.Embedding(8, 16)
    made.lm_head = nn.Linear(16, 8, bias=bool(params.get("bias", False)))
    return made


def next_letter(module: nn.Module, rows):
    """The letter that follows a text."""
    last = torch.tensor([ord(text[-1]) - ord("a") for text in rows["text"]])
    return {"label": [chr(ord("a") + int(place)) for place in module.lm_head(module.wte(last)).argmax(1)]}


def build_net(width: int, lr: float) -> nn.Module:
    """The module of `lightning_module`."""
    from tests.velodrome.ports.lightning_module import LightningNet

    return LightningNet(width, lr)


def build_simple(n_units: int, **params: object) -> nn.Module:
    """The net of `pytorch_simple`."""
    return nn.Sequential(nn.Linear(4, n_units), nn.ReLU(), nn.Linear(n_units, 2))


def read_points(module: nn.Module, rows):
    """Which side points are on."""
    points = torch.tensor(rows.to_numpy("float32"))
    return {"label": [str(int(side)) for side in getattr(module, "net", module)(points).argmax(1)]}
