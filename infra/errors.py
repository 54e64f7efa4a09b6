"""Every error that a person can meet, and the exit status that goes with it.

VelodromeError
├── WrongInput            2    a file, an option or a name, said before anything is spent
├── RefusedError          3    a gate refused, or no trial succeeded
├── Unavailable           4    the cluster, the ledger or the storage could not be had
│   ├── LedgerUnavailable
│   │   ├── LedgerAbsent       nothing was written yet
│   │   └── LedgerDamaged      waiting does not help
│   ├── ClusterUnavailable
│   │   └── HeadGone           Ray cannot even let go of it
│   ├── StorageUnavailable
│   └── OwnedElsewhere         another live process runs this sweep
├── FencedError           4    this process is no longer the owner of its sweep
└── InterruptedCommand    130 / 143

`trainers.errors.InputError` and `search_spaces.errors.SearchSpaceInputError` are wrong input too: the
functions of `velodrome` raise `WrongInput` in their place, and the command line shows the same block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class VelodromeError(Exception):
    """One block for a person: what must hold, what was found, what to do, where the log is.

    Attributes:
        document: of what the error came up in, as `--json` prints it, where there is such a thing.
    """

    exit_code = 1
    document: Mapping[str, Any] | None = None

    def __init__(self, must: str, found: str = "", do: str = "", log: str = "") -> None:
        self.must = must
        self.found = found
        self.do = do
        self.log = log
        super().__init__("; ".join(part for part in (must, found and f"but got {found}", do) if part))

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.must, self.found, self.do, self.log))


class WrongInput(VelodromeError):
    """A file, an option or a name that cannot be used.

    Attributes:
        parts: what `join_errors` made it of; empty where it is one.
    """

    exit_code = 2
    parts: Sequence[WrongInput] = ()


MOST_LISTED = 10


def join_errors(errors: Sequence[WrongInput]) -> WrongInput:
    """All that is wrong as one error: the first, with the others below what to do about it, each once."""
    single = [part for error in errors for part in error.parts or (error,)]
    first, *others = {(error.must, error.found): error for error in single}.values()
    lines = [f"also {error.must}; found {error.found}" for error in others[:MOST_LISTED]]
    more = [f"and {len(others) - MOST_LISTED} more"] if len(others) > MOST_LISTED else []
    do = "\n".join([*filter(None, [first.do]), *lines, *more])
    joined = WrongInput(first.must, first.found, do, first.log)
    joined.parts = single
    return joined


class RefusedError(VelodromeError):
    """A gate refused, or no trial succeeded."""

    exit_code = 3


class Unavailable(VelodromeError):
    """Something that the command needs could not be had."""

    exit_code = 4


class LedgerUnavailable(Unavailable):
    """The ledger cannot be opened, read or written."""


class LedgerAbsent(LedgerUnavailable):
    """Nothing was ever written there: the database has no tables yet."""


class LedgerDamaged(LedgerUnavailable):
    """The ledger is there and is not what was written."""


class ClusterUnavailable(Unavailable):
    """The Ray cluster cannot be reached or cannot place a lane."""


class HeadGone(ClusterUnavailable):
    """The cluster's head is away for good. Ray's clean-up would wait for it, and then end this process with a
    status of its own: a command that gets this ends without."""


class StorageUnavailable(Unavailable):
    """Checkpoints and models cannot be written or read."""


class OwnedElsewhere(Unavailable):
    """Another live process runs this sweep."""


class FencedError(VelodromeError):
    """This process is no longer the owner of its sweep and must not write."""

    exit_code = 4


class InterruptedCommand(VelodromeError):
    """A person or the system asked the command to stop; state is kept."""

    def __init__(self, must: str, found: str = "", do: str = "", log: str = "", *, signal: int = 2) -> None:
        super().__init__(must, found, do, log)
        self.exit_code = 128 + signal
