"""The sweep file: read strictly, overridden from the command line, and held against the schema.

No family and no data is needed for that. `flows.config.resolving` makes the specification of it that a sweep
works from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from pydantic import ValidationError

from flows.config.errors import Path, dotted_path, redacted_repr, validation_issues
from flows.config.overrides import Override, apply_overrides
from flows.config.schema import Sweep, json_schema
from flows.functions.mappings import GIVEN, mapping_text
from infra.errors import WrongInput, join_errors
from search_spaces.errors import SearchSpaceInputError, YamlError
from search_spaces.strict_yaml import Document, load_yaml, read_file
from trainers.errors import InputError
from trainers.types import Json, JsonObject

__all__ = ["SweepFile", "json_schema", "load_sweep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDocument:
    """The document as it stands after overrides, and where each key of it was written."""

    document: Document
    overrides: tuple[Override, ...]
    value: JsonObject
    given: str | None = None  # the YAML that a mapping comes to, whose lines nobody has seen

    def place(self, path: Path) -> str:
        """File and line of a key, or the override that set it."""
        for override in reversed(self.overrides):
            if path[: len(override.path)] == override.path or override.path[: len(path)] == path:
                return override.place
        if self.given is not None:
            return self.document.name
        return f"{self.document.name}, line {self.document.line(path)}"

    def line(self, path: Path) -> int:
        """For order: what comes first in the file is told first."""
        return self.document.line(path)

    def value_at(self, path: Path) -> Json:
        """The value at a path, or None."""
        here: Json = self.value
        for part in path:
            if isinstance(here, dict):
                here = here.get(part)
            elif isinstance(here, list) and isinstance(part, int) and part < len(here):
                here = here[part]
            else:
                return None
        return here

    def error_at(self, path: Path, must: str, found: str, do: str = "") -> WrongInput:
        """An error about a key, with its place and its path."""
        return WrongInput(f"{self.place(path)}: {dotted_path(path)} must {must}", found, do)

    def locate_error(self, error: InputError | SearchSpaceInputError, under: Path = ()) -> WrongInput:
        """An error from below as one about this file.

        Args:
            under: the path that the error's own key starts from.
        """
        if isinstance(error, SearchSpaceInputError) and error.file is not None:
            place = f"{error.file}, line {error.line or 1}"
            return WrongInput(f"{place}: {error.must}", error.found, error.do)
        path = (*under, *error.key)
        where = f"{self.place(path)}: {dotted_path(path)}: " if path else f"{self.document.name}: "
        return WrongInput(f"{where}{error.must}", error.found, error.do)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFile:
    """A sweep file that follows the schema."""

    path: FilePath
    sweep: Sweep
    written: SweepDocument

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.sweep.name

    @property
    def text(self) -> str:
        """What is written, or what a mapping comes to as YAML."""
        given = self.written.given
        return self.path.read_text(encoding="utf-8") if given is None else given

    @property
    def folder(self) -> FilePath:
        """The folder that relative paths of spaces start from."""
        return self.path.resolve().parent

    @property
    def data(self) -> JsonObject:
        """The `data` mapping as written, without what is left out."""
        return self.sweep.data.model_dump(exclude_none=True)

    def locate_error(self, error: InputError | SearchSpaceInputError, under: Path = ()) -> WrongInput:
        """An error of a family, a space or a data source as one about this file, with its line.

        Args:
            error: its `key` is a path of keys, from the top of the file unless `under` says otherwise.
            under: the path that the key starts from.
        """
        return self.written.locate_error(error, under)


def load_sweep(path: FilePath | str | Mapping[str, Json], overrides: Sequence[str] = ()) -> SweepFile:
    """The sweep file at the path, with overrides (`search.pruner=none`), held against the schema.

    Args:
        path: or a mapping that is such a file; its paths start from the current folder.

    Raises:
        WrongInput: names file, line, key, value, the nearest key that exists, and what to do.
    """
    given = None
    if isinstance(path, Mapping):
        given = mapping_text(path)
        path = FilePath.cwd() / f"{path.get('name', 'sweep')}.yaml"
        document = _read_given(given)
    else:
        document = _read_document(FilePath(path))
    if not isinstance(document.value, dict):
        do = "begin with name: and data:, or let `velodrome new SOURCE` write a file"
        raise WrongInput(
            f"{document.name}, line 1: a sweep file must be a mapping", redacted_repr(document.value), do
        )
    value, applied = apply_overrides(document.value, overrides)
    written = SweepDocument(document=document, overrides=applied, value=value, given=given)
    try:
        sweep = Sweep.model_validate(value)
    except ValidationError as error:
        raise _schema_errors(error, written) from error
    return SweepFile(path=FilePath(path), sweep=sweep, written=written)


def _read_document(path: FilePath) -> Document:
    try:
        return read_file(path)
    except YamlError as error:
        raise _yaml_error(error, f"{path}") from error


def _read_given(text: str) -> Document:
    try:
        return load_yaml(text.encode(), GIVEN)
    except YamlError as error:
        raise WrongInput(f"{GIVEN}: {error.must}", error.found, error.do) from error


def _yaml_error(error: YamlError, path: str) -> WrongInput:
    place = f"{error.file or path}, line {error.line}" if error.line else f"{error.file or path}"
    key = f"{dotted_path(error.key)}: " if error.key else ""
    return WrongInput(f"{place}: {key}{error.must}", error.found, error.do)


def _schema_errors(error: ValidationError, written: SweepDocument) -> WrongInput:
    found = validation_issues(error, written.value, json_schema())
    ordered = sorted(found, key=lambda issue: written.line(issue.path))
    return join_errors([written.error_at(i.path, i.must, i.found, i.do) for i in ordered])
