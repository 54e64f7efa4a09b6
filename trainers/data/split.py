"""Which row goes to which part: a pure function of the rows' inputs, group or time, and the salt.

Never of the sweep's seed: the same row is on the same side in a grown file and in another sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from trainers.data.dataset import Part
from trainers.data.mixing import Hashes, salt_hashes
from trainers.data.raw import check_names
from trainers.errors import InputError
from trainers.types import Json
from trainers.wording import count_of

By = Literal["content", "row", "group", "time", "user", "files"]
FEW_DIFFERENT = 30  # rows of a part; its share of right answers has a deviation of 9 % then
BY: tuple[By, ...] = get_args(By)
PARTS: tuple[Part, ...] = get_args(Part)
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """The sweep file's `data.split`: shares, what decides, and the salt."""

    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1
    by: By = "content"
    salt: int | str = 0

    @classmethod
    def read(cls, given: Mapping[str, Json]) -> SplitRule:
        """The checked rule.

        Raises:
            InputError: an unknown key, a share that is not one, or shares that do not come to 1.
        """
        check_names(given, ("train", "validation", "test", "by", "salt"), "data", "split")
        return cls(**_read_shares(given), by=_read_by(given), salt=_read_salt(given))


def _read_by(given: Mapping[str, Json]) -> By:
    written = given.get("by", "content")
    for by in BY:
        if by == written:
            return by
    raise InputError(f"split.by must be one of {', '.join(BY)}", repr(written), key=("data", "split", "by"))


def _read_salt(given: Mapping[str, Json]) -> int | str:
    salt = given.get("salt", 0)
    if not isinstance(salt, (int, str)):
        raise InputError("split.salt must be a number or text", repr(salt), key=("data", "split", "salt"))
    return salt


def _read_shares(given: Mapping[str, Json]) -> dict[str, float]:
    """All three shares; where one is left out it is what the others leave."""
    named: dict[Part, float] = {}
    for part in PARTS:
        share = given.get(part, 0.0)
        if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0.0 <= share < 1.0 + 1e-9:
            key = ("data", "split", part)
            raise InputError(f"the share {part} must be a number from 0 to 1", repr(share), key=key)
        if part in given:
            named[part] = share
    if not named:
        return {"train": 0.8, "validation": 0.1, "test": 0.1}
    shares: dict[str, float] = {part: float(named.get(part, 0.0)) for part in PARTS}
    left = [part for part in PARTS if part not in named]
    for part in left:
        shares[part] = max(0.0, 1.0 - sum(named.values())) / len(left)
    if abs(sum(shares.values()) - 1.0) > 1e-6:
        found = ", ".join(f"{part} {share:g}" for part, share in shares.items())
        raise InputError("the shares of split must come to 1", found, key=("data", "split"))
    if shares["train"] <= 0 or shares["validation"] <= 0:
        do = "give train and validation a share each"
        raise InputError(
            "the search needs rows in train and validation", str(shares), do, key=("data", "split")
        )
    return shares


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFacts:
    """What a split may look at.

    Attributes:
        key: uint64 [N], what decides each row's side: the hash of its inputs, as a rule.
        group: uint64 [N], hash of each row's group, where one is named.
        time: float64 [N], where a column of times is named; no NaN.
        place: float64 [N], of interactions: where each stands among its user's by time, above 0 and below 1.
        part: int8 [N], index into `PARTS` of the part that the source brings for each row.
    """

    key: Hashes
    group: Hashes | None = None
    time: npt.NDArray[np.float64] | None = None
    place: npt.NDArray[np.float64] | None = None
    part: npt.NDArray[np.int8] | None = None


def has_few_different(splits: Mapping[Part, Rows], inputs: Hashes) -> bool:
    """Whether validation or test has so few different rows that its score says little, while more are there:
    sides by content give each of them, with all its copies, to one part."""
    for part in PARTS[1:]:
        rows = splits[part]
        different = len(np.unique(inputs[rows]))
        if different < FEW_DIFFERENT and len(rows) >= 2 * max(1, different):
            return True
    return False


def split_rows(rule: SplitRule, facts: RowFacts) -> tuple[dict[Part, Rows], tuple[str, ...]]:
    """Row indices of each part, ascending, disjoint and covering all rows, and notes for people."""
    _check_facts(rule, facts)
    if facts.part is None:
        return _rows_by_part(
            _assign_parts(rule, facts, {"validation": rule.validation, "test": rule.test})
        ), ()
    return _use_source_parts(rule, facts, facts.part)


def _check_facts(rule: SplitRule, facts: RowFacts) -> None:
    key = ("data", "split", "by")
    if rule.by == "group" and facts.group is None:
        raise InputError("split by group needs data.columns.group", "no such key", key=key)
    if rule.by == "time" and facts.time is None:
        raise InputError("split by time needs data.columns.time", "no such key", key=key)
    if rule.by == "user" and facts.place is None:
        do = "name them under data.columns: {user: …, item: …, time: …}"
        raise InputError("split by user needs interactions of users at their times", "none", do, key=key)
    if rule.by == "files" and facts.part is None:
        do = "give a folder with train, validation and test files, or split by content"
        raise InputError(
            "split by files needs a source that brings its own parts", "a single one", do, key=key
        )


def _use_source_parts(
    rule: SplitRule, facts: RowFacts, part: npt.NDArray[np.int8]
) -> tuple[dict[Part, Rows], tuple[str, ...]]:
    """The source's own parts; those that it lacks are cut from its training rows."""
    has = {name: bool((part == index).any()) for index, name in enumerate(PARTS)}
    if not has["train"]:
        raise InputError("a source that brings parts must bring train", "none", key=("data", "source"))
    shares: dict[Part, float] = {"validation": rule.validation, "test": rule.test}
    missing = {name: share for name, share in shares.items() if not has[name] and share > 0}
    notes = [f"the source brings {', '.join(name for name in PARTS if has[name])}"]
    assigned = part.copy()
    if missing:
        inside = np.flatnonzero(part == 0)
        assigned[inside] = _assign_parts(rule, _select_facts(facts, inside), missing)
        notes += [
            f"no {name} part: {share:.0%} of train by {_split_basis(rule)}" for name, share in missing.items()
        ]
    notes += _note_overlaps(facts.key, assigned)
    return _rows_by_part(assigned), tuple(notes)


def _split_basis(rule: SplitRule) -> str:
    return "content" if rule.by == "files" else rule.by


def _select_facts(facts: RowFacts, rows: Rows) -> RowFacts:
    return RowFacts(
        key=facts.key[rows],
        group=None if facts.group is None else facts.group[rows],
        time=None if facts.time is None else facts.time[rows],
        place=None if facts.place is None else facts.place[rows],
    )


def _note_overlaps(keys: Hashes, part: npt.NDArray[np.int8]) -> list[str]:
    train = keys[part == 0]
    notes = []
    for index, name in enumerate(PARTS[1:], start=1):
        count = int(np.isin(keys[part == index], train).sum())
        if count:
            notes.append(f"{count_of(count, 'row')} of {name} in train too: a model has seen the inputs")
    return notes


def _assign_parts(rule: SplitRule, facts: RowFacts, shares: Mapping[Part, float]) -> npt.NDArray[np.int8]:
    """Part index of each row; what no share claims is train."""
    if rule.by == "time":
        assert facts.time is not None
        return _assign_by_time(facts.time, shares)
    if rule.by == "user":
        assert facts.place is not None
        return _assign_last(facts.place, shares)
    keys = facts.key
    if rule.by == "group":
        assert facts.group is not None
        keys = facts.group
    return _assign_by_hash(keys, shares, rule.salt)


def _assign_by_hash(keys: Hashes, shares: Mapping[Part, float], salt: int | str) -> npt.NDArray[np.int8]:
    """Test takes the lowest hashes, validation those above: test stays when validation's share changes."""
    place = salt_hashes(keys, salt).astype(np.float64) / 2.0**64
    test, validation = shares.get("test", 0.0), shares.get("validation", 0.0)
    part = np.zeros(len(keys), np.int8)
    part[place < test + validation] = PARTS.index("validation")
    part[place < test] = PARTS.index("test")
    return part


def _assign_by_time(time: npt.NDArray[np.float64], shares: Mapping[Part, float]) -> npt.NDArray[np.int8]:
    """The last rows are test, those before them validation; rows of one moment are never parted."""
    ordered = np.sort(time)
    test, validation = shares.get("test", 0.0), shares.get("validation", 0.0)
    part = np.zeros(len(time), np.int8)
    if validation > 0:
        part[time >= _time_threshold(ordered, test + validation)] = PARTS.index("validation")
    if test > 0:
        part[time >= _time_threshold(ordered, test)] = PARTS.index("test")
    return part


def _assign_last(place: npt.NDArray[np.float64], shares: Mapping[Part, float]) -> npt.NDArray[np.int8]:
    """Each user's last interactions are test, those before them validation."""
    test, validation = shares.get("test", 0.0), shares.get("validation", 0.0)
    part = np.zeros(len(place), np.int8)
    part[place > 1.0 - test - validation] = PARTS.index("validation")
    part[place > 1.0 - test] = PARTS.index("test")
    return part


def _time_threshold(ordered: npt.NDArray[np.float64], share: float) -> float:
    """The moment from which on the last `share` of the rows stand."""
    at = min(round(len(ordered) * (1.0 - share)), len(ordered) - 1)
    return float(ordered[at])


def _rows_by_part(part: npt.NDArray[np.int8]) -> dict[Part, Rows]:
    return {name: np.flatnonzero(part == index) for index, name in enumerate(PARTS)}
