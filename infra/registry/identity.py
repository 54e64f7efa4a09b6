"""Who acts: the name that the registry knows, or that of the operating system.

It is what records say, no proof: whoever may write to the registry may write any name there. Proof is the
registry's own affair (a server with accounts).
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping


def user_at_host(environ: Mapping[str, str] = os.environ) -> str:
    """`ada@host`."""
    return f"{registry_user(environ)}@{socket.gethostname()}"


def registry_user(environ: Mapping[str, str] = os.environ) -> str:
    """The account at the registry (`MLFLOW_TRACKING_USERNAME`), else the process's own user."""
    named = environ.get("MLFLOW_TRACKING_USERNAME", "").strip()
    if named:
        return named
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user without a name
        return f"uid-{os.geteuid()}"


def user_part(who: str) -> str:
    """The user of `ada@host`."""
    return who.rpartition("@")[0]
