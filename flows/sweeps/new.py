"""`velodrome new`: looks at a data source and writes a commented sweep file with the families that fit."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import StorageUnavailable, WrongInput
from infra.home import Home
from infra.names import quote_input
from trainers.data.split import has_few_different
from trainers.errors import InputError
from trainers.registry import BUILT_IN, load_reference

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset
    from trainers.data_profile import DataProfile
    from trainers.family import Family
    from trainers.types import Json, JsonObject

SCHEMA_FILE = "velodrome.schema.json"
TRIALS, EPOCHS = 20, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """What was seen and written. `families`: those that fit the data; `schema`: for editors."""

    path: Path
    schema: Path
    name: str
    look: DataProfile
    families: tuple[str, ...]
    metric: str | None

    def to_json(self) -> JsonObject:
        """All of it."""
        return {
            "path": str(self.path),
            "schema": str(self.schema),
            "name": self.name,
            "families": list(self.families),
            "metric": self.metric,
            "data": self.look.to_json(),
        }


def new(
    source: str,
    *,
    target: str | None = None,
    output: Path | str | None = None,
    home: Home | None = None,
) -> NewFile:
    """Reads the source and writes a sweep file for it; never over one that is there.

    Args:
        source: as in a sweep file: `builtin:digits`, `csv:churn.csv`, `images:pets`.
        target: the column to learn.
        output: the file; by default the sweep's name with `.yaml`, in the current folder.

    Raises:
        WrongInput: the file is there already.
        InputError: the source cannot be read, or no family fits it.
    """
    place = home or Home.from_environment()
    name = sweep_name(source)
    path = Path(output) if output is not None else Path(f"{name}.yaml")
    _refuse_existing(path)
    data: Mapping[str, Json] = {"source": source, **({"columns": {"target": target}} if target else {})}
    from trainers.data_profile import profile_dataset

    relative_to = Path.cwd()
    data, dataset = _open_split(data, relative_to, place.cache)
    seen = profile_dataset(dataset)
    fitting = suitable_families(dataset)
    if not fitting:
        kind = f"{seen.kind} for {seen.task or 'no task'}"
        do = "`velodrome families` lists what each one reads; a family or a function of your own may read it"
        raise InputError("a built-in family must fit the data", kind, do)
    data = rebase_source(data, relative_to, path.absolute().parent)
    metric = _default_metric(seen.task)
    text = sweep_text(name, data, seen, fitting, metric)
    schema = _write_schema(path.absolute().parent)
    _write_new(path, text)
    return NewFile(path=path, schema=schema, name=name, look=seen, families=tuple(fitting), metric=metric)


def _open_split(data: Mapping[str, Json], base: Path, cache: Path) -> tuple[Mapping[str, Json], Dataset]:
    """The data; split by row where so few rows differ that sides by content would mean nothing."""
    from trainers.data.sources.opening import open_dataset

    by_row = {**data, "split": {"by": "row"}}
    try:
        dataset = open_dataset(data, base=base, cache=cache)
    except InputError as error:
        if error.key != ("data", "split"):
            raise
        try:
            return by_row, open_dataset(by_row, base=base, cache=cache)
        except InputError:
            raise error from None
    if has_few_different(dataset.splits, dataset.input_hashes):
        return by_row, open_dataset(by_row, base=base, cache=cache)
    return data, dataset


def sweep_name(source: str) -> str:
    """A sweep's name for a source: `digits` for `builtin:digits`, `churn` for `csv:data/churn.csv`."""
    scheme, _, rest = source.partition(":")
    last = Path(rest or scheme).name
    stem = last.split(".")[0] if last.strip(".") else scheme
    name = re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:63]
    return name or "sweep"


def suitable_families(dataset: Dataset) -> list[str]:
    """Built-in families that can learn from the data set, the heavy ones only where no other does."""
    fitting: list[str] = []
    heavy: list[str] = []
    for name in BUILT_IN:
        made: Family = load_reference(name)()
        try:
            made.check(dataset)
        except InputError:
            continue
        (heavy if made.heavy else fitting).append(name)
    return fitting or heavy


def rebase_source(data: Mapping[str, Json], before: Path, after: Path) -> JsonObject:
    """The data mapping with a relative path of its source starting from another folder."""
    scheme, _, rest = str(data["source"]).partition(":")
    path = Path(rest).expanduser()
    if scheme in {"builtin", "hf", "none"} or path.is_absolute() or before.resolve() == after.resolve():
        return dict(data)
    return {**data, "source": f"{scheme}:{os.path.relpath(before / path, after)}"}


def sweep_text(
    name: str, data: Mapping[str, Json], seen: DataProfile, families: Sequence[str], metric: str | None
) -> str:
    """The sweep file: what was seen as comments, and the keys that people change first."""
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        *(f"# {line}" for line in profile_lines(seen)),
        "",
    ]
    lines += [f"name: {name}", "seed: 0", *_data_lines(data, seen)]
    if metric:
        lines.append(f"objective: {{metric: {metric}}}   # on the validation split")
    lines += [
        f"budget: {{trials: {TRIALS}, epochs: {EPOCHS}}}   # trials a family; minutes: 30 sets a limit",
        "search: {sampler: tpe, pruner: asha}   # or random, qmc, gp, grid; median, hyperband, none",
        "families:   # `velodrome families NAME` shows what each one sweeps by itself",
    ]
    lines += [f"  {family}:" for family in families]
    lines += [
        f"    # space: {{extends: {families[-1]}, batch_size: {{type: int, low: 16, high: 64}}}}",
        "    # resources: {gpus: 0.5}",
    ]
    return "\n".join(lines) + "\n"


def profile_lines(seen: DataProfile) -> list[str]:
    """What is worth knowing of the data, a line each; nothing in them breaks a line."""
    parts = ", ".join(f"{rows:,} {part}" for part, rows in seen.parts.items())
    lines = [f"{seen.rows:,} rows of kind {seen.kind}, task {seen.task or 'unknown'}: {parts}"]
    if seen.classes:
        lines.append(f"{len(seen.classes)} classes: {_format_counts(seen.classes)}")
    if seen.missing:
        lines.append(f"missing values: {_format_counts(seen.missing)}")
    if seen.duplicates:
        lines.append(f"duplicates: {seen.duplicates:,} rows repeat an earlier one")
    if seen.conflicts:
        lines.append(f"conflicts: {seen.conflicts:,} rows share their features with a row of another target")
    for giveaway in seen.giveaways:
        said = f"{giveaway.metric} {giveaway.value:.4g}"
        lines.append(f"beware: {_one_line(giveaway.column)} alone gives the target away ({said}); drop it?")
    if seen.guess is not None:
        lines.append(
            f"always answering {_one_line(seen.guess.answer)} scores "
            f"{seen.guess.metric} {seen.guess.value:.4g}"
        )
    return lines + [_one_line(line) for line in seen.notes]


def _format_counts(counts: Mapping[str, int], most: int = 8) -> str:
    listed = ", ".join(f"{_one_line(name)} {count:,}" for name, count in list(counts.items())[:most])
    return f"{listed}, and {len(counts) - most} more" if len(counts) > most else listed


def _one_line(value: Json) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if text.isprintable() and len(text) <= 200 else ascii(text[:200])


def _data_lines(data: Mapping[str, Json], seen: DataProfile) -> list[str]:
    lines = ["data:", f"  source: {_scalar(str(data['source']))}"]
    if seen.task:
        lines.append(f"  task: {seen.task}")
    if isinstance(columns := data.get("columns"), dict):
        lines.append(f"  columns: {{target: {_scalar(str(columns['target']))}}}")
    if split := data.get("split"):
        assert isinstance(split, dict)
        lines.append(f"  split: {{by: {split['by']}}}   # few rows differ: each copy has a side of its own")
    if seen.giveaways:
        dropped = ", ".join(_scalar(giveaway.column) for giveaway in seen.giveaways)
        lines.append(f"  # columns: {{drop: [{dropped}]}}")
    return lines


def _scalar(text: str) -> str:
    """The text as YAML: plain where nothing in it could mean something else, else in double quotes."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.:/-]*[A-Za-z0-9_.-]", text) and text.lower() not in _WORDS
    return text if plain else json.dumps(text)


_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def _default_metric(task: str | None) -> str | None:
    from trainers.metric_names import USUAL

    return next((metric for known, metric in USUAL.items() if known == task), None)


def _refuse_existing(path: Path) -> None:
    if "\0" in str(path) or path.is_dir():
        raise WrongInput(
            "--output must be a file's name", quote_input(str(path)), "write --output digits.yaml"
        )
    if path.exists() or path.is_symlink():
        raise WrongInput(
            "a new sweep file must not replace one", f"{path} is there", "choose another with --output"
        )


def _write_schema(folder: Path) -> Path:
    """The schema beside the file, so that editors complete it without a network; kept up to date."""
    from flows.config.schema import json_schema

    path = folder / SCHEMA_FILE
    text = json.dumps(json_schema(), indent=1) + "\n"
    try:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageUnavailable("the folder of a new sweep file must be writable", str(error)) from error
    return path


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        _refuse_existing(path)
    except OSError as error:
        raise StorageUnavailable("a new sweep file must be writable", str(error)) from error
