"""What a lane trains on."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from infra.errors import ClusterUnavailable
from infra.lanes.lane_process import choose_device


@pytest.mark.parametrize(
    ("gpus", "there", "device"), [(0.0, False, "cpu"), (0.0, True, "cpu"), (0.5, True, "cuda:0")]
)
def test_device_is_the_gpu_that_ray_gave(gpus: float, there: bool, device: str) -> None:
    with patch("torch.cuda.is_available", return_value=there):
        assert choose_device(gpus) == device


def test_gpu_that_torch_does_not_see_ends_the_lane_with_node_and_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    refused = pytest.raises(ClusterUnavailable, match=r"torch .* sees none \(CUDA_VISIBLE_DEVICES 1\)")
    with refused, patch("torch.cuda.is_available", return_value=False):
        choose_device(0.5)
