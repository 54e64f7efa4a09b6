"""`--set a.b.c=value`: keys of the sweep file, given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.config.errors import Path, dotted_path, redacted_repr
from infra.errors import WrongInput
from infra.secrets import redact
from search_spaces.errors import YamlError
from search_spaces.strict_yaml import load_yaml
from trainers.types import Json, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One `--set`: where it goes and what it puts there."""

    path: Path
    value: Json
    written: str

    @property
    def place(self) -> str:
        """What errors call it."""
        return f"--set {redact(self.written[:200])}"


def apply_overrides(
    document: JsonObject, overrides: Sequence[str]
) -> tuple[JsonObject, tuple[Override, ...]]:
    """The document with the overrides in place, in order, and what they were."""
    applied = []
    for written in overrides:
        override = _parse_override(written, document)
        changed = _set_value(document, override.path, 0, override)
        assert isinstance(changed, dict)  # a path has at least one key
        document = changed
        applied.append(override)
    return document, tuple(applied)


def _parse_override(written: str, document: JsonObject) -> Override:
    keys, equals, text = written.partition("=")
    segments = keys.strip().split(".")
    if not equals or not all(segments):
        raise WrongInput("--set must be KEY=VALUE", redacted_repr(written), "write --set search.pruner=none")
    path = _split_path(document, segments)
    try:
        value = load_yaml(text.strip().encode("utf-8", "surrogatepass"), f"--set {keys.strip()[:80]}").value
    except YamlError as error:
        raise WrongInput(f"--set {dotted_path(path)}: {error.must}", error.found, error.do) from error
    return Override(path=path, value=value, written=written)


def _split_path(here: Json, segments: list[str]) -> Path:
    """Splits at dots, but keeps a key of the document that itself has dots (a family of one's own) whole;
    that may go by its label, as everything but the file calls it."""
    if not segments:
        return ()
    if (
        isinstance(here, list)
        and segments[0].isascii()
        and segments[0].isdigit()
        and int(segments[0]) < len(here)
    ):
        return (int(segments[0]), *_split_path(here[int(segments[0])], segments[1:]))
    keys = here if isinstance(here, dict) else {}
    for end in range(len(segments), 1, -1):
        joined = ".".join(segments[:end])
        known = next((key for key in keys if joined in (key, key.replace(":", "."))), None)
        if known is not None:
            return (known, *_split_path(keys[known], segments[end:]))
    return (segments[0], *_split_path(keys.get(segments[0]), segments[1:]))


def _set_value(here: Json, path: Path, depth: int, override: Override) -> Json:
    if depth == len(path):
        return override.value
    part = path[depth]
    if isinstance(here, list) and isinstance(part, int):
        return [
            _set_value(item, path, depth + 1, override) if i == part else item for i, item in enumerate(here)
        ]
    if here is not None and not isinstance(here, dict):
        raise WrongInput(
            f"{override.place}: {dotted_path(path[:depth])} must be a mapping to set {part} in it",
            redacted_repr(here),
            f"set {dotted_path(path[:depth])} itself to a mapping {{…}}",
        )
    keys = here or {}
    return {**keys, part: _set_value(keys.get(part), path, depth + 1, override)}
