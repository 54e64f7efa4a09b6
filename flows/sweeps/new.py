"""`velodrome new`: looks at a data source and writes a commented sweep file with the families that fit."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.config.writing.first_choices import first_choices
from flows.config.writing.objective_text import is_objective, objective_text
from flows.config.writing.sweep_text import SCHEMA_FILE, sweep_text
from flows.functions.documents import function_document
from infra.errors import StorageUnavailable, WrongInput
from infra.home import Home
from infra.names import quote_input
from trainers.data.sources.schemes import PATHS
from trainers.data.split import has_few_different
from trainers.errors import InputError
from trainers.registry import BUILT_IN, load_reference
from trainers.user_paths import expand_user

if TYPE_CHECKING:
    from flows.sweeps.preparation import SweepSource
    from trainers.data.dataset import Dataset
    from trainers.data_profile import DataProfile
    from trainers.family import Family
    from trainers.types import Json, JsonObject

_SCRIPTS = (".py", ".sh", ".ipynb")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """What was seen and written. `families`: those that fit the data; `schema`: for editors; `look`: None for
    an objective, whose space was traced."""

    path: Path
    schema: Path
    name: str
    look: DataProfile | None
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
            "data": None if self.look is None else self.look.to_json(),
        }


def new(
    source: str, *, target: str | None = None, output: Path | str | None = None, home: Home | None = None
) -> NewFile:
    """Reads the source and writes a sweep file for it; never over one that is there.

    Args:
        source: as in a sweep file: `builtin:digits`, `csv:churn.csv`, `images:pets`; or an Optuna objective,
            `module:function`, whose space is traced.
        target: the column to learn.
        output: the file; by default the sweep's name with `.yaml`, in the current folder.

    Raises:
        WrongInput: the file is there already, the source is a script or cannot be read, or no family fits.
    """
    _refuse_script(source)
    place = home or Home.from_environment()
    name = _objective_name(source) if is_objective(source) else sweep_name(source)
    path = Path(output) if output is not None else Path(f"{name}.yaml")
    _refuse_existing(path)
    if is_objective(source):
        return _write_objective(source, name, path)
    data: Mapping[str, Json] = {"source": source, **({"columns": {"target": target}} if target else {})}
    return _write_for_data(data, name, path, place.cache)


def find_sweep_file(given: Path | str) -> Path:
    """The file itself; for an Optuna objective the one of its name here, which is written where none is."""
    _refuse_script(str(given))
    if not is_objective(str(given)):
        return Path(given)
    path = Path(f"{_objective_name(str(given))}.yaml")
    return path if path.exists() else new(str(given)).path


def _refuse_script(given: str) -> None:
    """Refuses a script, or the words of a command, where data or a sweep file is to be named."""
    program, *words = given.split() or [""]
    is_called = bool(words) and shutil.which(program) is not None and not Path(given).exists()
    if ":" in given or not (given.endswith(_SCRIPTS) or is_called):
        return
    command = f"python {given}" if given.endswith(".py") and not words else given
    called = f"{command} ${{args}}".replace("'", "''")
    do = (
        f"write families: {{mine: {{command: '{called}', metrics: {{accuracy: 'acc=([0-9.]+)'}}, "
        "space: {lr: {type: float, low: 0.0001, high: 0.1, log: true}}}} into a sweep file, beside "
        "data: {source: none}"
    )
    raise WrongInput("a script must be a family of a sweep file", given, do)


def find_sweep(given: SweepSource | Callable[..., object], **of_function: Any) -> SweepSource:
    """What a sweep is read from: a mapping where it is given as such, or as a function; else a file.

    Args:
        of_function: as `flows.functions.documents.function_document` takes them.
    """
    if not isinstance(given, (Mapping, str, Path)):
        return function_document(given, **of_function)
    if named := [name for name, value in of_function.items() if value is not None]:
        do = "write it into the file, or give overrides=['budget.trials=20']"
        raise WrongInput(f"{named[0]} must come with a function", f"{named[0]} with a sweep file", do)
    return given if isinstance(given, Mapping) else find_sweep_file(given)


def _objective_name(reference: str) -> str:
    """`train-objective` for `mypkg.train:objective`."""
    module, _, function = reference.partition(":")
    return sweep_name(f"{module.rpartition('.')[2]}-{function}".replace("_", "-"))


def _write_objective(reference: str, name: str, path: Path) -> NewFile:
    text = objective_text(name, reference)
    schema = _write_schema(path.absolute().parent)
    _write_new(path, text)
    return NewFile(path=path, schema=schema, name=name, look=None, families=(reference,), metric="value")


def _write_for_data(data: Mapping[str, Json], name: str, path: Path, cache: Path) -> NewFile:
    """What is seen of the data decides the families, and their first choices."""
    from trainers.data_profile import profile_dataset

    relative_to = Path.cwd()
    data, dataset = _open_split(data, relative_to, cache)
    seen = profile_dataset(dataset)
    fitting = suitable_families(dataset)
    if not fitting:
        kind = f"{seen.kind} for {seen.task or 'no task'}"
        do = "`velodrome families` lists what each one reads; a family or a function of your own may read it"
        raise InputError("a built-in family must fit the data", kind, do)
    data = rebase_source(data, relative_to, path.absolute().parent)
    choices = first_choices(seen, fitting)
    text = sweep_text(name, data, seen, fitting, choices)
    schema = _write_schema(path.absolute().parent)
    _write_new(path, text)
    return NewFile(
        path=path, schema=schema, name=name, look=seen, families=tuple(fitting), metric=choices.metric
    )


def _open_split(data: Mapping[str, Json], base: Path, cache: Path) -> tuple[Mapping[str, Json], Dataset]:
    """The data; split by row where so few rows differ that sides by content would mean nothing."""
    from trainers.data.sources.opening import open_dataset

    data = {**data, **_propose_reading(str(data["source"]), base)}
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


def _propose_reading(source: str, base: Path) -> Mapping[str, Json]:
    """`data.read` where the file is in an encoding that a look at it does not take."""
    from trainers.data.disk.paths import locate_source
    from trainers.data.sources.files import propose_reading
    from trainers.data.sources.opening import read_source

    scheme, _, rest = read_source(source).partition(":")
    read = propose_reading(locate_source(base, rest)) if scheme == "csv" else {}
    return {"read": read} if read else {}


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
    path = expand_user(rest)
    if scheme not in PATHS or path.is_absolute() or before.resolve() == after.resolve():
        return dict(data)
    return {**data, "source": f"{scheme}:{os.path.relpath(before / path, after)}"}


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
