"""The classes of a target."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from statistics import fmean

import numpy as np

from trainers.data.assembly.column_names import label_order
from trainers.data.cell_values import are_yes_and_no, find_alike
from trainers.data.dataset import Column, Task
from trainers.data.number_spellings import find_spelling
from trainers.errors import InputError

FEWEST_WORDS_OF_TEXT = 3  # on average


def find_classes(
    target: Column | None, task: Task | None, read: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sorted labels (numbers by their size), and notes.

    Args:
        read: what reading said, which may be why a class is not there.
    """
    if target is None or target.kind != "category":
        return (), _note_constant(target)
    labels = sorted({str(label) for label in target.values if label is not None}, key=label_order)
    key = ("data", "columns", "target")
    if task == "classification" and len(labels) < 2:
        found = f"{len(labels)} in column {target.name!r}: {', '.join(labels)}"
        why = f"; {'; '.join(read)}" if read else ""
        do = f"name another data.columns.target, or add rows of another class{why}"
        raise InputError("classification needs two classes at least", found, do, key=key)
    rows = sum(label is not None for label in target.values)
    if task == "classification" and len(labels) > 2 and len(labels) > rows / 2:
        shown = ", ".join(map(repr, labels[:3]))
        found = f"{len(labels):,} classes in {rows:,} rows of column {target.name!r}: {shown}, …"
        raise InputError(
            "classification needs classes of several rows", found, _likely_reason(labels), key=key
        )
    return tuple(labels), note_alike_labels(labels)


def _likely_reason(labels: Sequence[str]) -> str:
    """What a column of nearly as many words as rows may be."""
    spelling, read = find_spelling(dict.fromkeys(labels, 1))
    if read > len(labels) / 2:
        said = f" ({spelling.describe()})" if spelling.describe() else ""
        return f"most are numbers{said}: write task: regression, or data.read: {{decimal: …}}"
    if fmean(len(label.split()) for label in labels) >= FEWEST_WORDS_OF_TEXT:
        return "is it a text to be written from another? task: seq2seq with columns: {input: …, target: …}"
    return "is it an identifier, a date or a text? name another data.columns.target"


def _note_constant(target: Column | None) -> tuple[str, ...]:
    if target is None or target.kind != "number":
        return ()
    values = np.asarray(target.values)
    return ("every row has the same target",) if len(values) and np.ptp(values) == 0 else ()


def note_alike_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """A note for classes that a person would take for one."""
    if are_yes_and_no(labels):
        listed = ", ".join(map(repr, labels[:6]))
        return (f"classes {listed} seem to be two, yes and no, in several spellings: each is learned",)
    numbers = (", ".join(map(repr, same)) for same in _same_numbers(labels))
    return (
        *(f"classes {alike} differ by blanks or case alone: each is learned" for alike in find_alike(labels)),
        *(f"classes {same} are one number: each is learned" for same in numbers),
    )


def _same_numbers(labels: Sequence[str]) -> list[list[str]]:
    """Labels that are spelt as numbers, as 1 and 01, those of one number together."""
    found: dict[float, list[str]] = {}
    for label in labels:
        with suppress(ValueError):
            found.setdefault(float(label), []).append(label)
    return [same for same in found.values() if len(same) > 1]
