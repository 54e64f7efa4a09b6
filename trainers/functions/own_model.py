"""What a training function names as its model, and what it keeps of its files."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from trainers.bundle.frames import as_frame, frame_to_json
from trainers.code.exits import blame_code
from trainers.code.importing import source_sha256
from trainers.code.references import resolve_reference
from trainers.errors import InputError, TrialError
from trainers.functions.state_dicts import plain_weights
from trainers.kept.description import KeptModel
from trainers.kept.estimators import write_estimator
from trainers.kept.files import LoadedModel, describe_path, load_kept, pack_files

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.types import Array, Cell, JsonObject, Params

ExampleRows: TypeAlias = "pd.DataFrame | Mapping[str, Cell] | Sequence[Cell] | Array"
_MOST_ROWS = 5  # of an example


@dataclass(frozen=True, slots=True, kw_only=True)
class UserModel:
    """What `trial.model` was told: the module, and how to build it and predict with it elsewhere."""

    module: torch.nn.Module
    code: Mapping[str, str]  # `build`, `build_sha256`, and the same for `predict` where it is given


class OwnModel:
    """The model of one attempt, and the file or folder that is kept with it.

    Attributes:
        module: the torch module that was named.
        files: the model of files that was named; the later of the two counts.
        kept: what is kept as an artifact, below the directory; empty: nothing.
        example: rows that the model takes, as JSON; empty: none were given.
    """

    def __init__(self, directory: Path, *, writes: bool) -> None:
        """Nothing is named yet.

        Args:
            writes: whether files are written by this rank.
        """
        self._directory, self._writes = directory, writes
        self.module: UserModel | None = None
        self.files: KeptModel | None = None
        self.kept = ""
        self.example: JsonObject = {}

    def name_module(self, module: torch.nn.Module, build: str | None, predict: str | None) -> UserModel:
        """A torch module, without the wrapper of data-parallel training."""
        if build is None:
            do = "give build='package.module:name', a function of the params that makes it again"
            raise InputError("trial.model must be told who builds the module elsewhere", "no build", do)
        code = {"build": build, "build_sha256": source_sha256(build)}
        if predict is not None:
            code |= {"predict": predict, "predict_sha256": source_sha256(predict)}
        self.module, self.files = UserModel(module=module, code=code), None
        return self.module

    def check_rebuilt(self, params: Params) -> None:
        """Refuses a module that could not be loaded again, before a trial is spent on it.

        Raises:
            InputError: `build` is no function of people's own, raises, or makes another module.
        """
        import torch

        if self.module is None:
            return
        name, module = self.module.code["build"], self.module.module
        must = f"{name} must make the module of trial.model again, of the trial's params"
        build = resolve_reference(name)
        if "predict" in self.module.code:
            resolve_reference(self.module.code["predict"])
        with blame_code(must), torch.random.fork_rng(devices=[]):
            made: object = build(**params)
        if not isinstance(made, torch.nn.Module):
            raise InputError(must, f"it returned {type(made).__name__}")
        try:
            made.load_state_dict(plain_weights(module))
        except RuntimeError as error:
            raise InputError(
                must, f"its weights do not fit: {str(error).splitlines()[-1].strip()}"
            ) from error

    @property
    def answers_raw(self) -> bool:
        """Whether a module was named and nobody who answers with it in a person's terms."""
        return self.module is not None and "predict" not in self.module.code

    def name_estimator(
        self, model: object, predict: str | None, trusted: Collection[str]
    ) -> KeptModel | None:
        """A model of another library, written as it is now; None where another rank writes it."""
        if not self._writes:
            return None
        if predict is not None:
            source_sha256(predict)
        self._name_files(write_estimator(model, self._directory, predict=predict, trusted=trusted))
        return self.files

    def keep(self, path: Path | str, predict: str | None, load: str | None) -> None:
        """A file or folder, which may be a model."""
        found = self._directory / path
        if not found.exists() or found.resolve() == self._directory.resolve():
            raise TrialError("trial.keep must be given a file or a folder that is there", str(path))
        if self._writes:
            below = self._bring_below(found)
            self.kept = below.as_posix()
            model = describe_path(self._directory / below, self.kept, predict=predict, load=load)
            if model is not None:
                self._name_files(model)

    def _name_files(self, model: KeptModel) -> None:
        self.files, self.module = model, None

    def _bring_below(self, found: Path) -> Path:
        """The path below the directory; a copy is made of what lies elsewhere."""
        top = self._directory.resolve()
        if not found.resolve().is_relative_to(top):
            copied = self._directory / found.name
            if found.is_dir():
                shutil.copytree(found, copied, dirs_exist_ok=True)
            else:
                shutil.copy2(found, copied)
            found = copied
        return found.resolve().relative_to(top)

    def take_example(self, example: ExampleRows | None) -> None:
        """Rows that the model takes; a model of files must answer them here."""
        if example is None or not self._writes:
            return
        rows = _example_frame(example)[:_MOST_ROWS]
        self.example = frame_to_json(rows)
        if self.files is not None:
            document, content = pack_files(self.files, self._directory)
            _ask(load_kept(document, content), rows)


def _example_frame(example: ExampleRows) -> pd.DataFrame:
    """As rows are given elsewhere."""
    try:
        rows = as_frame(example, ())
    except (InputError, TypeError, ValueError) as error:
        do = "give a frame, a list of rows by column, an array of numbers [rows, columns], or texts"
        raise InputError("an example must be rows as the model takes them", str(error)[:200], do) from error
    if rows.empty:
        raise InputError("an example must have a row at least", "none", "give a few as the model takes them")
    return rows


def _ask(model: LoadedModel, rows: pd.DataFrame) -> None:
    try:
        model.ask(rows)
    except InputError:
        raise
    except Exception as error:  # people's code, or a library, about rows that it cannot take
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise InputError(
            "a model must answer its own example", text, "correct example= or predict="
        ) from error
