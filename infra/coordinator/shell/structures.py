"""The structures of trials: of one structure are those that one program may train together."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence

from infra.spec import FamilySpec
from trainers.code.carried import is_carried
from trainers.family import Family
from trainers.registry import load_reference
from trainers.stacking.structure import structure_key
from trainers.types import Params

_log = logging.getLogger(__name__)


class Structures:
    """Finds them by the families' own code, each once."""

    def __init__(self, sys_path: Sequence[str] = ()) -> None:
        """Imports nothing yet.

        Args:
            sys_path: folders from which people's own families are imported.
        """
        self._sys_path = sys_path
        self._families: dict[str, Family | None] = {}
        self._known: dict[tuple[str, str], str | None] = {}

    def find_structure(self, family: FamilySpec, params: Params) -> str | None:
        """The same for trials that may be one stack; None where a trial is trained alone."""
        place = (family.name, json.dumps(params, sort_keys=True))
        if place not in self._known:
            made = self._load_family(family)
            self._known[place] = None if made is None else _find_key(made, params)
        return self._known[place]

    def _load_family(self, family: FamilySpec) -> Family | None:
        if is_carried(family.reference):  # a function, which lanes alone are given
            return None
        if family.name not in self._families:
            sys.path.extend(folder for folder in self._sys_path if folder not in sys.path)
            try:
                found = load_reference(family.reference)
                made = found(family.options) if isinstance(found, type) else None
            except Exception:  # people's code may raise anything: a lane that imports it will say so
                _log.exception("%s could not be imported: its trials are trained one by one", family.name)
                made = None
            self._families[family.name] = made
        return self._families[family.name]


def _find_key(family: Family, params: Params) -> str | None:
    of_trial = family.of_trial(params)
    return structure_key(of_trial, of_trial.complete(params))
