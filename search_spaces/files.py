"""Where the definitions of a space are written: inline, in a file of this folder, or in one's own file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from search_spaces.errors import SpaceError
from search_spaces.nearest import advice
from search_spaces.strict_yaml import Document, read_file
from search_spaces.values import ParamValue, short_repr

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceFile:
    """A space's definitions, the folder that paths in them start from, and the document for line numbers."""

    path: Path
    document: Document

    def mapping(self) -> dict[str, ParamValue]:
        """The definitions by name.

        Raises:
            SpaceError: the file holds something else.
        """
        value = self.document.value
        if not isinstance(value, dict):
            raise SpaceError(
                "a space must be a mapping of names to definitions",
                short_repr(value),
                file=str(self.path),
                line=1,
            )
        return value


def built_in_spaces() -> tuple[str, ...]:
    """Names of the spaces in this folder."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def open_space(reference: str, base: Path | None, key: tuple[str, ...]) -> SpaceFile:
    """The file that a name or a path stands for.

    Args:
        reference: the name of a file in this folder, or a path (it holds a slash or ends in .yaml or .yml).
        base: the folder that relative paths start from; the current one where it is None.
        key: the key to blame.
    """
    path = _path(reference, base, key)
    return SpaceFile(path=path, document=read_file(path))


def _path(reference: str, base: Path | None, key: tuple[str, ...]) -> Path:
    if "/" in reference or "\\" in reference or reference.endswith((".yaml", ".yml")):
        path = (base or Path.cwd()) / reference
        if "\0" in reference or not path.is_file():
            raise SpaceError(
                "the file of a space must exist", short_repr(str(path)), "correct the path", key=key
            )
        return path
    if reference not in built_in_spaces():
        raise SpaceError(
            "a space must be built in, a path or a mapping",
            short_repr(reference),
            f"{advice(reference, built_in_spaces())} (a path ends in .yaml)",
            key=key,
        )
    return _FOLDER / f"{reference}.yaml"
