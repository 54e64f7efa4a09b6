"""What a sweep file says of a command: how it is called, and where its metrics are found."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from trainers.code.digest import file_digest, local_modules
from trainers.code.importing import source_sha256
from trainers.commands.config_file import SUFFIXES
from trainers.errors import InputError
from trainers.nearest import advice
from trainers.types import Params

PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
# What only a shell reads: operators and redirections, its own commands, its variables, assignments in front.
_SHELL = re.compile(r"\||\|\||&|&&|;|[^'\"]*;|\d?>>?(?:&\d|[^'\"]*)|&>.*|<.*")
_BUILT_IN = ("cd", "export", "source", ".", "ulimit", "set")
_VARIABLE = re.compile(r"[^'\"]*\$(?:\w|\().*|~/.*")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*")
OWN_NAMES = ("args", "config", "directory", "seed", "trial", "attempt", "epochs")
_DATA_BYTES = 16 << 20
FILE = "file"  # the one key of `metrics` where a file holds them
MLFLOW = "mlflow"  # all of `metrics` where the command logs them


class CommandOptions(BaseModel):
    """How a command is called.

    Attributes:
        command: its words, without a shell; `${args}`, `${directory}`, `${seed}`, `${trial}`, `${attempt}`,
            `${epochs}` and `${name}` of a parameter are replaced.
        metrics: regular expressions by metric, over what is printed, or `{file: NAME}` in the directory, or
            `mlflow` where the command logs them so.
        config: a YAML or JSON file below the folder of the call; `${config}` is a copy of it in the trial's
            directory that has the parameters in it.
        args: what `${args}` becomes: `--name value`, the same with `--no-name` for a false flag,
            `--name=value`, `name=value`; with `environment` the command reads VELODROME_PARAMS, and no
            parameter need be named.
        resume: words that are added where the files below `${directory}` that they name are there.
        resume_from: the file below the trial's directory that decides it, where `resume` names none.
        keep: a file or folder below the trial's directory that is kept with the trial.
        predict: `package.module:name` of a function that answers rows with what is kept, which makes it the
            trial's model; it is given the path, or what `load`, the same of a function of the path, made of
            it.
        build: the same of a function of the params that makes the torch module whose weights are kept, as a
            checkpoint of torch's; `predict` is then given the module.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str
    metrics: dict[str, str] | Literal["mlflow"]
    args: Literal["dashes", "switches", "equals", "hydra", "environment"] = "dashes"
    resume: str = ""
    resume_from: str | None = None
    keep: str = ""
    predict: str | None = None
    load: str | None = None
    build: str | None = None
    config: str | None = None

    @property
    def file(self) -> str | None:
        """The file that holds the metrics; None where they are printed or logged."""
        return self.patterns[FILE] if set(self.patterns) == {FILE} else None

    @property
    def patterns(self) -> dict[str, str]:
        """What the metrics are written as; nothing where they are logged by MLflow."""
        return self.metrics if isinstance(self.metrics, dict) else {}


def read_command(options: Params) -> CommandOptions:
    """The options as their typed model.

    Raises:
        InputError: a key is missing, unknown or of another type.
    """
    try:
        return CommandOptions.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        key = tuple(str(part) for part in first["loc"][:1])
        raise InputError(
            f"a command's {key[0] if key else 'options'} must be valid: {first['msg']}",
            repr(first.get("input"))[:200],
            "write command: python train.py ${args} and metrics: {accuracy: 'acc=([0-9.]+)'}",
            key=key,
        ) from error


def check_command(options: CommandOptions, searched: Collection[str], conditional: Collection[str]) -> None:
    """Refuses a command that cannot be called with the configurations of its space.

    Args:
        searched: all parameters of the space; `conditional` are those that some configurations lack.

    Raises:
        InputError: with the key that is to blame.
    """
    words = _split_words(options.command, "command")
    if not words:
        raise InputError("command must name a program", "nothing", "write python train.py", key=("command",))
    _refuse_shell(options.command, "command")
    _refuse_shell(options.resume, "resume")
    named = _names_in(words, "command", searched)
    resume = _split_words(options.resume, "resume")
    _names_in(resume, "resume", searched)
    _check_resume(options, resume)
    if partly := sorted(named & set(conditional)):
        do = "use ${args}, which leaves out what a trial does not have"
        raise InputError("a parameter with `when` must not stand alone", partly[0], do, key=("command",))
    _check_config(options, named - set(searched))
    unread = sorted(set(searched) - named)
    if unread and not named & {"args", "config"} and options.args != "environment":
        do = f"add ${{args}} or ${{{unread[0]}}}, or args: environment where it reads VELODROME_PARAMS"
        raise InputError(
            "a command must be given every parameter of its space", unread[0], do, key=("command",)
        )
    _check_metrics(options)
    if options.keep and not _is_below(options.keep):
        do = "write a path within it, such as model/"
        raise InputError("keep must lie below the trial's directory", options.keep, do, key=("keep",))
    _check_answering(options)


def command_digest(options: Params, root: Path) -> str:
    """16 hex digits over how the command is called, and over the files that it names or imports: those below
    the root, and scripts and settings that lie elsewhere."""
    found = read_command(options)
    called = found.model_dump(exclude_none=True)  # sweeps of before know nothing of the later keys
    digest = hashlib.sha256(json.dumps(called, sort_keys=True).encode())
    for name, path in {**command_files(options, root), **_files_elsewhere(found, root)}.items():
        digest.update(name.encode() + file_digest(path))
    return digest.hexdigest()[:16]


def script_digest(options: Params, root: Path) -> str:
    """64 hex digits over the Python files that the command names or that these import, and not over others:
    a command may well write to what it names."""
    named = {**command_files(options, root), **_files_elsewhere(read_command(options), root)}
    digest = hashlib.sha256()
    for name, path in sorted(named.items()):
        if path.suffix == ".py":
            digest.update(name.encode() + file_digest(path))
    return digest.hexdigest()


def _files_elsewhere(options: CommandOptions, root: Path) -> dict[str, Path]:
    """Files that a command names by `..` or from `/`, and what Python ones import from beside them. Not
    programs, which have a version, nor what is as large as data is."""
    words = {word: root / word for word in shlex.split(options.command) if "$" not in word}
    named = {
        word: path
        for word, path in words.items()
        if not _is_below(word) and path.suffix and path.is_file() and path.stat().st_size < _DATA_BYTES
    }
    scripts = [(word, path) for word, path in named.items() if path.suffix == ".py"]
    return named | {
        f"{word}: {module}": file
        for word, path in scripts
        for module, file in local_modules(path.stem, path.parent).items()
    }


def command_files(options: Params, root: Path) -> dict[str, Path]:
    """The files below the root that the command names, and what its Python files import from beside them,
    by their path below it."""
    found = read_command(options)
    words = [word for word in shlex.split(found.command) if "$" not in word]
    words += [found.config] if found.config is not None else []
    files = {word: root / word for word in words if _is_below(word) and (root / word).is_file()}
    scripts = [path for path in files.values() if path.suffix == ".py"]
    modules = [file for path in scripts for file in local_modules(path.stem, path.parent).values()]
    for option, module in pairwise(words):
        if option == "-m" and all(part.isidentifier() for part in module.split(".")):
            modules += local_modules(module, root).values()
    return files | {path.relative_to(root).as_posix(): path for path in modules}


def _split_words(text: str, key: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(
            f"{key} must be words as in a shell", str(error), "close the quotes", key=(key,)
        ) from error


def _refuse_shell(text: str, key: str) -> None:
    """Refuses what only a shell understands: a program would be given it as one more argument."""
    words = shlex.split(text, posix=False)  # with their quotes
    alien = [word for word in words if _SHELL.fullmatch(word) or _VARIABLE.fullmatch(word)]
    whole = text if len(text) < 80 and "'" not in text else "…"
    do = f"write sh -c '{whole}', or put the word in quotes"
    if key == "command" and _ASSIGNMENT.fullmatch(words[0]):
        alien, do = words[:1], f"write env {words[0]} …"
    elif key == "command" and words[0] in _BUILT_IN:
        alien = words[:1]
    if alien:
        must = f"{key} must be words for a program: no shell reads them"
        raise InputError(must, alien[0], do, key=(key,))


def _names_in(words: Collection[str], key: str, searched: Collection[str]) -> set[str]:
    """The names in `${…}`, each of which must be known."""
    named = {name for word in words for name in PLACEHOLDER.findall(word)}
    known = {*OWN_NAMES, *searched}
    for name in sorted(named - known):
        do = f"{advice(name, sorted(known))}; a shell's own is ${name.partition(':')[0]}"
        raise InputError(f"{key} must use names of the space, or ours", f"${{{name}}}", do, key=(key,))
    return named


def _check_config(options: CommandOptions, named: Collection[str]) -> None:
    if ("config" in named) != (options.config is not None):
        do = "write config: train.yaml, and ${config} where the command is given its path"
        found = "no config" if options.config is None else "a command without it"
        raise InputError("config must go with ${config} in the command", found, do, key=("config",))
    if options.config is not None and not (_is_below(options.config) and options.config.endswith(SUFFIXES)):
        do = "write its path from where the sweep is run"
        must = f"config must be a file of {' or '.join(SUFFIXES)} below the folder of the call"
        raise InputError(must, options.config, do, key=("config",))


def _check_resume(options: CommandOptions, words: Collection[str]) -> None:
    if options.resume_from is not None:
        if not words or not _is_below(options.resume_from):
            do = "write resume: --resume and resume_from: last.ckpt, a path within the trial's directory"
            raise InputError(
                "resume_from must be the file that resume goes on from",
                options.resume_from,
                do,
                key=("resume_from",),
            )
    elif words and not any("${directory}" in word for word in words):
        do = "write --resume ${directory}/last.ckpt, or resume_from: last.ckpt beside it"
        raise InputError("resume must name a file below ${directory}", options.resume, do, key=("resume",))


def _check_metrics(options: CommandOptions) -> None:
    if options.metrics == MLFLOW:
        return
    if not options.metrics:
        do = "write metrics: {accuracy: 'acc=([0-9.]+)'}"
        raise InputError("metrics must name what the command prints", "nothing", do, key=("metrics",))
    if options.file is not None:
        if not _is_below(options.file) or not options.file.endswith((".jsonl", ".csv")):
            do = "write metrics.jsonl or metrics.csv, and have the command write it to ${directory}"
            must = "metrics.file must be a .jsonl or .csv below the trial's directory"
            raise InputError(must, options.file, do, key=("metrics", FILE))
        return
    for name, pattern in options.patterns.items():
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            must = f"the expression of {name} must be a regular expression"
            raise InputError(must, f"{pattern!r}: {error}", key=("metrics", name)) from error
        if groups == 0:
            do = r"put the number into brackets: 'acc=([0-9.]+)'"
            must = f"the expression of {name} must have a group"
            raise InputError(must, repr(pattern), do, key=("metrics", name))


def _check_answering(options: CommandOptions) -> None:
    for key in ("predict", "build"):
        if getattr(options, key) is not None and not options.keep:
            do = "write keep: model/, a file or folder that the command makes in ${directory}"
            raise InputError(f"{key} must be told what is the model", "no keep", do, key=(key,))
    if options.load is not None and options.predict is None:
        do = "add predict: package.module:name"
        raise InputError("load must be told who asks what it gives", "no predict", do, key=("load",))
    if options.load is not None and options.build is not None:
        do = "drop load, where what is kept are a module's weights"
        raise InputError("load must not come with build, which loads them", "both", do, key=("load",))
    for key in ("predict", "load", "build"):
        if (name := getattr(options, key)) is not None:
            try:
                source_sha256(name)
            except InputError as error:
                raise InputError(error.must, error.found, error.do, key=(key,)) from error


def _is_below(path: str) -> bool:
    found = Path(path)
    return not found.is_absolute() and ".." not in found.parts and found.parts != ()


def parameters_json(params: Mapping[str, object]) -> str:
    """VELODROME_PARAMS: the configuration as JSON."""
    return json.dumps(dict(params), sort_keys=True)
