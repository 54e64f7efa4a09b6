"""`${VARIABLE}` in addresses, and addresses in texts that people and logs see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from infra.errors import WrongInput
from trainers.user_paths import expand_user

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# With a password up to the last @ of the word: it may itself hold @, : and /.
_USERINFO = re.compile(r"(?<=://)(?:[^\s:@/?#'\"]*:[^\s'\"]*|[^\s@/'\"]*)@")
# A user's name alone is no secret but where it is a token, as HTTP has it.
_PASSWORD = re.compile(r"(?<=://)[^\s:@/?#'\"]*:[^\s'\"]+@|\bhttps?://[^\s:@/?#'\"]+@", re.IGNORECASE)
_NAMES = "password|passwd|pwd|passphrase|token|secret|(?:api|access|private)[_-]?key|signature|credential"
# As a query has it the name may go on (`AWS_SECRET_ACCESS_KEY=`); in prose and JSON it ends before the sign,
# or `tokenizer: words` would be hidden too. A value in quotes may hold blanks.
_WORD = r"(?:(?<=\")[^\"\n]+(?=\")|(?<=')[^'\n]+(?=')|[^\s&'\",;]+)"
_VALUE = re.compile(
    rf"(?P<before>\b\w*(?:{_NAMES})\w*=['\"]?|(?:{_NAMES})['\"]?\s*[=:]\s*['\"]?){_WORD}", re.IGNORECASE
)

# Who is asked for a password types it to the line's end; a flag's value stands behind a blank.
_TYPED = re.compile(r"(?P<before>\b(?:password|passwd|pwd|passphrase)\s*:\s*)[^'\",;\n]+", re.IGNORECASE)
_FLAG = re.compile(rf"(?P<before>--[\w-]*(?:{_NAMES})(?:=|\s+))(?!-)\S+", re.IGNORECASE)
# Told by what they begin with, whatever stands before: Hugging Face, GitHub, GitLab, Slack, AWS, Databricks.
_ISSUED = re.compile(
    r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|AKIA|ASIA|dapi)[A-Za-z0-9_-]{16,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
# As HTTP carries them; a short word after "bearer" is prose.
_HEADER = re.compile(
    r"(?P<before>\bauthorization['\"]?\s*[=:]\s*['\"]?(?:\w+\s+)?|\bbearer\s+(?=\S{12}))[^\s'\",;]+"
    r"|(?P<named>\b(?:set-)?cookie\s*:\s*|\bx-[\w-]*(?:key|token|secret)\s*:\s*)[^'\"\n]+",
    re.IGNORECASE,
)


def expand_variables(text: str, environ: Mapping[str, str]) -> str:
    """The text with each `${VARIABLE}` replaced by its value; the values themselves are not expanded.

    Raises:
        WrongInput: a variable is not set, is empty, or is written wrongly. No value is ever part of the text.
    """
    if "${" in _VARIABLE.sub("", text):
        raise WrongInput("${VARIABLE} must be closed with }", repr(redact(text)), "add the }")
    return _VARIABLE.sub(lambda match: _variable_value(match[1], environ), text)


def _variable_value(name: str, environ: Mapping[str, str]) -> str:
    if not _NAME.fullmatch(name):
        do = "write ${NAME} with letters, digits and _"
        raise WrongInput("a variable must have a name that a shell could set", repr(name[:80]), do)
    value = environ.get(name)
    if value is None and environ.get(f"{name}_FILE"):
        return _file_value(name, expand_user(environ[f"{name}_FILE"]))
    if not value:
        state = "it is empty" if value == "" else "it is not set"
        do = f"export {name}=…, or {name}_FILE=… with the path of a file that holds it"
        raise WrongInput(f"the environment variable {name} must be set", state, do)
    return value


def _file_value(name: str, path: Path) -> str:
    """What a secret that is mounted as a file holds, without the line's end."""
    try:
        value = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        found = f"{path}: {getattr(error, 'strerror', None) or 'no text'}"
        raise WrongInput(f"{name}_FILE must be a file that can be read", found) from error
    if not value:
        raise WrongInput(f"{name}_FILE must be a file that holds something", f"{path} is empty")
    return value


def holds_secret(text: str) -> bool:
    """Whether an address has a password or a key written out in it; `${VARIABLE}` in its place is none."""
    literal = _VARIABLE.sub("", text)
    return any(pattern.search(literal) for pattern in (_PASSWORD, _VALUE, _HEADER))


def redact(text: str) -> str:
    """The text with what may be secret replaced by stars, fit for logs, errors and tracking: who logs in at
    an address, and values that are named like a secret."""
    text = _HEADER.sub(_hide_header, _USERINFO.sub("***@", text))
    for pattern in (_TYPED, _FLAG, _VALUE):
        text = pattern.sub(r"\g<before>***", text)
    return _ISSUED.sub("***", text)


def _hide_header(match: re.Match[str]) -> str:
    return f"{match['before'] or match['named'] or ''}***"
