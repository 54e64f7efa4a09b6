"""Tokens that Velodrome makes and keeps in its home, readable by their owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from infra.errors import WrongInput

OTHERS = 0o077


def make_token(path: Path) -> None:
    """Makes the file with a new token, mode 0600, where there is none; two at once keep the first one's."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.touch(mode=0o600)
    aside.write_text(secrets.token_hex(32))
    with contextlib.suppress(FileExistsError):
        os.link(aside, path)
    aside.unlink()


def read_or_make_token(path: Path) -> str:
    """The token in the file, which is made where it is missing.

    Raises:
        WrongInput: others may read it, or it is too short to be one.
    """
    make_token(path)
    mode = path.stat().st_mode & 0o777
    if mode & OTHERS:
        raise WrongInput(
            "a token must be readable by its owner alone", f"{path} has mode {mode:o}", f"chmod 600 {path}"
        )
    return check_token(path.read_text(encoding="utf-8").strip(), str(path))


def check_token(token: str, where: str) -> str:
    """The token, if it is one that nobody guesses.

    Raises:
        WrongInput: it has fewer than 16 characters, or some that a header cannot hold.
    """
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        found = f"{len(token)} characters in {where}"
        raise WrongInput("a token must have at least 16 printable ASCII characters", found)
    return token
