"""The tables of the sweep-file reference, from the JSON schema that `velodrome schema` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flows.config.schema import json_schema
from scripts.pages.markdown import code, table

Schema = Mapping[str, Any]
_DEFAULT = re.compile(r" \(([^()]+)\)\.$")
_SHARED = {
    "budget": "TrialBudget", "search": "FamilySearch", "resources": "FamilyResources",
    "checkpoint": "FamilyCheckpoint",
}  # fmt: skip
_PLACEHOLDERS = {"families": "FAMILY", "gates.metrics": "METRIC", "data.columns.types": "COLUMN"}
# Their keys stand elsewhere on the page.
_CLOSED = {"families.FAMILY.budget", "families.FAMILY.search", "gates.evaluation.data"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the sweep file, by its dotted path."""

    path: str
    type: str
    default: str
    meaning: str


def render() -> str:
    """Markdown: a table of what stands alone at the top of the file, then a section for each mapping."""
    names = list(json_schema()["properties"])
    plain = [name for name in names if not _children(name)]
    parts = ["## Top level\n\n" + _table([_top(name) for name in plain])]
    for name in (name for name in names if name not in plain):
        key = _top(name)
        must = " Required." if key.default == "required" else ""
        parts.append(f"## {name}\n\n{key.meaning}{must}\n\n" + _table(_children(name)))
        if name == "search":
            parts += _variants()
    return "\n".join(parts)


def render_parameters() -> str:
    """Markdown: what a search space holds beside its parameters, then the keys of a parameter by its type."""
    space = json_schema()["$defs"]["Space"]["properties"]
    parts = [_table([_key(name, entry, required=False) for name, entry in space.items()])]
    for definition in json_schema()["$defs"]["Parameter"]["anyOf"]:
        properties = dict(definition.get("properties", {}))
        if not properties:
            continue
        label = properties.pop("type")["const"]
        required = definition["required"]
        rows = [_key(name, entry, required=name in required) for name, entry in properties.items()]
        parts.append(f"### `type: {label}`\n\n{_table(rows)}")
    return "\n".join(parts)


def keys() -> dict[str, Key]:
    """Every key of the file by its path, options of samplers and pruners included."""
    found = {name: _top(name) for name in json_schema()["properties"]}
    for name in tuple(found):
        found |= {key.path: key for key in _children(name)}
    for kind in ("sampler", "pruner"):
        for variant in _list_variants(kind):
            found |= {f"search.{kind}.{entry.path}": entry for entry in _options(variant)}
    return found


def _top(name: str) -> Key:
    schema = json_schema()
    return _key(name, schema["properties"][name], required=name in schema["required"])


def _key(path: str, schema: Schema, *, required: bool) -> Key:
    meaning = str(schema.get("description") or _resolve(schema).get("description", ""))
    stated = _DEFAULT.search(meaning)
    default = schema.get("default")
    if required:
        shown = "required"
    elif path.startswith("families.FAMILY.") and _is_shared(path.removeprefix("families.FAMILY.")):
        shown = "the file's"
    elif isinstance(default, dict) and default:
        shown = "as its keys"
    elif default not in (None, [], {}):
        shown = code(_yaml_text(default))
    else:
        shown = stated[1] if stated else "-"
    return Key(path=path, type=_type(schema), default=shown, meaning=_DEFAULT.sub(".", meaning))


def _is_shared(path: str) -> bool:
    """Whether a family's key is one of the file's too."""
    inner = path.partition(".")[2] or path
    return any(inner in json_schema()["$defs"][name]["properties"] for name in _SHARED.values())


def _children(name: str) -> list[Key]:
    return list(_below(name, json_schema()["properties"][name]))


def _below(path: str, schema: Schema) -> Iterator[Key]:
    """Every key below one, depth first."""
    target = _mapping(schema)
    for name, entry in target.get("properties", {}).items():
        inner = f"{path}.{name}"
        yield _key(inner, entry, required=name in target.get("required", ()))
        if inner not in _CLOSED and name not in ("sampler", "pruner", "space"):
            yield from _below(inner, entry)
    if path in _PLACEHOLDERS:
        further = target.get("additionalProperties") or next(iter(target["patternProperties"].values()))
        yield from _below(f"{path}.{_PLACEHOLDERS[path]}", further)


def _variants() -> Iterator[str]:
    """The samplers and pruners, each with its options."""
    for kind in ("sampler", "pruner"):
        yield f"### {kind.capitalize()}s\n"
        for variant in _list_variants(kind):
            label = variant["properties"]["name"]["const"]
            yield f"#### {kind} {code(label)}\n\n{variant['description']}\n"
            if options := _options(variant):
                yield _table(options)


def _list_variants(kind: str) -> list[Schema]:
    """The definitions that a sampler or a pruner may have, in the schema's order."""
    definition = json_schema()["$defs"]["FamilySearch"]["properties"][kind]
    return [_resolve(entry) for entry in _alternatives(definition) if "$ref" in entry]


def _options(variant: Schema) -> list[Key]:
    label, required = variant["properties"]["name"]["const"], variant["required"]
    return [
        _key(f"{label}.{name}", entry, required=name in required)
        for name, entry in variant["properties"].items()
        if name != "name"
    ]


def _alternatives(schema: Schema) -> Iterator[Schema]:
    """What a schema may be, unions taken apart."""
    inner = schema.get("anyOf") or schema.get("oneOf")
    if inner is None:
        yield schema
        return
    for entry in inner:
        yield from _alternatives(entry)


def _mapping(schema: Schema) -> Schema:
    """The mapping that a schema may be; an empty schema where it is a scalar."""
    candidates = [_resolve(entry) for entry in _alternatives(schema)]
    candidates += [_resolve(c["items"]) for c in candidates if isinstance(c.get("items"), dict)]
    return next((c for c in candidates if c.keys() & _OPEN and c.get("type") == "object"), {})


_OPEN = {"properties", "additionalProperties", "patternProperties"}


def _resolve(schema: Schema) -> Schema:
    """The definition behind a reference."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Schema = json_schema()["$defs"][reference.rpartition("/")[2]]
    return found


def _type(schema: Schema) -> str:
    """A schema's type in words: what may be written there."""
    words = [word for entry in _alternatives(schema) if (word := _word(entry))]
    return ", ".join(dict.fromkeys(words))


def _word(schema: Schema) -> str:
    resolved = _resolve(schema)
    if "enum" in resolved:
        return ", ".join(code(value) for value in resolved["enum"])
    if "const" in resolved:
        return code(resolved["const"])
    if "$ref" in schema and ("anyOf" in resolved or "oneOf" in resolved):
        return _type(resolved)
    kind = resolved.get("type")
    if kind == "array":
        return f"list of {_type(resolved['items']) or 'values'}" if "items" in resolved else "list"
    if kind == "string" and "examples" in resolved:
        return f"text such as {' or '.join(code(e) for e in resolved['examples'][:2])}"
    return _KINDS.get(str(kind), "") + _bounds(resolved)


_KINDS = {
    "string": "text", "integer": "whole number", "number": "number", "boolean": "true or false",
    "object": "mapping",
}  # fmt: skip
_LARGEST = 2**53


def _bounds(schema: Schema) -> str:
    words = []
    for name, symbol in (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    ):
        if name in schema and schema[name] != _LARGEST:
            words.append(f"{symbol} {schema[name]:g}")
    return f" {' and '.join(words)}" if words else ""


def _yaml_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _table(entries: list[Key]) -> str:
    rows = [(code(e.path) + _star(e.path), e.type, e.default, e.meaning) for e in entries]
    return table(("key", "type", "default", "meaning"), rows)


def _star(path: str) -> str:
    """`*` where a family may have a value of its own."""
    top, _, rest = path.partition(".")
    shared = _SHARED.get(top)
    return " *" if shared and rest in json_schema()["$defs"][shared]["properties"] else ""
