"""What a person may write for a model: a registered one, a version of it, an address in MLflow, a sweep."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.errors import WrongInput
from infra.names import check_name, quote_input, split_version
from infra.registry.logged_models import is_logged_uri
from infra.registry.store import CHAMPION, ModelVersion, Registry

_ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,62}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReference:
    """Exactly one of: a registered model with `alias` or `version`; a `uri`; a `sweep`; or, with none of
    these, a name alone, which is a registered model with a champion or else a sweep."""

    name: str = ""
    alias: str | None = None
    version: str | None = None
    uri: str | None = None
    sweep: str | None = None

    @property
    def text(self) -> str:
        """As a person would write it."""
        if self.uri or self.sweep:
            return self.uri or self.sweep or ""
        if self.version:
            return f"{self.name}/{self.version}"
        return f"{self.name}@{self.alias}" if self.alias else self.name


def parse_reference(text: str) -> ModelReference:
    """What was written, with nothing looked up.

    `digits` · `digits@challenger` · `digits/3` · `digits@2` (a sweep's second version) · `models:/digits/3` ·
    `models:/digits@champion` · `models:/m-<id>` · `runs:/<id>/model` · a sweep's file.

    Raises:
        WrongInput: none of these. No other scheme is ever opened.
    """
    if is_logged_uri(text):
        return ModelReference(uri=text)
    if text.startswith("models:/"):
        return _registered_reference(text.removeprefix("models:/"), text)
    if "://" in text or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", text):
        raise _reference_error(text)
    if text.lower().endswith((".yaml", ".yml")):
        return ModelReference(sweep=text)
    if "@" in text and text.rpartition("@")[2].isdecimal():
        split_version(text)
        return ModelReference(sweep=text)
    if "/" in text or "@" in text:
        return _registered_reference(text, text)
    return ModelReference(name=check_name(text, "model"))


def find_version(registry: Registry, reference: ModelReference) -> ModelVersion | None:
    """The registered version that is meant; of a name alone the champion."""
    if reference.version:
        return registry.version(reference.name, int(reference.version))
    return registry.version_at(reference.name, reference.alias or CHAMPION)


def _registered_reference(text: str, written: str) -> ModelReference:
    name, mark, rest = re.match(r"([^/@]*)([/@]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if mark == "/" and _VERSION.fullmatch(rest):
        return ModelReference(name=check_name(name, "model"), version=rest)
    if mark == "@" and _ALIAS.fullmatch(rest):
        return ModelReference(name=check_name(name, "model"), alias=rest)
    raise _reference_error(written)


def _reference_error(text: str) -> WrongInput:
    return WrongInput(
        "a model must be NAME, NAME@ALIAS, NAME/VERSION, models:/…, runs:/ID/PATH or a sweep's name",
        quote_input(text),
        f"write {text}/model"
        if re.fullmatch(r"runs:/[0-9a-f]{32}", text)
        else "files and other addresses are not opened; register it with `velodrome promote`",
    )
