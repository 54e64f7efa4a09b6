"""MLflow's client, one of whose calls fails, before or after it was done."""

from __future__ import annotations

from typing import Any

READS = ("get_", "search_", "list_")


class FailingClient:
    """Counts calls and fails one of them."""

    def __init__(self, client: Any, fails: int = 0, *, when: str = "before", reads: bool = False) -> None:
        self._client, self._fails, self._when, self._reads = client, fails, when, reads
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if not callable(real) or (name.startswith(READS) and not self._reads):
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            fails = len(self.calls) == self._fails
            if fails and self._when == "before":
                raise ConnectionError("refused")
            answer = real(*args, **kwargs)
            if fails:
                raise TimeoutError("no answer")
            return answer

        return call
