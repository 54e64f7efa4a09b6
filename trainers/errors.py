"""What can go wrong while reading data, configuring a family, or training.

TrainerError
├── InputError        options, hyper-parameters or data that cannot be used: said before anything is spent
│   └── CellError     a value of a row that cannot be read
└── TrialError        an attempt that cannot go on
    ├── NotFinite     a loss, gradient or metric that is not a finite number
    ├── CommandKilled a command that a signal ended
    └── OutOfMemory   the device has no room for this configuration
"""

from __future__ import annotations


class TrainerError(Exception):
    """A failure with its parts: what must hold, what was found, what to do."""

    def __init__(self, must: str, found: str = "", do: str = "", *, key: tuple[str, ...] = ()) -> None:
        self.must = must
        self.found = found
        self.do = do
        self.key = key  # path of keys in the sweep file, where one is to blame
        super().__init__("; ".join(part for part in (must, found and f"but got {found}", do) if part))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_error, (type(self), self.must, self.found, self.do, self.key))


MOST_WORDS = 500


def describe_error(error: BaseException, most: int = MOST_WORDS) -> str:
    """Its class and the first line that it says, cut after so many characters: people's exceptions may say
    anything, or raise when they are asked."""
    name = type(error).__name__
    try:
        lines = str(error).strip().splitlines()
    except Exception as unsaid:  # of its own `__str__`
        lines = [f"its text cannot be read ({type(unsaid).__name__})"]
    return cut_words(f"{name}: {lines[0] if lines else 'no message'}", most)


def cut_words(text: str, most: int = MOST_WORDS) -> str:
    """A text of so many characters at most."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text)} characters)"


def _rebuild_error(
    cls: type[TrainerError], must: str, found: str, do: str, key: tuple[str, ...]
) -> TrainerError:
    return cls(must, found, do, key=key)


class InputError(TrainerError):
    """Options, hyper-parameters or data that cannot be used."""


class CellError(InputError):
    """A value of a row that cannot be read.

    Attributes:
        value: as a person would write it.
        row: from 0, among those that were read together.
    """

    def __init__(self, must: str, value: str, row: int, do: str = "") -> None:
        self.value, self.row = value, row
        super().__init__(must, f"{value} in row {row}", do)

    def __reduce__(self) -> tuple[object, ...]:
        return (CellError, (self.must, self.value, self.row, self.do))


class TrialError(TrainerError):
    """An attempt that cannot go on; `reason` is the class of failure that users see."""

    reason = "error"


class NotFinite(TrialError):
    """A loss, gradient or metric that is not a finite number."""

    reason = "not-finite"


class CommandKilled(TrialError):
    """A command that a signal ended, which may be the machine's fault: it is tried again, as a dead lane."""

    reason = "worker-died"


class OutOfMemory(TrialError):
    """The device has no room for this configuration."""

    reason = "out-of-memory"
