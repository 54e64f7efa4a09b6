"""One rule for names of sweeps, checked before a name becomes part of a path, a query or a line on screen."""

from __future__ import annotations

import re

from infra.errors import WrongInput

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}(@[1-9][0-9]{0,8})?")
SHOWN_CHARACTERS = 80


def check_label(label: str) -> str:
    """The label (`digits`, `digits@2`) if it can be one.

    Raises:
        WrongInput: it can't; nothing was looked up.
    """
    if not LABEL.fullmatch(label):
        raise WrongInput(
            "a sweep's name must be 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
            shown(label),
            "`velodrome status` lists the sweeps; digits@2 means the second version of digits",
        )
    return label


def shown(text: str) -> str:
    """What a person gave, quoted, with nothing in it that could move a terminal's cursor or its text."""
    quoted = ascii(text)
    return quoted if len(quoted) <= SHOWN_CHARACTERS else f"{quoted[:SHOWN_CHARACTERS]}… ({len(text)} characters)"
