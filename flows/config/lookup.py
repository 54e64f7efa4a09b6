"""From what a person typed, a sweep's name or its file, to the sweep in its ledger."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from infra.errors import LedgerAbsent, WrongInput
from infra.home import Home, ledger_url
from infra.ledger import views
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger
from infra.names import check_sweep_label, quote_input
from infra.secrets import redact
from search_spaces.nearest import name_question, nearest_words

SQLITE = "sqlite:///"
_VERSION = re.compile(r"[a-z0-9][a-z0-9._-]*/[1-9][0-9]*")


def open_sweep(name_or_file: str, home: Home, overrides: Sequence[str] = ()) -> tuple[Ledger, SweepRow]:
    """The sweep of that name, or of that file, and the ledger that holds it.

    Args:
        overrides: of a file's keys, which may name another sweep or ledger.

    Raises:
        WrongInput: not a name, no such file, or no such sweep; says which homes and ledgers were searched.
        LedgerUnavailable: the ledger is there and cannot be read.
    """
    label, written = _label_and_ledger(name_or_file, overrides)
    url = ledger_url(home, written)
    if _is_absent(url):
        raise _not_found_error(label, url, home, [])
    try:
        ledger = Ledger(url)
    except LedgerAbsent as error:
        raise _not_found_error(label, url, home, []) from error
    with close_on_error(ledger):
        row = views.find_sweep(ledger, label)
        if row is None:
            raise _not_found_error(label, url, home, _similar_names(ledger, label))
    return ledger, row


@contextmanager
def sweep_in_ledger(
    name_or_file: str, home: Home, overrides: Sequence[str] = ()
) -> Iterator[tuple[Ledger, SweepRow]]:
    """As `open_sweep`, with the ledger closed at the end."""
    ledger, row = open_sweep(name_or_file, home, overrides)
    with closing(ledger):
        yield ledger, row


@contextmanager
def close_on_error(ledger: Ledger) -> Iterator[None]:
    """Keeps an open ledger open, unless what is done within fails."""
    with ExitStack() as stack:
        stack.callback(ledger.close)
        yield
        stack.pop_all()


def open_ledger(home: Home, written: str | None = None) -> Ledger | None:
    """The ledger that a file's `ledger:` names, else the one that commands use by default.

    Returns:
        None where nothing was ever written.
    """
    url = ledger_url(home, written)
    with suppress(LedgerAbsent):
        return None if _is_absent(url) else Ledger(url)
    return None


def advise_name(ledger: Ledger | None, label: str) -> str:
    """What to do about a name that the ledger does not have."""
    near = _similar_names(ledger, label) if ledger is not None else []
    return name_question(near) if near else "`velodrome status` lists them"


def is_file(name_or_file: str) -> bool:
    """Whether a sweep's file was meant: a path, or something that ends as such files do."""
    return os.sep in name_or_file or name_or_file.lower().endswith((".yaml", ".yml"))


def _label_and_ledger(name_or_file: str, overrides: Sequence[str]) -> tuple[str, str | None]:
    if not is_file(name_or_file):
        return check_sweep_label(name_or_file), None
    if "\0" in name_or_file or not Path(name_or_file).is_file():
        do = "give a sweep's name or the path of its file"
        if _VERSION.fullmatch(name_or_file):
            do += f"; a registered version is written models:/{name_or_file}, where one is taken"
        raise WrongInput("a sweep file must exist", quote_input(name_or_file), do)
    from flows.config.loading import load_sweep

    file = load_sweep(Path(name_or_file), overrides)
    return file.name, file.sweep.ledger


def _is_absent(url: str) -> bool:
    return url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).exists()


def _similar_names(ledger: Ledger, label: str) -> list[str]:
    return nearest_words(label, sorted({row.label for row in views.sweeps(ledger)}))


def _not_found_error(label: str, url: str, home: Home, near: list[str]) -> WrongInput:
    searched = _ledger_place(url)
    if near:
        do = name_question(near)
    elif other := _home_above(home):
        do = f"there is a home in {other}: run from {other.parent}, or set VELODROME_HOME={other}"
    else:
        do = "`velodrome status` lists what there is; VELODROME_HOME or VELODROME_LEDGER names another place"
    return WrongInput("a sweep of that name must be in the ledger", f"no {label} in {searched}", do)


def _ledger_place(url: str) -> str:
    if not url.startswith(SQLITE):
        return f"the ledger {redact(url)}"
    path = Path(url.removeprefix(SQLITE))
    return f"{path}" if path.exists() else f"{path}, which does not exist"


def _home_above(home: Home) -> Path | None:
    """A home in a folder above, where somebody is only one `cd` away from it."""
    if home.path.name != ".velodrome":
        return None
    for folder in home.path.parent.parents:
        if (folder / ".velodrome" / "ledger.db").exists():
            return folder / ".velodrome"
    return None
