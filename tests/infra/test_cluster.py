"""A Ray that can't be had is said in our words, whatever Ray raises."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import ClusterUnavailable
from infra.home import Home
from infra.lanes.cluster import connected


def test_a_ray_that_takes_too_long_to_start_is_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(**options: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", slow)
    with (
        pytest.raises(ClusterUnavailable, match="timed out during startup"),
        connected("127.0.0.1:1", Home(tmp_path)),
    ):
        pass
