"""Moving the champion: the record first, the alias last, and whatever was cut off in between is finished.

MLflow's alias has no compare-and-set, so the chain is the word: an entry is written (of two at once one
wins), then version tags and aliases follow it, `champion` last, then the entry is marked as applied. Who
sets the alias looks at the chain again afterwards, so that a slow writer cannot leave an older word standing.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Unpack

from infra.errors import RefusedError, WrongInput
from infra.registry.chain import Chain, ChainEntry, EntryFacts, EntryValues, Kind, alias_state
from infra.registry.identity import user_at_host
from infra.registry.records import Records
from infra.registry.registry_errors import RegistryUnavailable
from infra.registry.store import CHAMPION, PREVIOUS, Registry
from search_spaces.nearest import name_question

LOOKS = 20
SECOND_LOOK_S = 1.0


class ForeignMove(RefusedError):
    """The champion is not where the chain has it: somebody moved the alias by hand."""


class ConcurrentChange(RefusedError):
    """Somebody else wrote to the chain first."""


@dataclass(slots=True)
class Mover:
    """One model's chain and alias."""

    registry: Registry
    model: str
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    @property
    def records(self) -> Records:
        """The model's records, asked anew: another process may have made their run meanwhile."""
        return Records(self.registry, self.model)

    def finish_pending(self, *, foreign: bool = False) -> Chain:
        """Finishes a move that was cut off, and gives the chain as it stands then.

        Args:
            foreign: go on where somebody moved the alias by hand; it is recorded all the same.

        Raises:
            ForeignMove: the alias is elsewhere than the chain has it; that is recorded, never reverted.
        """
        foreign_before = False
        for _ in range(LOOKS):
            chain, alias = self.read_state()
            state = alias_state(chain, alias)
            if state == "settled":
                return chain
            if state == "cut-off":
                self.apply_move()
            elif foreign_before:
                self._record_foreign(chain, alias)
                if foreign:
                    return self.records.read_chain()
                raise _foreign_move_error(self.model, chain, alias)
            else:  # perhaps somebody was just between the chain and the alias: look again before it is said
                foreign_before = True
                self.sleep(SECOND_LOOK_S)
        raise RegistryUnavailable(
            f"the champion of {self.model} must stand still for a moment", f"{LOOKS} looks, each another"
        )

    def read_state(self) -> tuple[Chain, int | None]:
        """The chain, and where the alias points."""
        return self.records.read_chain(), self.registry.alias_target(self.model, CHAMPION)

    def move_champion(
        self, chain: Chain, kind: Kind, target: int | None, **values: Unpack[EntryFacts]
    ) -> ChainEntry:
        """Writes the entry after the last one of `chain`, then moves the alias.

        Args:
            chain: as it was when the decision was made.
            kind: promotion, rollback or adoption.
            target: the version that `champion` points at from then on.
        """
        entry = self.append_record(chain, kind, target=target, **values)
        self.apply_move()
        return entry

    def append_record(self, chain: Chain, kind: Kind, **values: Unpack[EntryValues]) -> ChainEntry:
        """Writes the entry after the last one of `chain`."""
        entry = self.make_entry(chain, kind, **values)
        records = self.records
        if not records.append_entry(entry):
            raise concurrent_change_error(self.model, records.read_chain(), entry.number)
        return entry

    def append_note(self, kind: Kind, **values: Unpack[EntryValues]) -> ChainEntry:
        """Writes an entry that moves nothing, after whatever is last."""
        records = self.records
        for _ in range(LOOKS):
            entry = self.make_entry(records.read_chain(), kind, **values)
            if records.append_entry(entry):
                return entry
        raise RegistryUnavailable("an entry must find its place in the chain", f"{LOOKS} others came first")

    def make_entry(self, chain: Chain, kind: Kind, **values: Unpack[EntryValues]) -> ChainEntry:
        """An entry of now and of this process."""
        given: EntryValues = {
            "who": user_at_host(), "at": self.clock(), **values,
            "pid": os.getpid(), "nonce": uuid.uuid4().hex,
        }  # fmt: skip
        return chain.make_next(kind, **given)

    def apply_move(self) -> None:
        """Moves the aliases to where the newest entry says, until it is the newest still."""
        for _ in range(LOOKS):
            records = self.records
            move = records.read_chain().last_move
            if move is None:
                return
            if move.target is not None:
                self._point_aliases(move, move.target)
            records.mark_applied(move, self.clock())
            newest = records.read_chain().last_move
            if newest is not None and newest.number == move.number:
                return
        raise RegistryUnavailable(
            f"the champion of {self.model} must stand still for a moment", f"{LOOKS} moves at once"
        )

    def _point_aliases(self, move: ChainEntry, target: int) -> None:
        """Tags, then `previous`, then `champion`, last."""
        version = self.registry.version(self.model, target)
        if version is None:
            raise RegistryUnavailable(
                f"version {target} of {self.model} must be there", "it was deleted", "restore the registry"
            )
        tags: Mapping[str, str] = {f"velodrome.{move.kind}": f"{move.number}", "velodrome.record": move.hash}
        self.registry.set_tags(version, tags)
        if move.source is not None and move.source != target:
            self.registry.set_alias(self.model, PREVIOUS, move.source)
        self.registry.set_alias(self.model, CHAMPION, target)

    def _record_foreign(self, chain: Chain, alias: int | None) -> None:
        last = chain.entries[-1] if chain.entries else None
        if last is not None and last.kind == "foreign" and last.target == alias:
            return
        move = chain.last_move
        self.append_note(
            "foreign",
            source=None if move is None else move.target,
            target=alias,
            reason="the alias was found elsewhere than the chain has it",
        )


def champion_line(chain: Chain) -> list[int]:
    """The versions that `champion` stood on and can go back to, oldest first, the present one last.

    A promotion or an adoption adds one; a rollback takes those after its target away.
    """
    line: list[int] = []
    for entry in chain.entries:
        if not entry.is_move or entry.target is None:
            continue
        if entry.kind == "rollback" and entry.target in line:
            del line[len(line) - line[::-1].index(entry.target) :]
        else:
            line.append(entry.target)
    return line


def concurrent_change_error(model: str, chain: Chain, number: int) -> ConcurrentChange:
    """What the loser is told."""
    other = chain.entries[number - 1]
    what = f"{other.kind} of version {other.target}" if other.target else other.kind
    return ConcurrentChange(
        f"nobody else must change {model} between the evaluation and the move",
        f"entry {number} of its history, by {other.who}: {what}",
        f"see `velodrome history {model}`, then repeat the command",
    )


def _foreign_move_error(model: str, chain: Chain, alias: int | None) -> ForeignMove:
    move = chain.last_move
    has = "no move at all" if move is None else f"version {move.target}"
    at = "nowhere" if alias is None else f"at version {alias}"
    if alias is None:
        do = f"`velodrome rollback {model} --to N` sets it again"
    else:
        do = f"`velodrome adopt {model}` accepts it, `velodrome rollback {model} --to N` goes back"
    return ForeignMove(
        f"the champion of {model} must be where its history has it: {has}",
        f"the alias {at}: somebody moved it by hand; that is recorded and not undone",
        do,
    )


def check_registered(model: str, aliases: Mapping[str, int] | None, near: list[str]) -> None:
    """Refuses a model that the registry does not have.

    Raises:
        WrongInput: names the nearest.
    """
    if aliases is None:
        do = name_question(near) if near else "`velodrome promote NAME` registers one"
        raise WrongInput("a registered model must have that name", model, do)
