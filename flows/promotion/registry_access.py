"""From a registered model's name to its chain and its alias."""

from __future__ import annotations

import json
import re

from infra.errors import WrongInput
from infra.home import Home
from infra.names import check_name, quote_input
from infra.registry.moves import Mover, check_registered
from infra.registry.store import Registry, registry_uri
from search_spaces.nearest import nearest_words

MOST_REASON = 3_000


def open_mover(model: str, home: Home, registry: str | None = None, *, known: bool = True) -> Mover:
    """A model's chain and alias.

    Args:
        known: refuse a name that neither the registry nor a history has.
    """
    check_name(model, "model")
    there = Registry.open(registry_uri(home, registry), home)
    mover = Mover(there, model)
    if known:
        aliases = there.aliases(model)
        if aliases is None and not mover.records.read_chain().texts:
            check_registered(model, None, nearest_words(model, there.model_names()))
    return mover


def split_label(label: str) -> tuple[str, int]:
    """`digits/3` as name and version."""
    found = re.fullmatch(r"([^/]+)/([1-9][0-9]{0,8})", label)
    if found is None:
        raise WrongInput(
            "a version must be given as MODEL/VERSION", quote_input(label), "write for instance digits/3"
        )
    return check_name(found[1], "model"), int(found[2])


def check_reason(reason: str) -> str:
    """The reason that is kept in an entry, which has room for so much, before anything is done for it."""
    kept = len(json.dumps(reason)) - 2  # as an entry has it: beyond ASCII six characters for one
    if kept > MOST_REASON:
        must = f"a reason must have at most {MOST_REASON:,} characters, where one beyond ASCII counts six"
        raise WrongInput(must, f"{kept:,}", "shorten it, and name where the rest stands")
    return reason
