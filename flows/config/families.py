"""One family of a sweep file held against its code: reference, options, space and start configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.config.commands import check_call, command_options, refuse_command_keys
from flows.config.encoders import resolve_beginning
from flows.config.errors import Path, redacted_repr
from flows.config.family_entry import FamilyEntry
from flows.config.loading import SweepFile
from infra.errors import WrongInput, join_errors
from infra.spec import FamilySpec, Resources
from search_spaces.choices import Choices, Constant
from search_spaces.errors import SearchSpaceInputError
from search_spaces.files import built_in_spaces
from search_spaces.inheritance import list_faults
from search_spaces.nearest import advice
from search_spaces.ranges import FloatRange, IntRange
from search_spaces.reading import Parameter
from search_spaces.space import Space
from trainers.code.exits import keep_process
from trainers.data.dataset import Dataset
from trainers.errors import InputError, describe_error
from trainers.family import Family
from trainers.functions.training_call import check_training_function
from trainers.hyperparameters import TRAINING, Hyperparameter
from trainers.registry import COMMAND, Reference, is_function, load_reference
from trainers.stacking.structure import why_not
from trainers.types import Json, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFamily:
    """What a family of the file comes to: its class or function, its space, its start configurations, and the
    trial of an earlier sweep whose weights it takes."""

    code: Reference
    options: JsonObject
    space: Space
    start_with: tuple[JsonObject, ...]
    begins_with: JsonObject


def check_family(file: SweepFile, reference: str, entry: FamilyEntry) -> CheckedFamily:
    """The family, imported and checked.

    Raises:
        WrongInput: it cannot be imported, an option or a name of its space is not read, a value cannot be
            used, or a start configuration lies outside the space.
    """
    path: Path = ("families", reference)
    if entry.command is not None:
        options = command_options(file, reference, entry)
        code = load_code(file, COMMAND)
        space = _space(file, code, entry.space, path, {}, frozenset())
        check_call(file, reference, options, space)
        starts = _start_configurations(file, entry, space, path)
        return CheckedFamily(code=code, options=options, space=space, start_with=starts, begins_with={})
    refuse_command_keys(file, reference, entry)
    code = load_code(file, reference)
    options, begins_with = resolve_beginning(file, dict(entry.options or {}), path)
    first = _first_choices(code, entry.space)
    if twice := sorted(first.keys() & options.keys()):
        key = (*path, "space", twice[0])
        raise file.written.error_at(key, "not stand in options too", repr(twice[0]), "drop it there")
    options = {**options, **first}
    family = _instance(file, code, options, path)
    fixed = {} if family is None else _fixed_values(file, family, options, entry.space, path)
    space = _space(file, code, entry.space, path, fixed, _dropped_names(file, code, family, entry.space))
    if family is not None:
        _check_names(file, family, space, path)
    starts = _start_configurations(file, entry, space, path)
    return CheckedFamily(code=code, options=options, space=space, start_with=starts, begins_with=begins_with)


def _start_configurations(
    file: SweepFile, entry: FamilyEntry, space: Space, path: Path
) -> tuple[JsonObject, ...]:
    starts = tuple(dict(params) for params in entry.start_with or ())
    wrong = []
    for index, params in enumerate(starts):
        try:
            space.check_params(params)
        except SearchSpaceInputError as error:
            wrong.append(file.locate_error(error, (*path, "start_with", index)))
    if wrong:
        raise join_errors(wrong)
    return starts


def check_with_data(file: SweepFile, family: FamilySpec, dataset: Dataset) -> None:
    """Refuses a family that cannot learn from the data, and what such data has no use for.

    Raises:
        WrongInput: with the key that is to blame.
    """
    code = load_code(file, family.reference)
    if not isinstance(code, type):
        return
    try:
        with keep_process():
            made: Family = code(family.options)
            made.check(dataset)
            parameters = Space.from_json(family.space).parameters
            searched = {entry.name: [value for _, value in _extremes(entry)] for entry in parameters}
            made.check_searched(dataset, searched)
    except InputError as error:
        raise file.locate_error(error, ("families", family.reference)) from error


def load_code(file: SweepFile, reference: str) -> Reference:
    """The class or function that a family's key names."""
    path: Path = ("families", reference)
    try:
        found = load_reference(reference)
        if is_function(found) and reference != COMMAND:
            check_training_function(found)
        return found
    except InputError as error:
        raise file.locate_error(error, path) from error
    except (Exception, SystemExit) as error:  # importing people's code can raise anything: theirs to correct
        said = describe_error(error, 300)
        raise file.written.error_at(path, "be importable", said, "correct the module") from error


def may_shard(code: Reference) -> bool:
    """Whether the weights can be sharded over workers: not where code makes its own steps."""
    return isinstance(code, type) and issubclass(code, Family) and code.train_step is Family.train_step


def why_alone(code: Reference, options: JsonObject, resources: Resources) -> str | None:
    """Why the trials of a family are trained one by one; None where several may be one program."""
    if not isinstance(code, type):
        return "a function is called once a trial"
    if resources.fresh_process:
        return "each trial has a process of its own"
    return why_not(code(options), {}) or ("a trial has several workers" if resources.workers > 1 else None)


def _instance(file: SweepFile, code: Reference, options: Mapping[str, Json], path: Path) -> Family | None:
    if is_function(code):
        if options:
            raise file.written.error_at(
                (*path, "options"),
                "be left out for a function",
                redacted_repr(dict(options)),
                "use constants in space",
            )
        return None
    assert isinstance(code, type)
    try:
        with keep_process():
            family: Family = code(options)
    except InputError as error:
        raise file.locate_error(error, path) from error
    return family


def _first_choices(code: Reference, space: Json) -> JsonObject:
    """The first choice of each option that the file's space searches: what it can be is alike in all."""
    names = getattr(code, "chosen", ())
    if not isinstance(space, dict):
        return {}
    written = {name: space[name].get("choices") for name in names if isinstance(space.get(name), dict)}
    return {name: choices[0] for name, choices in written.items() if isinstance(choices, list) and choices}


def _fixed_values(
    file: SweepFile, family: Family, options: Mapping[str, Json], space: Json, path: Path
) -> JsonObject:
    """What an inherited space does not search: hyper-parameters among the options, and a preset's structure.

    The training hyper-parameters of a preset are only where its own authors began, so they stay searched.
    """
    known = family.list_hyperparameters()
    for name in (*options, *family.decided):
        if name in known and isinstance(space, dict) and name in space:
            do = "drop it: options are not searched, nor what they decide"
            raise file.written.error_at((*path, "space", name), "not stand in options too", repr(name), do)
    structure = set(family.presets.get(family.preset or "", {})) - TRAINING.keys()
    fixed = structure | options.keys() | family.decided
    return {name: known[name].default for name in known if name in fixed}


def _dropped_names(file: SweepFile, code: Reference, family: Family | None, space: Json) -> frozenset[str]:
    """What a family's own space searches that has no meaning with these options, or beside clips, where its
    `augment` is of pictures. In a space that people wrote themselves it is an error."""
    inherited = space.get("extends") if isinstance(space, dict) else space
    if family is None or (space is not None and inherited != _own_space(code)):
        return frozenset()
    return family.unread | ({"augment"} if file.sweep.data.source.startswith("audio:") else set())


def _space(
    file: SweepFile,
    code: Reference,
    given: Any,
    path: Path,
    fixed: Mapping[str, Json],
    dropped: frozenset[str],
) -> Space:
    if given is None and is_function(code):
        do = "write space: {learning_rate: {type: float, low: 1e-4, high: 1e-1, log: true}}"
        raise file.written.error_at((*path, "space"), "be given for a function", "nothing", do)
    try:
        return Space.from_mapping(_own_space(code) if given is None else given, file.folder, fixed, dropped)
    except SearchSpaceInputError as error:
        faults = [error, *(list_faults(given) if isinstance(given, Mapping) else ())]
        raise join_errors([file.locate_error(fault, (*path, "space")) for fault in faults]) from error


def _own_space(code: Reference) -> str:
    """The space of the family's name, else what training understands everywhere."""
    name = getattr(code, "name", "")
    return name if name in built_in_spaces() else "training"


def _check_names(file: SweepFile, family: Family, space: Space, path: Path) -> None:
    known = family.list_hyperparameters()
    for parameter in space.parameters:
        key = (*path, "space", parameter.name)
        if parameter.name in family.chosen:
            _check_choices(file, family, parameter, key)
            continue
        if parameter.name not in known:
            raise _unread_error(file, family, parameter.name, known, key)
        for part, value in _extremes(parameter):
            _check_value(file, known[parameter.name], parameter.name, value, (*key, *part))


def _check_choices(file: SweepFile, family: Family, parameter: Parameter, key: Path) -> None:
    """Models to begin with, all of another's kind: the space leaves out what they decide."""
    from trainers.pretrained import hub

    if family.options.sha256 is not None:
        must, do = "stand without options.sha256, which is one model's", "drop the hash"
        raise file.written.error_at(key, must, family.options.sha256, do)
    for _, value in _extremes(parameter):
        if not isinstance(value, str) or hub.is_file(value):
            do = "name folders of transformers' models, or names on the hub"
            raise file.written.error_at(key, "choose among models", redacted_repr(value), do)
        try:
            hub.find_folder(value, option=parameter.name)
        except InputError as error:
            raise file.written.error_at(
                key, f"fit the family: {error.must}", error.found, error.do
            ) from error


def _unread_error(
    file: SweepFile, family: Family, name: str, known: Mapping[str, Hyperparameter], key: Path
) -> WrongInput:
    label = family.name or type(family).__name__
    if name in family.Options.model_fields or name == "preset":
        do = "it is an option: move it to options"
    else:
        do = advice(name, known)
    return file.written.error_at(key, f"be a hyper-parameter that {label} reads", repr(name[:80]), do)


def _check_value(file: SweepFile, entry: Hyperparameter, name: str, value: Json, key: Path) -> None:
    try:
        entry.check(name, value)
    except InputError as error:
        raise file.written.error_at(key, f"fit the family: {error.must}", error.found, error.do) from error


def _extremes(parameter: Parameter) -> list[tuple[tuple[str, ...], Json]]:
    """The values whose check stands for all, and the key of the definition that each comes from."""
    domain = parameter.domain
    if isinstance(domain, (FloatRange, IntRange)):
        return [(("low",), domain.low), (("high",), domain.high)]
    if isinstance(domain, Choices):
        return [(("choices",), choice) for choice in domain.choices]
    assert isinstance(domain, Constant)
    return [((), domain.value)]
