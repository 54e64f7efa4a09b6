"""What the rows of a ledger come to: states as they are, trials in file order, runs in MLflow."""

from __future__ import annotations

from collections.abc import Sequence

from infra.errors import WrongInput
from infra.ledger import views
from infra.ledger.liveness import is_alive_here
from infra.ledger.rows import OwnerRow, SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.names import spell_family
from infra.spec import SweepSpec


def resolve_state(row: SweepRow, owner: OwnerRow | None) -> tuple[str, str]:
    """The state as it really is, and a note where the ledger's word is not enough.

    A driver that is killed cannot write that it stopped: a running sweep without a living owner is stopped.
    """
    living = owner is not None and is_alive_here(owner)
    again = f"`velodrome sweep` with its file carries {row.label} on"
    if row.state == "running" and owner is None:
        return "stopped", f"no process runs it any more; {again}"
    if row.state == "running" and owner is not None and not living:
        return "stopped", f"its driver (pid {owner.pid} on {owner.host}) died; {again}"
    return row.state, ""


def resolve_trials(trials: Sequence[TrialRow], sweep_state: str) -> list[TrialRow]:
    """The trials, where those that nobody runs any more wait: that is what the next driver makes of them."""
    if sweep_state != "running":
        for trial in trials:
            trial.state = "waiting" if trial.state == "running" else trial.state
    return list(trials)


def in_file_order(spec: SweepSpec, trials: Sequence[TrialRow]) -> list[TrialRow]:
    """Trials by family as the sweep file lists them, then by number."""
    order = {family.name: position for position, family in enumerate(spec.families)}
    return sorted(trials, key=lambda trial: (order.get(trial.family, len(order)), trial.number))


def count_test_reads(ledger: Ledger, row: SweepRow) -> int:
    """How often the test split was read for this sweep."""
    return views.count_events(ledger, row.id, "test-read")


def pick_trial(ledger: Ledger, row: SweepRow, number: int, family: str | None) -> TrialRow:
    """The trial of that number.

    Raises:
        WrongInput: there is none, or it is not clear of which family.
    """
    names = [entry.name for entry in row.spec.families]
    family = spell_family(family)
    if family is not None and family not in names:
        raise WrongInput(
            f"the family must be one of {row.label}'s", repr(family), f"it has {', '.join(names)}"
        )
    ordered = in_file_order(row.spec, views.trials(ledger, row.id))
    of_family = [t for t in ordered if family is None or t.family == family]
    matching = [trial for trial in of_family if trial.number == number]
    if not matching:
        highest = max((trial.number for trial in of_family), default=None)
        there = "none was made yet" if highest is None else f"numbers go from 0 to {highest}"
        raise WrongInput(f"a trial of that number must be in {row.label}", str(number), there)
    if len(matching) > 1:
        raise WrongInput(
            f"trial {number} must be of one family",
            f"one each of {', '.join(trial.family for trial in matching)}",
            f"add --family {matching[0].family}",
        )
    return matching[0]
