"""placeholder"""

from __future__ import annotations

from typing import Any


class Models:
    def __init__(self, *a: Any) -> None: ...
    def send(self, trials: Any) -> None: ...
