"""Who may ask: by token, and from which page or host. Pure, on a request's headers.

Without a token only this machine is answered, and then `Host` and `Origin` are what keeps a page that is open
in somebody's browser from asking in their name (DNS rebinding, cross-site requests).
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.addresses import is_loopback
from infra.serving.limits import ScoringError

LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
PROBES = frozenset(
    ("/health", "/ping", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/metrics")
)
"""What a platform asks all the time, and is answered when nobody else is."""
OPEN_PATHS = PROBES - {"/metrics"}
"""What is answered without a token: a platform's probes have none."""
READING = frozenset(("GET", "HEAD"))
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_SAFE_SITES = ("same-origin", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessControl:
    """Rules for every request.

    Attributes:
        token: what `Authorization: Bearer` must hold; None where nobody is asked.
        hosts: names that `Host` may have beside those of loopback. Any IP address may stand there too where
            a token is asked: names are what is rebound.
        open_paths: paths that need no token.
    """

    token: str | None = None
    hosts: frozenset[str] = frozenset()
    open_paths: frozenset[str] = OPEN_PATHS

    def check_request(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Lets a request in.

        Args:
            headers: by names in small letters.

        Raises:
            ScoringError: 401 without a token, 403 with a wrong one, a foreign host, or from a foreign page.
        """
        host = headers.get("host", "")
        if not self._is_known_host(host):
            raise ScoringError(
                403, f"the Host must be one that this server is known by, but got {host[:80]!r}"
            )
        if method not in READING or headers.get("origin"):
            _check_page(headers, host)
        if self.token is not None and path not in self.open_paths:
            self._check_token(headers.get("authorization"))

    def _is_known_host(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if not found:
            return False
        name = (found["v6"] or found["name"]).lower().rstrip(".")
        return name in LOOPBACK_NAMES or name in self.hosts or (self.token is not None and _is_address(name))

    def _check_token(self, given: str | None) -> None:
        if not given:
            raise ScoringError(401, "Authorization must be `Bearer TOKEN`, but there is none")
        scheme, _, token = given.partition(" ")
        expected = (self.token or "").encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), expected):
            raise ScoringError(403, "the token must be this server's, but got another")


def _check_page(headers: Mapping[str, str], host: str) -> None:
    """Refuses what a browser sends for a page of somebody else's."""
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        raise ScoringError(403, f"the Origin must be this server, but got {origin[:80]!r}")
    site = headers.get("sec-fetch-site")
    if site is not None and site not in _SAFE_SITES:
        raise ScoringError(403, f"requests of other sites are not answered (Sec-Fetch-Site: {site[:40]!r})")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def known_hosts(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """Names that requests may have in `Host`, for a server that is bound to `host`."""
    own = () if is_loopback(host) else (host, socket.gethostname(), socket.getfqdn())
    return frozenset(name.lower() for name in (*own, *more) if name)
