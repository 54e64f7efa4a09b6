"""What is wrong with a search space."""

from __future__ import annotations


class SpaceError(ValueError):
    """A search space that can't be used: what must hold, what was found, what to do.

    `key` is the path of keys inside the space (for instance `("momentum", "when", "optimizer")`).
    """

    def __init__(self, must: str, found: str = "", do: str = "", *, key: tuple[str, ...] = ()) -> None:
        self.must = must
        self.found = found
        self.do = do
        self.key = key
        super().__init__("; ".join(part for part in (must, found and f"but got {found}", do) if part))
