"""What is wrong with a YAML document or with the search space in it.

SearchSpaceInputError
├── YamlError     the text itself: not UTF-8, too large, an alias, a duplicate key
└── SpaceError    a search space that cannot be used
"""

from __future__ import annotations


class SearchSpaceInputError(ValueError):
    """What must hold, what was found, what to do, and where: a file and a line once they are known."""

    def __init__(
        self,
        must: str,
        found: str = "",
        do: str = "",
        *,
        key: tuple[str, ...] = (),
        file: str | None = None,
        line: int | None = None,
    ) -> None:
        self.must = must
        self.found = found
        self.do = do
        self.key = key
        self.file = file
        self.line = line
        place = ", ".join(part for part in (file, line and f"line {line}") if part)
        text = "; ".join(part for part in (must, found and f"but got {found}", do) if part)
        super().__init__(f"{place}: {text}" if place else text)

    def __reduce__(self) -> tuple[object, ...]:
        parts = (self.must, self.found, self.do, self.key, self.file, self.line)
        return (_rebuild, (type(self), *parts))


class YamlError(SearchSpaceInputError):
    """A YAML document that is refused; `line` counts from 1."""


class SpaceError(SearchSpaceInputError):
    """A search space that cannot be used.

    `key` is the path of keys inside the space (for instance `("momentum", "when", "optimizer")`); `file` and
    `line` are set where the fault is in a file that the space extends.
    """


def _rebuild(
    cls: type[SearchSpaceInputError],
    must: str,
    found: str,
    do: str,
    key: tuple[str, ...],
    file: str | None,
    line: int | None,
) -> SearchSpaceInputError:
    return cls(must, found, do, key=key, file=file, line=line)
