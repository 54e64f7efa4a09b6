"""`${VARIABLE}` in addresses, and addresses in texts that people and logs see."""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.errors import WrongInput

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Up to the last @ of the word: a password may itself hold @, : and /.
_PASSWORD = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s:@/?#'\"]*:)[^\s'\"]*@")
_TOKEN = re.compile(r"(?P<before>https?://)[^\s:@/?#'\"]+@")
_QUERY = re.compile(
    r"(?P<before>\b\w*(?:password|passwd|pwd|token|secret|api_?key|access_?key|signature|credential)\w*=)[^\s&'\"]+",
    re.IGNORECASE,
)


def expand(text: str, environ: Mapping[str, str]) -> str:
    """The text with each `${VARIABLE}` replaced by its value; the values themselves are not expanded.

    Raises:
        WrongInput: a variable is not set, is empty, or is written wrongly. No value is ever part of the text.
    """
    if "${" in _VARIABLE.sub("", text):
        raise WrongInput("${VARIABLE} must be closed with }", repr(redact(text)), "add the }")
    return _VARIABLE.sub(lambda match: _value(match[1], environ), text)


def _value(name: str, environ: Mapping[str, str]) -> str:
    if not _NAME.fullmatch(name):
        do = "write ${NAME} with letters, digits and _"
        raise WrongInput("a variable must have a name that a shell could set", repr(name[:80]), do)
    value = environ.get(name)
    if not value:
        state = "it is empty" if value == "" else "it is not set"
        raise WrongInput(f"the environment variable {name} must be set", state, f"export {name}=…")
    return value


def redact(text: str) -> str:
    """The text with passwords and tokens in addresses hidden: fit for logs and errors."""
    text = _PASSWORD.sub(r"\g<before>***@", text)
    text = _TOKEN.sub(r"\g<before>***@", text)
    return _QUERY.sub(r"\g<before>***", text)
