"""Where the answer to a question stands in the context that it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainers.data.assembly.column_roles import ColumnRoles
from trainers.data.column_kinds import convert_columns
from trainers.data.dataset import ColumnKind
from trainers.data.mixing import mix_hashes
from trainers.data.raw import RawDataset
from trainers.wording import count_of


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlaces:
    """Answers in their contexts.

    Attributes:
        keep: bool [N], the rows whose answer stands in its context.
        starts: int64 [rows kept], the character where each begins.
        notes: for people.
    """

    keep: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]
    notes: tuple[str, ...]


def find_answers(raw: RawDataset, roles: ColumnRoles) -> AnswerPlaces:
    """The place that a row gives, if the answer stands there; without one the answer's first occurrence."""
    context, answer, place = roles.features["context"], str(roles.target), roles.answer_start
    kinds: dict[str, ColumnKind] = {context: "text", answer: "text", **({place: "number"} if place else {})}
    columns = convert_columns({name: raw.columns[name] for name in kinds}, kinds, None)
    given = _read_starts(columns[place].values) if place else [None] * raw.rows
    starts, several = np.full(raw.rows, -1, np.int64), 0
    rows = zip(columns[context].values, columns[answer].values, given, strict=True)
    for row, (text, words, at) in enumerate(rows):
        if at is not None:
            starts[row] = at if at >= 0 and text.startswith(words, at) else -1
            continue
        starts[row] = first_occurrence(text, words)
        several += starts[row] >= 0 and first_occurrence(text[starts[row] + len(words) :], words) >= 0
    keep = starts >= 0
    return AnswerPlaces(keep=keep, starts=starts[keep], notes=tuple(_place_notes(keep, int(several), place)))


def _read_starts(given: Iterable[float]) -> Iterable[int | None]:
    """What each row gives; -1 for what is no character's number."""
    return (None if np.isnan(at) else int(at) if float(at).is_integer() else -1 for at in given)


def first_occurrence(context: str, answer: str) -> int:
    """The first character of the answer where it stands as words of its own; else where it stands at all
    (`17` does not mean `7`, if there is a 7); -1 where it does not."""
    alone = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", context)
    return alone.start() if alone else context.find(answer)


def _place_notes(keep: npt.NDArray[np.bool_], several: int, place: str | None) -> Iterable[str]:
    if not keep.all():
        where = f"where {place} says" if place else "in its context"
        yield f"{int((~keep).sum()):,} of {len(keep):,} rows are left out: the answer does not stand {where}"
    if several:
        held = count_of(several, "row holds its", "rows hold their")
        yield f"{held} answer more than once, and no answer_start says which is meant: the first is taken"


def places_digest(hashes: npt.NDArray[np.uint64], starts: npt.NDArray[np.int64] | None) -> tuple[str, ...]:
    """What the answers' places add to the data's fingerprint. They add nothing to a row's own hash: the same
    question and answer are the same row wherever the answer was found."""
    if starts is None:
        return ()
    return (str(int(np.sum(mix_hashes(hashes ^ mix_hashes(starts.astype(np.uint64)))))),)
