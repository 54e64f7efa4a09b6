"""One request and its answer, as whoever counts and logs them wants to know of them.

Trace context: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?:-.*)?"
)


@dataclass(slots=True, kw_only=True)
class Exchange:
    """Filled while a request is answered.

    Attributes:
        request_id: the client's, or one that is made.
        trace_id: of the trace that the client's `traceparent` named, or one that is made.
        span_id: this request's own within the trace.
        flags: of the trace, two hex digits.
        started: of `time.perf_counter`.
        status: of the answer; 499 where the client hung up before it.
        version: the one that was asked; None where none was.
        rows: of the request, once it is read.
        read_s: seconds that reading its body took.
        reason: of an error.
    """

    request_id: str
    trace_id: str
    span_id: str
    flags: str = "00"
    started: float = field(default_factory=time.perf_counter)
    status: int = 499
    version: str | None = None
    rows: int = 0
    read_s: float = 0.0
    reason: str = ""

    @property
    def traceparent(self) -> str:
        """As the header has it."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def begin_exchange(request_id: str = "", traceparent: str = "") -> Exchange:
    """An exchange that goes on with the client's id and trace, where those are well formed."""
    drawn = os.urandom(24).hex()
    found = _TRACEPARENT.fullmatch(traceparent)
    valid = found is not None and set(found["trace"]) != {"0"} and set(found["span"]) != {"0"}
    trace_id = found["trace"] if found is not None and valid else drawn[:32]
    return Exchange(
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else trace_id,
        trace_id=trace_id,
        span_id=drawn[32:],
        flags=found["flags"] if found is not None and valid else "00",
    )
