"""`${VARIABLE}` in URLs and paths, replaced at the moment of use and never written down."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.errors import WrongInput

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_USERINFO = re.compile(r"(?<=://)([^/@\s:]*)(:[^@\s]*)?@")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """The text with each `${VARIABLE}` replaced by what the environment says.

    Raises:
        WrongInput: a variable that is not set; its name is told, nothing's value is.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise WrongInput(f"${{{name}}} must be set in the environment", "no such variable", f"export {name}=…")
        return environ[name]

    return _VARIABLE.sub(value, text)


def hide(url: str) -> str:
    """The URL as it may be shown: user and password replaced by `…`."""
    return _USERINFO.sub("…@", url)
