"""What a person reads of a registry that does not do what it is asked: each kind has its own words, and the
exit status says whether repeating helps."""

from __future__ import annotations

import os
from collections.abc import Callable

from infra.errors import Unavailable
from infra.secrets import redact
from infra.tracking.client import (
    MissingEntity,
    RequestRejected,
    TrackingError,
    TrackingTrouble,
    TrackingUnavailable,
)


class RegistryUnavailable(Unavailable):
    """The registry cannot be reached, or does not take what it is asked."""


class RegistryDenied(RegistryUnavailable):
    """The registry answers, and not to this account, or not at this address: repeating does not help."""

    exit_code = 2


class RegistryMissing(RegistryDenied, MissingEntity):
    """What the registry is asked for is not there."""


class RegistryRejected(RegistryDenied, RequestRejected):
    """The registry does not take this request."""


AGAIN = "repeat the command: it goes on where it stopped"
_ADDRESS = "check the address; a proxy may stand before the server, and want somebody to log in"


def registry_error(error: TrackingError, uri: str) -> RegistryUnavailable:
    """The error of a call that MLflow's client could not do at a URI."""
    server, found = redact(uri), str(error)
    if isinstance(error, MissingEntity):
        return RegistryMissing(f"{server} must have what it is asked for", found, "see who deleted it")
    if isinstance(error, RequestRejected):
        return RegistryRejected(f"{server} must take the request", found, "see what its server allows")
    assert isinstance(error, TrackingUnavailable)
    if error.status is not None:
        return _status_error(error.status, error.method, server, found)
    return _TROUBLES[error.trouble](server, found)


def _status_error(status: int, method: str, server: str, found: str) -> RegistryUnavailable:
    account = os.environ.get("MLFLOW_TRACKING_USERNAME", "").strip() or "no account"
    found = f"{status}: {found}"
    if status == 401:
        do = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return RegistryDenied(f"{server} must know who asks", f"401 for {account}{found[3:]}", do)
    if status == 403:
        needed = "READ" if method.startswith(("get_", "search_", "list_")) else "EDIT"
        who = "who asks (no account)" if account == "no account" else account
        must = f"{who} must have the permission {needed} at {server}, which {method} takes"
        do = "ask who runs the server for it: on the model, and on the experiments velodrome-registry*"
        return RegistryDenied(must, found, do)
    if status == 404:
        return RegistryDenied(f"an MLflow server must be at {server}", found, "check the address")
    if status == 407:
        do = "give the proxy's account in HTTPS_PROXY or HTTP_PROXY, or set NO_PROXY for the server"
        return RegistryDenied(f"the proxy before {server} must let the request through", found, do)
    if status == 409:
        must = "nobody else may write the same at the same moment"
        return RegistryUnavailable(must, found, "repeat the command: it looks anew")
    if status in (408, 425):
        return RegistryUnavailable(f"{server} must answer in time", found, AGAIN)
    if status == 429:
        return RegistryUnavailable(
            f"{server} must not be asked so often", found, f"wait a minute, then {AGAIN}"
        )
    if status >= 500:
        do = f"its log says why; once it works, {AGAIN}"
        return RegistryUnavailable(f"{server} must work", found, do)
    if 300 <= status < 400:
        do = "no request is sent on: check the address (https, a path?), or give the one that it names"
        return RegistryDenied(f"an MLflow server must be at {server} itself", found, do)
    return RegistryDenied(
        f"{server} must take the request", found, "its log, or that of a proxy, says why not"
    )


def _late(server: str, found: str) -> RegistryUnavailable:
    do = f"{AGAIN}; MLFLOW_HTTP_REQUEST_TIMEOUT is how many seconds it waits"
    return RegistryUnavailable(f"{server} must answer in time", found, do)


def _untrusted_certificate(server: str, found: str) -> RegistryUnavailable:
    do = "check https or http in the address; MLFLOW_TRACKING_SERVER_CERT_PATH names an authority of your own"
    return RegistryDenied(f"{server} must show a certificate that is trusted", found, do)


def _no_mlflow(server: str, found: str) -> RegistryUnavailable:
    return RegistryDenied(f"an MLflow server must be at {server}", found, _ADDRESS)


def _unreachable(server: str, found: str) -> RegistryUnavailable:
    return RegistryUnavailable(
        f"{server} must answer", found, f"see that it runs at this address; then {AGAIN}"
    )


def _no_answer(server: str, found: str) -> RegistryUnavailable:
    return RegistryUnavailable("the registry must answer", found, AGAIN)


_TROUBLES: dict[TrackingTrouble, Callable[[str, str], RegistryUnavailable]] = {
    "late": _late,
    "untrusted": _untrusted_certificate,
    "no MLflow": _no_mlflow,
    "unreachable": _unreachable,
    "failed": _no_answer,
}
