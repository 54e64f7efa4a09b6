"""YAML read strictly: what is ambiguous, dangerous or huge is refused with its line, never guessed.

PyYAML's scanner and parser do the reading; its constructor, which expands aliases, follows tags and keeps
the last of two equal keys, is never reached. Plain scalars follow YAML 1.2's core schema with three
differences: numbers may be written `1e-3`, numbers with a leading zero, underscores or another base are
refused, and so are those that are not finite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from search_spaces.errors import YamlError
from search_spaces.scalars import ScalarError, read_plain
from search_spaces.values import ParamValue

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 50_000

Key = tuple[str | int, ...]

_LOADER: type[yaml.SafeLoader] = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # the C one reads 1 MB in 0.3 s instead of 10
# Line breaks that editors don't count would make every later line number wrong.
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]|\ufeff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML document as plain values (dict, list, str, int, float, bool, None).

    Attributes:
        name: the file's name, for messages.
        key_lines: line of each key, or of each entry of a list, by its path.
        value_lines: line where each value begins, by its path; `()` is the whole document.
    """

    name: str
    value: ParamValue
    key_lines: dict[Key, int] = field(default_factory=dict)
    value_lines: dict[Key, int] = field(default_factory=dict)

    def line(self, path: Key) -> int:
        """The line of the key at the path or, where it isn't written, of its nearest parent."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.key_lines:
                return self.key_lines[path[:end]]
        return self.value_lines.get((), 1)


def read_file(path: Path) -> Document:
    """The document in a file.

    Raises:
        YamlError: the file cannot be read, is too large, or holds what is refused.
    """
    try:
        if not path.is_file():
            raise YamlError("the file must exist", repr(str(path)), "give the path of a YAML file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError("the file must be readable", f"{type(error).__name__}: {error}") from error
    return load_yaml(data, str(path))


def load_yaml(data: bytes, name: str) -> Document:
    """The one document in the bytes.

    Args:
        data: UTF-8 without a byte order mark, at most 1 MB.
        name: what the errors call it.

    Raises:
        YamlError: with the line, for all that is refused: wrong encoding, control characters, tags, anchors,
            aliases, merge keys, duplicate keys, several documents, more than 32 levels, more than 50,000
            values, numbers that are ambiguous or not finite.
    """
    text = _decode(data, name)
    document = Document(name=name, value=None)
    builder = _Builder(document)
    try:
        events = iter(yaml.parse(text, Loader=_LOADER))
        value = builder.build(events)
    except yaml.YAMLError as error:
        raise _syntax_error(error, name, builder.line) from error
    return Document(name=name, value=value, key_lines=document.key_lines, value_lines=document.value_lines)


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise YamlError("the file must not be larger than 1 MB", "more", "split it", file=name)
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        raise YamlError(
            "the file must be UTF-8 without a byte order mark", repr(data[:3]), "save it as UTF-8", file=name
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlError(
            "the file must be UTF-8",
            f"byte {data[error.start]:#04x}",
            "save it as UTF-8",
            file=name,
            line=line,
        ) from error
    if found := _UNREADABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise YamlError(
            "the file must hold readable characters only", ascii(found[0]), "delete it", file=name, line=line
        )
    return text


def _syntax_error(error: yaml.YAMLError, name: str, line: int) -> YamlError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    return YamlError(
        "the file must be YAML",
        str(problem),
        "look at the indentation, brackets and quotes there",
        file=name,
        line=mark.line + 1 if mark is not None else line,
    )


class _Builder:
    """Builds values from parser events, counting depth and values as they come."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.line = 1
        self._values = 0

    def build(self, events: Iterator[yaml.Event]) -> ParamValue:
        """The value of the one document."""
        value: ParamValue = None
        documents = 0
        for event in events:
            self.line = self._line(event)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                self._check_document(event, documents)
                value = self._value(next(events), events, (), 0)
        return value

    def _check_document(self, event: yaml.DocumentStartEvent, documents: int) -> None:
        if documents > 1:
            raise self._error("a file must hold one document", "a second one after '---'", "split the file")
        if event.version or event.tags:
            raise self._error(
                "a file must hold no YAML directives", "a line that begins with '%'", "delete it"
            )

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: Key, depth: int) -> ParamValue:
        self.line = self._line(event)
        self._check_node(event)
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._error(f"a file must hold at most {MAX_VALUES} values", "more", "shorten its lists")
        self.document.value_lines[path] = self.line
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if depth >= MAX_DEPTH:
            raise self._error(f"values must nest at most {MAX_DEPTH} deep", "more", "flatten them")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path, depth)
        return self._mapping(events, path, depth)

    def _check_node(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise self._error("aliases are not read", f"*{event.anchor}"[:40], "write the value out")
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise self._error("anchors are not read", f"&{event.anchor}"[:40], "delete it")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            raise self._error("tags are not read", repr(event.tag[:80]), "write a plain value")

    def _scalar(self, event: yaml.ScalarEvent, path: Key) -> ParamValue:
        if event.style:  # quoted or a block: text, whatever it looks like
            return event.value
        try:
            return read_plain(event.value)
        except ScalarError as error:
            raise self._error(error.must, error.found, error.do, path) from error

    def _sequence(self, events: Iterator[yaml.Event], path: Key, depth: int) -> list[ParamValue]:
        items: list[ParamValue] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            here = (*path, len(items))
            self.document.key_lines[here] = self._line(event)
            items.append(self._value(event, events, here, depth + 1))
        return items

    def _mapping(self, events: Iterator[yaml.Event], path: Key, depth: int) -> dict[str, ParamValue]:
        items: dict[str, ParamValue] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, items, path)
            here = (*path, key)
            self.document.key_lines[here] = self.line
            items[key] = self._value(next(events), events, here, depth + 1)
        return items

    def _key(self, event: yaml.Event, items: dict[str, ParamValue], path: Key) -> str:
        self.line = self._line(event)
        self._check_node(event)
        if not isinstance(event, yaml.ScalarEvent) or not event.value:
            raise self._error("a key must be a word", "something else", "quote it if it is text", path)
        key: str = event.value
        if key == "<<" and not event.style:
            raise self._error("merge keys are not read", "'<<'", "write the keys out", path)
        if key in items:
            first = self.document.key_lines[(*path, key)]
            raise self._error(
                "a key must stand once",
                f"{key[:80]!r} again, first on line {first}",
                "delete one",
                (*path, key),
            )
        return key

    def _line(self, event: yaml.Event) -> int:
        return event.start_mark.line + 1 if event.start_mark is not None else self.line

    def _error(self, must: str, found: str, do: str, path: Key = ()) -> YamlError:
        key = tuple(str(part) for part in path)
        return YamlError(must, found, do, key=key, file=self.document.name, line=self.line)
