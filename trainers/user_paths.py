"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path

from trainers.errors import InputError


def expand_user(text: str, *, key: tuple[str, ...] = ()) -> Path:
    """The path, its `~` or `~name` written out.

    Args:
        key: where in the sweep file it stands, for the error.

    Raises:
        InputError: it begins with the `~` of a user that this machine does not know.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        do = "write the path out, or ./~… for a name that begins so"
        raise InputError("a path's ~ must be of a user that is known here", text, do, key=key) from error
