"""Where a thread stands, for the sentence that says why an attempt was given up."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

COLLECTIVES = {"distributed", "autograd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadLocation:
    """Where a thread is.

    Attributes:
        text: the innermost function that is not torch's own, with its file and line.
        waits: whether it may wait for other ranks: in a collective, or in a backward pass, which averages
            gradients.
    """

    text: str
    waits: bool


def locate_thread(thread: int) -> ThreadLocation:
    """Where the thread of that identity is now.

    Of ranks that all stand still, those that wait in a collective are not what holds the others up.
    """
    innermost = frame = sys._current_frames().get(thread)
    waits = False
    while frame is not None and _is_torch(frame):
        waits = waits or not COLLECTIVES.isdisjoint(Path(frame.f_code.co_filename).parts)
        frame = frame.f_back
    return ThreadLocation(text=_frame_name(frame or innermost), waits=waits)


def _is_torch(frame: FrameType) -> bool:
    return "torch" in Path(frame.f_code.co_filename).parts


def _frame_name(frame: FrameType | None) -> str:
    if frame is None:
        return "a thread that has ended"
    code = frame.f_code
    return f"{code.co_name} ({Path(code.co_filename).name}:{frame.f_lineno})"
