"""What a lane needs of a family that is a function or a command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from infra.spec import FamilySpec
from infra.storage.kept_files import keep_files
from infra.storage.paths import FILES, KEPT
from trainers.functions.command import bind_command
from trainers.registry import COMMAND, is_function, load_reference
from trainers.types import Goal


def load_function(spec: FamilySpec, goals: Iterable[Goal], roots: Sequence[str]) -> Callable[..., object]:
    """The function of a family, or the one that its command is.

    Args:
        roots: folders of people's own code; where none is here, the current folder is Ray's copy of it.
    """
    if spec.reference == COMMAND:
        found = (Path(folder) for folder in roots)
        return bind_command(spec.options, next((f for f in found if f.is_dir()), Path.cwd()), goals)
    function = load_reference(spec.reference)
    assert is_function(function)
    return function


def keep_command_files(spec: FamilySpec, folder: Path) -> None:
    """What a command is to keep of its files, beside what a later attempt may write to.

    Args:
        folder: the trial's.
    """
    if spec.reference == COMMAND:
        keep_files(folder / FILES, folder / KEPT, spec.options.get("keep", ""))
