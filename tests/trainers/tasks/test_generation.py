"""The distance between real and made images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from trainers.errors import NotFinite
from trainers.tasks import rules_for
from trainers.tasks.generation import Generation, fixed_network, frechet_distance

STATE = {"task": "generation", "shape": [8, 8, 1]}


def images(count: int, seed: int, most: int = 256) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, most, (count, 8, 8, 1), generator=generator, dtype=torch.uint8)


def distance(real: torch.Tensor, made: torch.Tensor, size: int = 50) -> float:
    metrics = rules_for(STATE).metric_set("cpu")
    for start in range(0, len(real), size):
        some = slice(start, start + size)
        metrics.update(made[some].float() / 255.0, {"inputs": real[some]})
    return metrics.compute()["distance"]


def test_frechet_distance_is_the_papers_formula() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(40, 5)), 0.5 + draw.normal(size=(40, 5)) @ draw.normal(size=(5, 5))
    moments = [(x.mean(0), np.cov(x.T)) for x in (a, b)]
    (mean_a, cov_a), (mean_b, cov_b) = moments
    expected = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(expected)


def test_generation_moments_do_not_depend_on_batching() -> None:
    real, made = images(130, 0), images(130, 1, 128)
    network = fixed_network(1)
    moments = []
    for some in (real, made):
        features = network(some.float().permute(0, 3, 1, 2) / 127.5 - 1.0).double().numpy()
        moments += [features.mean(0), np.cov(features.T)]
    assert distance(real, made) == pytest.approx(frechet_distance(*moments), rel=1e-6)
    assert distance(real, made, 7) == pytest.approx(distance(real, made), rel=1e-9)


def test_generation_distance_grows_with_difference_of_images() -> None:
    real = images(200, 0)
    assert distance(real, real) == pytest.approx(0.0, abs=1e-6)
    assert distance(real, images(200, 1)) < 0.2 * distance(real, images(200, 1, 192))
    assert distance(real, images(200, 1, 192)) < distance(real, images(200, 1, 64))


def test_generation_refuses_non_finite_numbers() -> None:
    metrics = Generation(STATE).metric_set("cpu")
    metrics.update(torch.full((3, 8, 8, 1), float("nan")), {"inputs": images(3, 0)})
    with pytest.raises(NotFinite):
        metrics.compute()


def test_generation_of_one_image_has_no_metric() -> None:
    metrics = Generation(STATE).metric_set("cpu")
    metrics.update(torch.zeros(1, 8, 8, 1), {"inputs": images(1, 0)})
    assert metrics.compute() == {}
