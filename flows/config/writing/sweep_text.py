"""The text of a first sweep file: what was seen of the data as comments, then what people change first."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flows.config.writing.first_choices import TRIALS_OF_OTHERS, FirstChoices, example_length
from trainers.wording import count_of

if TYPE_CHECKING:
    from trainers.data_profile import DataProfile
    from trainers.types import Json

MOST_CLASSES = 8
SCHEMA_FILE = "velodrome.schema.json"
MOST_COLUMNS = 30
_LEARNING_RATE = "{type: float, low: 0.001, high: 0.1, log: true}"


def sweep_text(
    name: str, data: Mapping[str, Json], seen: DataProfile, families: Sequence[str], choices: FirstChoices
) -> str:
    """The sweep file: what was seen as comments, and the keys that people change first, with why."""
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        *(f"# {line}" for line in profile_lines(seen)),
        "",
    ]
    lines += [f"name: {name}", "seed: 0", *_data_lines(data, seen)]
    lines += choices.lines()
    lines += ["families:   # `velodrome families NAME` shows what each one sweeps by itself"]
    for family in families:
        lines.append(f"  {family}:")
        lines += [f"    {line}" for line in choices.spaces.get(family, ())]
    if families[-1] not in choices.spaces:
        lines.append(f"    # space: {{extends: {families[-1]}, learning_rate: {_LEARNING_RATE}}}")
    lines += ["    # resources: {gpus: 0.5}", *_series_lines(data, seen)]
    return "\n".join(lines) + "\n"


def profile_lines(seen: DataProfile) -> list[str]:
    """What is worth knowing of the data, a line each; nothing in them breaks a line."""
    parts = ", ".join(f"{rows:,} {part}" for part, rows in seen.parts.items())
    lines = [f"{count_of(seen.rows, 'row')} of kind {seen.kind}, task {seen.task or 'unknown'}: {parts}"]
    if seen.classes:
        lines.append(f"{len(seen.classes)} classes: {_format_counts(seen.classes)}")
    lines += _column_lines(seen)
    if seen.duplicates:
        lines.append(f"duplicates: {count_of(seen.duplicates, 'row repeats', 'rows repeat')} an earlier one")
    if seen.conflicts:
        rows = count_of(seen.conflicts, "row has", "rows have")
        lines.append(f"conflicts: {rows} the features of a row of another target")
    for giveaway in seen.giveaways:
        said = f"{giveaway.metric} {giveaway.value:.4g}"
        lines.append(f"beware: {_one_line(giveaway.column)} alone gives the target away ({said}); drop it?")
    if seen.guess is not None:
        lines.append(
            f"always answering {_one_line(seen.guess.answer)} scores "
            f"{seen.guess.metric} {seen.guess.value:.4g}"
        )
    return lines + [_one_line(line) for line in seen.notes]


def _column_lines(seen: DataProfile) -> list[str]:
    """A line a column; of very many those that are worth a look, and how many others there are."""
    if len(seen.described) <= MOST_COLUMNS:
        return [_one_line(column.describe()) for column in seen.described]
    odd = [column for column in seen.described if column.left_out or column.warning]
    shown = [*odd, *(column for column in seen.described if column not in odd)][:MOST_COLUMNS]
    others = Counter(column.kind for column in seen.described if column not in shown)
    more = ", ".join(f"{count:,} of kind {kind}" for kind, count in others.items())
    return [
        *(_one_line(column.describe()) for column in shown),
        f"and {others.total():,} more columns: {more}",
    ]


def _format_counts(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{_one_line(name)} {count:,}" for name, count in list(counts.items())[:MOST_CLASSES])
    return f"{listed}, and {len(counts) - MOST_CLASSES} more" if len(counts) > MOST_CLASSES else listed


def _one_line(value: Json) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if text.isprintable() and len(text) <= 300 else ascii(text[:300])


def _data_lines(data: Mapping[str, Json], seen: DataProfile) -> list[str]:
    lines = ["data:", f"  source: {_scalar(str(data['source']))}"]
    if seen.task:
        lines.append(f"  task: {seen.task}")
    if isinstance(read := data.get("read"), dict):
        lines.append(f"  read: {{encoding: {read['encoding']}}}   # by its bytes, as they look")
    if isinstance(columns := data.get("columns"), dict):
        lines.append(f"  columns: {{target: {_scalar(str(columns['target']))}}}")
    if split := data.get("split"):
        assert isinstance(split, dict)
        lines.append(f"  split: {{by: {split['by']}}}   # few rows differ: each copy has a side of its own")
    if seen.giveaways:
        dropped = ", ".join(_scalar(giveaway.column) for giveaway in seen.giveaways)
        lines.append(f"  # columns: {{drop: [{dropped}]}}")
    return lines


def _series_lines(data: Mapping[str, Json], seen: DataProfile) -> list[str]:
    """How to learn a table with a time as a series: a choice that its look alone does not make."""
    time = next((name for name, kind in seen.columns.items() if kind == "time"), None)
    columns = data.get("columns")
    if seen.task != "regression" or time is None or not isinstance(columns, dict):
        return []
    named = f"{{target: {_scalar(str(columns['target']))}, time: {_scalar(time)}}}"
    length = example_length(max(1, seen.parts.get("train", 0)))
    whole = ", ".join(f"{key}: {value}" for key, value in length.keys().items())
    entry = f"trials: {TRIALS_OF_OTHERS}, {whole}, patience: {length.patience}, pruner: {length.pruner}"
    lines = (
        f"a forecast from the rows before? data: {{columns: {named}, split: {{by: time}}}}, and here",
        f"rnn: {{options: {{window: 40, horizon: 1}}, {entry}}}",
    )
    return [f"  # {line}" for line in lines]


def _scalar(text: str) -> str:
    """The text as YAML: plain where nothing in it could mean something else, else in double quotes."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.:/-]*[A-Za-z0-9_.-]", text) and text.lower() not in _WORDS
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())


_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
