"""The two networks of a GAN. Imports torch: import it where a module is built."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class Adversaries(nn.Module):
    """`generator`: noise [B, Z] → [B, C, H, W] in [-1, 1]; `discriminator`: that → logits [B, 1].

    Called with noise it gives images as people see them, [B, H, W, C] in [0, 1].
    """

    def __init__(self, shape: tuple[int, int, int], channels: Sequence[int], latent: int) -> None:
        super().__init__()
        height, width, colors = shape
        first = (height // 2 ** len(channels), width // 2 ** len(channels))
        self.latent = latent
        self.generator = _build_generator(first, [*channels, colors], latent)
        self.discriminator = _build_discriminator(first, [colors, *reversed(channels)])
        for layer in self.modules():
            _draw_weights(layer)

    def forward(self, noise_BZ: Tensor) -> Tensor:
        """Images [B, H, W, C] in [0, 1]."""
        made: Tensor = self.generator(noise_BZ).permute(0, 2, 3, 1)
        return (made + 1.0) / 2.0


def _build_generator(first: tuple[int, int], channels: Sequence[int], latent: int) -> nn.Sequential:
    height, width = first
    layers: list[nn.Module] = [
        nn.Linear(latent, channels[0] * height * width),
        nn.Unflatten(1, (channels[0], height, width)),
        nn.BatchNorm2d(channels[0]),
        nn.ReLU(),
    ]
    for before, after in pairwise(channels):
        layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers[:-2], nn.Tanh())


def _build_discriminator(last: tuple[int, int], channels: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(channels)):
        layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1))
        layers += [nn.BatchNorm2d(after)] if i else []  # none on what is seen, as in the paper
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * last[0] * last[1], 1))


def _draw_weights(layer: nn.Module) -> None:
    """Radford 2016, section 4: all weights from N(0, 0.02^2)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, std=0.02)
    if isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, mean=1.0, std=0.02)
