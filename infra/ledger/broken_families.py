"""Families that get no more trials, since their first ones all failed alike."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from infra.ledger.rows import OUTDATED, SweepRow, TrialRow
from trainers.types import JsonObject

BROKEN_AFTER = 5
DIVERGED = "not-finite"  # more often a configuration's fault than the code's


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenFamily:
    """A family that cannot work as it is.

    Attributes:
        kind: of reason, which all its failures share: `error`, `worker-died`, …
        count: how many trials failed.
        message: the last one's reason.
        left: how many trials it does not get.
        do: what lets it begin again.
    """

    family: str
    kind: str
    count: int
    message: str
    left: int
    do: str

    def to_json(self) -> JsonObject:
        """All of it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __str__(self) -> str:
        return (
            f"{self.family} is stopped, and {self.left} of its trials are not made: all {self.count} that "
            f"ended failed alike, the last by {self.message}; {self.do}"
        )


def mark_outdated(trials: Iterable[TrialRow], families: Collection[str]) -> list[TrialRow]:
    """The ended trials of families whose code was changed, marked: how they ended says nothing of it. By how
    many attempts they had, and not by a time: the clock may be set, and a trial may be tried again."""
    outdated = [trial for trial in trials if trial.family in families and trial.has_ended]
    for trial in outdated:
        trial.facts = {**trial.facts, OUTDATED: trial.attempts}
    return outdated


def is_broken(made: Iterable[TrialRow]) -> bool:
    """Whether a family cannot work at all: its first five trials that ended all failed, for one kind of
    reason, and none came further than they. Where trials are trained side by side those whose numbers run
    away end first, and say nothing of the others: there the first five that were made have to.

    Args:
        made: its trials, in the order in which they were made; of those that ended with a code that was
            changed since nothing follows.
    """
    kinds: list[str] = []
    failed_after = going_on = early = 0
    for trial in made:
        if _is_outdated(trial):
            continue
        if trial.state == "failed":
            kinds.append(_kind(trial))
            failed_after = max(failed_after, trial.epochs)
        elif trial.has_ended:
            return False
        else:
            going_on = max(going_on, trial.epochs)
            early += len(kinds) < BROKEN_AFTER  # made before five that failed
    first = set(kinds[:BROKEN_AFTER])
    alike = len(kinds) >= BROKEN_AFTER and len(first) == 1
    return alike and going_on <= failed_after and not (early and DIVERGED in first)


def find_broken_families(row: SweepRow, trials: Iterable[TrialRow]) -> tuple[BrokenFamily, ...]:
    """The families of a sweep that get no more trials than they have, and why."""
    own: dict[str, list[TrialRow]] = {family.name: [] for family in row.spec.families}
    for trial in trials:
        if trial.role == "search":
            own.setdefault(trial.family, []).append(trial)
    found = []
    for family in row.spec.families:
        made = sorted(own[family.name], key=lambda trial: (trial.created_at, trial.number))
        ended, left = [trial for trial in made if trial.has_ended], family.trials - len(made)
        if left > 0 and is_broken(made):
            failed = [trial for trial in ended if not _is_outdated(trial)]
            found.append(
                BrokenFamily(
                    family=family.name, kind=_kind(failed[0]), count=len(failed), left=left,
                    message=failed[-1].reason or "", do=_advice(row.label),
                )
            )  # fmt: skip
    return tuple(found)


def _is_outdated(trial: TrialRow) -> bool:
    return trial.has_ended and trial.facts.get(OUTDATED) == trial.attempts


def _kind(trial: TrialRow) -> str:
    return (trial.reason or "").partition(":")[0]


def _advice(label: str) -> str:
    return (
        f"mend it, then `velodrome retry {label} --accept-code-change` makes the failed trials again and the "
        "rest, `velodrome sweep` with its file and --accept-code-change the rest alone"
    )
