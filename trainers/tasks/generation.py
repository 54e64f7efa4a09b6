"""Generated images: how far the statistics of made ones are from those of real ones.

M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NIPS
2017 (arXiv 1706.08500), equation 6, the Fréchet distance of two Gaussians:

    d = |m_r - m_m|^2 + tr(S_r + S_m - 2 (S_r S_m)^(1/2))

over features of real and of made images. The features are those of a fixed random network, as nothing
pretrained is at hand and random ones rank models alike (Naeem et al. 2020, arXiv 2002.09797): the number is
for comparing models of one data set, not for comparing with published ones.

Shape legend: B images, H x W pixels, C channels, F features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from trainers.errors import NotFinite
from trainers.metric_names import PER_TASK
from trainers.tasks.outputs import output_tensor
from trainers.tasks.summed_metrics import SummedMetrics

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import Array, Outputs, Params, State

WIDTHS = (8, 16)  # of the fixed network's two convolutions; F = 4 x the last


class Generation:
    """The rules of one state; made images are [B, H, W, C] in [0, 1]."""

    metrics = PER_TASK["generation"]

    def __init__(self, state: State) -> None:
        self._channels = int(state["shape"][2])

    def loss(self, outputs: Outputs, batch: Mapping[str, torch.Tensor], params: Params) -> torch.Tensor:
        """Mean square to the real ones; who generates has steps of its own and does not train so."""
        import torch

        made = output_tensor(outputs, "made")
        return torch.nn.functional.mse_loss(made, batch["inputs"].float() / 255.0)

    def metric_set(self, device: torch.device | str, *, scores: bool = True) -> GenerationMetrics:
        """An empty set."""
        return GenerationMetrics(device, self._channels)

    def to_user(self, outputs: Outputs) -> pd.DataFrame:
        """A column `image` of nested lists [H][W][C], whole numbers from 0 to 255."""
        import pandas as pd

        made = output_tensor(outputs, "made").detach().float().cpu().numpy()
        pixels = np.clip(np.round(made * 255.0), 0, 255).astype(np.int64)
        return pd.DataFrame({"image": [image.tolist() for image in pixels]})

    def trivial(self, train: Array, validation: Array) -> dict[str, float]:
        """Nothing: there is no guess."""
        return {}


class GenerationMetrics(SummedMetrics):
    """Sums of features and of their products, of real and of made images, in float64 on the device."""

    def __init__(self, device: torch.device | str, channels: int) -> None:
        import torch

        self._network = fixed_network(channels).to(device)
        size = 4 * WIDTHS[-1]
        self._counts = torch.zeros(2, dtype=torch.int64, device=device)  # real, made
        self._sums = torch.zeros((2, size), dtype=torch.float64, device=device)
        self._products = torch.zeros((2, size, size), dtype=torch.float64, device=device)

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """Adds made images [B, H, W, C] in [0, 1] and `batch["inputs"]`, real ones, uint8 [B, H, W, C]."""
        import torch

        with torch.no_grad():
            for place, images in enumerate((batch["inputs"].float() / 255.0, output_tensor(outputs, "made"))):
                features = self._network(images.detach().float().permute(0, 3, 1, 2) * 2.0 - 1.0).double()
                self._counts[place] += len(features)
                self._sums[place] += features.sum(0)
                self._products[place] += features.T @ features

    def compute(self) -> dict[str, float]:
        """As `MetricSet.compute`."""
        real, made = self._counts.tolist()
        if min(real, made) < 2:
            return {}
        moments = [self._moments(place, count) for place, count in enumerate((real, made))]
        distance = frechet_distance(*moments[0], *moments[1])
        if not math.isfinite(distance):
            raise NotFinite("made images must be finite numbers", f"a distance of {distance}")
        return {"distance": distance}

    def _moments(self, place: int, count: int) -> tuple[Array, Array]:
        mean = (self._sums[place] / count).cpu().numpy()
        products = (self._products[place] / (count - 1)).cpu().numpy()
        return mean, products - np.outer(mean, mean) * (count / (count - 1))

    def sums(self) -> list[torch.Tensor]:
        """As `MetricSet.sums`."""
        return [self._counts, self._sums, self._products]


def frechet_distance(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """The distance of two Gaussians, equation 6; at least 0.

    tr (A B)^(1/2) is the sum of the roots of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric.
    """
    if not all(np.isfinite(values).all() for values in (mean_a, cov_a, mean_b, cov_b)):
        return math.nan
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    between = np.linalg.eigvalsh(root @ cov_b @ root)
    shared = float(np.sqrt(np.clip(between, 0.0, None)).sum())
    apart = float(np.square(mean_a - mean_b).sum())
    return max(0.0, apart + float(np.trace(cov_a) + np.trace(cov_b)) - 2.0 * shared)


def fixed_network(channels: int) -> torch.nn.Module:
    """The same random network each time: [B, C, H, W] around zero → features [B, F]."""
    import torch
    from torch import nn

    network = nn.Sequential(
        nn.Conv2d(channels, WIDTHS[0], 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Conv2d(WIDTHS[0], WIDTHS[1], 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
        scale = math.sqrt(2.0 / parameter[0].numel()) if parameter.dim() > 1 else 0.0
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return network.eval()
