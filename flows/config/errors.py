"""What pydantic found wrong, in the words of the sweep file: must hold, found, do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from infra.secrets import redact
from search_spaces.nearest import advice, nearest

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import ErrorDetails

    from trainers.types import Json


Path = tuple[str | int, ...]
_WIDEST = 2000  # before redaction, so that no address is cut in its password
_MUST = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping or a name",
    "union_tag_not_found": "a mapping with name",
    "string_pattern_mismatch": "one line of text",
    "string_too_short": "not empty",
    "too_short": "not empty",
}
_NUMBERS = {"int_type", "int_from_float", "float_type"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationIssue:
    """One thing that is wrong: where (path of keys), and the three sentences about it."""

    path: Path
    must: str
    found: str
    do: str


def redacted_repr(value: Json) -> str:
    """A value for people: ASCII, cut short, passwords in addresses hidden."""
    if isinstance(value, str):
        text = ascii(redact(value[:_WIDEST]))
    elif isinstance(value, (dict, list)):
        text = redact(ascii(value)[:_WIDEST])
    else:
        text = ascii(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


_EXAMPLES = {
    "data": "{source: csv:churn.csv}; {source: none} where the families' own code brings its data",
    "families": "{mlp: {}}; `velodrome families` lists them",
}


def dotted_path(path: Path) -> str:
    """The path of keys as people write it for `--set`."""
    return ".".join(str(part) if isinstance(part, int) else part[:80] for part in path)


def validation_issues(
    error: ValidationError, document: Json, schema: JsonSchemaValue
) -> list[ValidationIssue]:
    """What pydantic found, with paths of the document as it is written."""
    return [_validation_issue(entry, document, schema) for entry in error.errors(include_url=False)]


def _validation_issue(entry: ErrorDetails, document: Json, schema: JsonSchemaValue) -> ValidationIssue:
    path = _document_path(entry["loc"], document)
    kind, given = entry["type"], entry.get("input")
    context = entry.get("ctx") or {}
    if kind == "extra_forbidden":
        return _unknown_key(path, given, schema)
    if kind == "missing":
        do = f"add {path[-1]}: {_EXAMPLES.get(str(path[-1]), '…')}"
        return ValidationIssue(path=path, must="be given", found="nothing", do=do)
    if kind in ("literal_error", "union_tag_invalid"):
        return _unknown_word(path, given, context)
    if kind == "velodrome":
        return ValidationIssue(path=path, must=context["must"], found=redacted_repr(given), do=context["do"])
    if kind.startswith(("greater_than", "less_than")):
        must = entry["msg"].removeprefix("Input should ")
        return ValidationIssue(path=path, must=must, found=redacted_repr(given), do="")
    must = f"be {_MUST[kind]}" if kind in _MUST else f"be valid: {entry['msg']}"
    return ValidationIssue(path=path, must=must, found=redacted_repr(given), do=_advise(kind, given))


def _document_path(location: tuple[str | int, ...], document: Json) -> Path:
    """pydantic's location without what it adds: the names of a union's members, the index of a lone entry."""
    path: list[str | int] = []
    here = document
    skip = False
    for index, part in enumerate(location):
        last = index == len(location) - 1
        inside, below = _look_below(here, part)
        if skip or (not inside and not (last and isinstance(part, str))):
            skip = False
            continue
        skip = part in ("sampler", "pruner")
        path.append(part)
        here = below
    return tuple(path)


def _look_below(here: Json, part: str | int) -> tuple[bool, Json]:
    """Whether the part may be a place in what is here, and what stands there."""
    if isinstance(here, list) and isinstance(part, int):
        return True, here[part] if part < len(here) else None
    if isinstance(here, dict) and isinstance(part, str) and part in here:
        return True, here[part]
    return False, None


def _unknown_key(path: Path, given: Json, schema: JsonSchemaValue) -> ValidationIssue:
    key = str(path[-1])
    known = known_keys(schema, path[:-1])
    elsewhere = [dotted_path(found) for found in places_of(schema, key) if found[:-1] != path[:-1]]
    if nearest(key, known) is None and elsewhere:
        do = f"did you mean {' or '.join(elsewhere[:2])}?"
    else:
        do = advice(key, known)
    return ValidationIssue(
        path=path, must="be a key that Velodrome knows here", found=redacted_repr(given), do=do
    )


def _unknown_word(path: Path, given: Json, context: Mapping[str, Json]) -> ValidationIssue:
    listed = str(context.get("expected") or context.get("expected_tags")).replace(" or ", ", ")
    words = [word.strip().strip("'") for word in listed.split(",")]
    word = given.get("name") if isinstance(given, dict) else given
    do = advice(word, words) if isinstance(word, str) else ""
    return ValidationIssue(path=path, must=f"be one of {', '.join(words)}", found=redacted_repr(word), do=do)


def _advise(kind: str, given: Json) -> str:
    if kind in _NUMBERS and isinstance(given, str):
        return "write it as a number, without quotes"
    if kind == "int_type" and isinstance(given, float) and given.is_integer():
        return f"write {int(given)}"
    if kind == "string_type" and isinstance(given, (int, float)):
        return "put it in quotes"
    if kind == "string_type" and isinstance(given, list):
        return "write it without brackets" if len(given) == 1 else "write one; a sweep for each"
    return ""


# -- the JSON schema as a map of keys ---------------------------------------------------------------------


def known_keys(schema: JsonSchemaValue, path: Path) -> list[str]:
    """The keys that may stand at a path."""
    nodes = [schema]
    for part in path:
        nodes = [below for node in nodes for below in _below(schema, node, part)]
    return list(
        dict.fromkeys(k for node in nodes for m in _members(schema, node) for k in m.get("properties", ()))
    )


def places_of(schema: JsonSchemaValue, key: str) -> list[Path]:
    """Where a key may stand, outside `families`."""
    found: list[Path] = []
    for name, node in schema.get("properties", {}).items():
        if name == key:
            found.append((name,))
        if name == "families":
            continue
        found += [(name, key) for member in _members(schema, node) if key in member.get("properties", {})]
    return list(dict.fromkeys(found))


def _below(schema: JsonSchemaValue, node: JsonSchemaValue, part: str | int) -> Iterator[JsonSchemaValue]:
    for member in _members(schema, node):
        if isinstance(part, int):
            if "items" in member:
                yield member["items"]
        elif part in member.get("properties", {}):
            yield member["properties"][part]
        elif isinstance(member.get("additionalProperties"), dict):
            yield member["additionalProperties"]


def _members(schema: JsonSchemaValue, node: JsonSchemaValue) -> Iterator[JsonSchemaValue]:
    """The node itself, or what its reference or union leads to."""
    if "$ref" in node:
        yield from _members(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
        return
    yield node
    for union in ("anyOf", "oneOf", "allOf"):
        for option in node.get(union, ()):
            yield from _members(schema, option)
