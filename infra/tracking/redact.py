"""Nothing secret leaves for tracking or for a log: user information and secret query values in URLs."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]*@")
_SECRET_VALUE = re.compile(
    r"((?:password|passwd|secret|token|access_key|api_?key|signature)\s*[=:]\s*)[^\s&'\",;]+", re.IGNORECASE
)


def redact(text: str) -> str:
    """The text with `user:password@` of every URL, and values named like a secret, replaced by stars."""
    return _SECRET_VALUE.sub(r"\1***", _USERINFO.sub("***@", text))
