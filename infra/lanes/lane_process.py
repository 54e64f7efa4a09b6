"""The process of a lane: what it can import, its device, and its end."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from infra.errors import ClusterUnavailable
from infra.lanes.settings import LaneSettings
from infra.mirror import attach
from trainers.code.carried import unpack_carried

EXIT_FENCED, EXIT_STALLED, EXIT_ALONE, EXIT_USED = 75, 76, 77, 78
_exit = os._exit  # what a trial's code calls is another one while it runs


def prepare_process(settings: LaneSettings) -> None:
    """Makes this process one that can import and store what its lane's attempts need."""
    for folder in settings.sys_path:
        if folder not in sys.path:
            sys.path.append(folder)
    unpack_carried(settings.functions)
    if settings.bucket:
        attach(Path(settings.storage), settings.bucket)


def end_process(status: int, why: str) -> NoReturn:
    """Ends this process at once, without clean-up that could wait."""
    print(f"velodrome lane ends: {why}", file=sys.stderr, flush=True)
    _exit(status)


def choose_device(gpus: float) -> str:
    """The device of a lane that Ray gave so many GPUs."""
    import torch

    if not gpus:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda:0"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    raise ClusterUnavailable(
        "a lane must see the GPU that Ray gave it",
        f"torch {torch.__version__} on {socket.gethostname()} sees none (CUDA_VISIBLE_DEVICES {visible})",
        "install a torch that fits the node's driver, or start that node with `ray start --num-gpus 0`",
    )
