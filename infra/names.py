"""One rule for every name that becomes a key, a folder or a part of a URL.

Sweeps, registered models, aliases and artifacts follow the narrow rule; a family's label, which is made from
a Python name, may also hold capitals and begin with an underscore.
"""

from __future__ import annotations

import re

from infra.errors import WrongInput
from trainers.code.carried import PREFIX
from trainers.types import Json

RULE = "[a-z0-9][a-z0-9._-]{0,62}"
_NAME = re.compile(RULE)
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_REFERENCE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,5}")
_SHOWN = 80
_ADVICE = "begin with a small letter or digit, go on with small letters, digits, '.', '_' and '-', 63 at most"


def check_name(value: Json, what: str) -> str:
    """The name, if it follows the rule.

    Args:
        what: what is named, for the error (`sweep`, `model`, `alias`, `artifact`, …).

    Raises:
        WrongInput: it does not.
    """
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise _name_error(value, what, RULE, _ADVICE)


def check_label(value: Json) -> str:
    """A family's label, if it follows the rule.

    Raises:
        WrongInput: it does not.
    """
    if isinstance(value, str) and _LABEL.fullmatch(value):
        return value
    raise _name_error(value, "family", _LABEL.pattern, "use ASCII letters, digits, '.', '_' and '-'")


def family_label(reference: str) -> str:
    """The label of a family in studies, runs and folders: its name, or `package.module.name` for own code.

    Raises:
        WrongInput: the reference is neither.
    """
    if ":" in reference:
        if not _REFERENCE.fullmatch(reference):
            do = "write an importable name, for instance mypackage.nets:train"
            raise _name_error(reference, "family", "package.module:name", do)
        return check_label(reference.removeprefix(PREFIX).replace(":", "."))
    return check_label(reference)


def spell_family(given: str | None) -> str | None:
    """A family as a person may name it: own code as in the file (`mod:train`), or by its label."""
    return None if given is None else given.removeprefix(PREFIX).replace(":", ".")


def split_version(value: Json) -> tuple[str, int]:
    """`digits@2` as name and version; a name alone is its first version.

    Raises:
        WrongInput: the name or the version does not follow the rule.
    """
    name, at, version = value.partition("@") if isinstance(value, str) else (value, "", "")
    if at and not _VERSION.fullmatch(version):
        raise _name_error(value, "sweep", f"{RULE}@VERSION", "write a name, or name@2 for its second version")
    return check_name(name, "sweep"), int(version) if at else 1


def check_sweep_label(label: str) -> str:
    """What names one version of a sweep (`digits`, `digits@2`), if it follows the rule."""
    split_version(label)
    return label


def quote_input(text: str) -> str:
    """What a person gave, quoted, with nothing in it that could move a terminal's cursor or its text."""
    quoted = ascii(text)
    return quoted if len(quoted) <= _SHOWN else f"{quoted[:_SHOWN]}… ({len(text)} characters)"


def _name_error(value: Json, what: str, rule: str, do: str) -> WrongInput:
    text = ascii(value)  # no bidirectional or look-alike letters in an error text
    length = f" ({len(value)} characters)" if isinstance(value, str) and len(text) > 80 else ""
    return WrongInput(f"the name of a {what} must be {rule}", f"{text[:80]}{length}", do)
