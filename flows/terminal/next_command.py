"""Commands to go on with, as they must be typed to find the sweep that was just seen."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from infra.home import Home
from infra.ray_job import is_job
from infra.secrets import holds_secret, redact


def next_command(
    words: str, ledger: str | None, *, address: str | None = None, environ: Mapping[str, str] = os.environ
) -> str:
    """`velodrome` with the words, and before it the settings that whoever types it may not have.

    Args:
        words: the command, its sweep by name.
        ledger: as the sweep's file has it, `${VARIABLE}` left as written.
        address: of the Ray cluster that the command needs; None for a local one.
    """
    command = " ".join(["velodrome", words, *(["--address", shlex.quote(address)] if address else [])])
    settings = needed_settings(ledger, environ)
    return f"{settings} {command}" if settings else command


def needed_settings(ledger: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The file's ledger, where commands do not look by themselves; of a job its home too, and the ledger that
    the head's environment names."""
    named = environ.get("VELODROME_LEDGER")
    if ledger and ledger != named:
        return _ledger_setting(ledger)
    if not is_job(environ):
        return ""
    if named:
        return _ledger_setting(named)
    return f"VELODROME_HOME={shlex.quote(str(Home.from_environment(environ).path))}"


def _ledger_setting(written: str) -> str:
    """With `${VARIABLE}` as it is: Velodrome replaces it, in an environment as in a file."""
    return f"VELODROME_LEDGER={shlex.quote(redact(written) if holds_secret(written) else written)}"
