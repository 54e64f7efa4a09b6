"""What is said of a Ray that can't be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from infra.errors import ClusterUnavailable
from infra.home import Home
from infra.lanes.cluster import RAY_TRAIN_SETTINGS, connect_ray


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `ray.init` raise what it is given."""

    def fail_with(error: Exception) -> None:
        def init(**_: object) -> None:
            raise error

        monkeypatch.setattr(ray, "init", init)
        for name in (*RAY_TRAIN_SETTINGS, "RAY_AUTH_TOKEN_PATH"):  # all that it sets is put back
            monkeypatch.setenv(name, RAY_TRAIN_SETTINGS.get(name, ""))

    return fail_with


@pytest.mark.parametrize("error", [Exception("The current node timed out during startup."), OSError("full")])
def test_ray_that_does_not_start_is_cluster_unavailable(
    error: Exception, failing: Any, tmp_path: Path
) -> None:
    failing(error)
    with (
        pytest.raises(ClusterUnavailable, match="a local Ray must start") as told,
        connect_ray(None, Home(tmp_path)),
    ):
        pass
    assert str(error) in str(told.value)


def test_defect_while_connecting_to_ray_is_raised_unchanged(failing: Any, tmp_path: Path) -> None:
    failing(KeyError("no such option"))
    with pytest.raises(KeyError), connect_ray(None, Home(tmp_path)):
        pass


def test_connected_ray_leaves_signal_handlers_to_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that systemd ends would end with a status of Ray's, told as a defect of ours."""
    import signal

    import ray

    from infra.lanes import cluster

    taken: list[object] = []

    def init(**options: object) -> None:
        taken.append(signal.signal(signal.SIGTERM, lambda number, frame: None))

    monkeypatch.setattr(ray, "init", init)
    before = signal.getsignal(signal.SIGTERM)
    cluster._init_ray(address="local")
    assert taken == [before]
    assert signal.getsignal(signal.SIGTERM) is before
