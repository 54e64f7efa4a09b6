"""What every mapping of a sweep file holds to."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A mapping of the sweep file: unknown keys and near types are refused; sentences below fields are its
    documentation, for editors too."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
