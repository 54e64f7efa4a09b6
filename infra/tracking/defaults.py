"""What training uses for a parameter that was not sampled, as the family itself says it."""

from __future__ import annotations

import inspect

from infra.spec import FamilySpec
from trainers.errors import TrainerError
from trainers.family import Family
from trainers.registry import load_reference
from trainers.types import Params


class TrainingDefaults:
    """Callable: every parameter that training reads, for a family and a trial's sampled values."""

    def __init__(self) -> None:
        self._families: dict[str, Family | None] = {}

    def __call__(self, spec: FamilySpec, params: Params) -> Params:
        """An empty mapping where the family is a plain function, or cannot be loaded here."""
        if spec.name not in self._families:
            self._families[spec.name] = _load_family(spec)
        family = self._families[spec.name]
        if family is None:
            return {}
        try:
            return family.complete(params)
        except TrainerError:  # a value of an older version: training has judged it already
            return {}


def _load_family(spec: FamilySpec) -> Family | None:
    try:
        found = load_reference(spec.reference)
        return None if inspect.isfunction(found) else found(spec.options)
    except TrainerError:
        return None
