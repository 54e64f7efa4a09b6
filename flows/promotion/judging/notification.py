"""Telling others what became of a promotion: a command of this machine's choosing, or a webhook."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from urllib.parse import urlparse

from flows.config.policy import Notify
from infra.addresses import is_loopback
from infra.errors import WrongInput
from infra.names import quote_input
from infra.secrets import redact
from trainers.types import Json

LIMIT_S = 10.0
ALLOWED = "VELODROME_NOTIFY_COMMANDS"


def check_webhook(url: str) -> None:
    """Refuses an address that a webhook is not sent to.

    Raises:
        WrongInput: neither https nor http on loopback, or one with a user, a fragment or odd characters.
    """
    parts = urlparse(url)
    plain = url.isascii() and url.isprintable() and not set(url) & set(" \\#")
    if plain and parts.hostname and not parts.username and not parts.password:
        if parts.scheme == "https":
            return
        if parts.scheme == "http" and is_loopback(parts.hostname):
            return
    raise WrongInput(
        "a webhook must be https, or http on loopback, without a user",
        quote_input(redact(url)),
        "write https://HOST/PATH",
    )


def notify(wanted: Notify | None, outcome: str, document: Mapping[str, Json]) -> str:
    """Tells whom the policy names.

    Args:
        outcome: `moved` or `refused`.

    Returns:
        What a person should know: why somebody was not told; may be empty. The promotion stands either way.
    """
    if wanted is None or outcome not in wanted.on:
        return ""
    text = json.dumps(document, sort_keys=True)
    said = [
        _run_command(wanted.command, text) if wanted.command else "",
        _post_webhook(wanted.webhook, text) if wanted.webhook else "",
    ]
    return "; ".join(line for line in said if line)


def _run_command(command: list[str], text: str) -> str:
    """Runs it, if this machine allows its program: whoever may write to a registry must not thereby run code
    on the machine of whoever promotes."""
    program = command[0]
    if program not in os.environ.get(ALLOWED, "").split(os.pathsep):
        return f"not notified: {ALLOWED} does not name {quote_input(program)}"
    try:
        done = subprocess.run(
            command, input=text, text=True, timeout=LIMIT_S, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return f"not notified: {quote_input(program)}: {type(error).__name__}"
    return (
        "" if done.returncode == 0 else f"not notified: {quote_input(program)} ended with {done.returncode}"
    )


def _post_webhook(url: str, text: str) -> str:
    import requests

    try:
        check_webhook(url)
        answer = requests.post(
            url, data=text.encode(), headers={"Content-Type": "application/json"}, timeout=LIMIT_S,
            allow_redirects=False,
        )  # fmt: skip
    except WrongInput as error:
        return f"not notified: {error.must}"
    except requests.RequestException as error:
        return f"not notified: the webhook: {type(error).__name__}"
    return (
        ""
        if answer.status_code in range(200, 300)
        else f"not notified: the webhook answered {answer.status_code}"
    )
