"""Samplers and pruners as a sweep file writes them: a name, or a mapping with the options of that name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from flows.config.types import name_shorthand
from infra.search.pruners import PRUNERS, PrunerOptions
from infra.search.samplers import SAMPLERS, SamplerOptions
from infra.strict_model import Strict


def _one_of(table: Mapping[str, type[Strict]]) -> Any:
    """Any entry of the table; one without a required option may be written as its name alone."""
    union: Any = Annotated[reduce(or_, table.values()), Field(discriminator="name")]
    alone = [
        name
        for name, options in table.items()
        if not any(field.is_required() for key, field in options.model_fields.items() if key != "name")
    ]
    shorthand: Any = Annotated[union, name_shorthand(tuple(alone), union)]
    return shorthand


if TYPE_CHECKING:
    Sampler = SamplerOptions
    Pruner = PrunerOptions
else:
    Sampler = _one_of(SAMPLERS)
    Pruner = _one_of(PRUNERS)
