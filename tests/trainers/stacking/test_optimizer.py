"""One step of a stack's optimizer: what it tells of each member's gradients."""

from __future__ import annotations

import math

import numpy as np
import torch

from trainers.stacking.optimizer import StackedOptimizer
from trainers.types import Params

ALIKE: Params = {
    "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.0, "nesterov": False, "beta1": 0.9,
    "beta2": 0.999, "weight_decay": 0.0, "l1": 0.0, "gradient_clip": None, "weight_clip": None,
}  # fmt: skip


def test_largest_gradient_is_told_by_its_size_and_what_is_no_number_stays_none() -> None:
    weights = [torch.zeros(5, 3), torch.zeros(5, 2)]
    gradients = [torch.zeros(5, 3), torch.zeros(5, 2)]
    gradients[0][0], gradients[1][0] = torch.tensor([0.5, -3.0, 2.0]), torch.tensor([1.0, -1.0])
    gradients[0][1, 1] = -math.inf
    gradients[1][2, 0] = math.nan
    gradients[1][3] = torch.tensor([-7.0, 6.0])
    optimizer = StackedOptimizer(weights, torch.device("cpu"))
    optimizer.set_members([ALIKE] * 5)
    optimizer.plan(np.full((1, 5), 0.1), [0] * 5)
    peaks = optimizer.step(0, weights, gradients)
    assert peaks[[0, 1, 3, 4]].tolist() == [3.0, math.inf, 7.0, 0.0]
    assert peaks[2].isnan()
