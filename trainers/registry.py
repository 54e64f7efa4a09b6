"""Which families there are, and how a reference in a sweep file becomes a class or a function.

Importing this module imports no family and no torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

from trainers.code.carried import find_carried, is_carried
from trainers.code.digest import source_digest
from trainers.code.function_digest import function_digest
from trainers.code.importing import import_module
from trainers.commands.options import command_digest
from trainers.errors import InputError, describe_error
from trainers.family import Family
from trainers.nearest import advice

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from trainers.types import Params

BUILT_IN: Mapping[str, str] = {
    "linear_regression": "trainers.families.linear_regression:LinearRegression",
    "logistic_regression": "trainers.families.logistic_regression:LogisticRegression",
    "gradient_boosting": "trainers.families.gradient_boosting:GradientBoosting",
    "image_cnn": "trainers.families.image_cnn:ImageCNN",
    "text_cnn": "trainers.families.text_cnn:TextCNN",
    "mlp": "trainers.families.mlp:MLP",
    "rnn": "trainers.families.rnn:RNN",
    "vgg16": "trainers.families.vgg16:VGG16",
    "autoencoder": "trainers.families.autoencoder:Autoencoder",
    "gan": "trainers.families.gan:GAN",
    "transformer": "trainers.families.transformer:Transformer",
    "t5": "trainers.families.t5:T5",
    "bert": "trainers.families.bert:Bert",
    "two_tower": "trainers.families.two_tower:TwoTower",
}

COMMAND = "trainers.functions.command:run_command"  # what families with `command` refer to; options say which

Reference = type[Family] | FunctionType


def load_reference(reference: str) -> Reference:
    """The Family class, or the plain training function, that a sweep file names.

    Args:
        reference: a built-in family's name, or `package.module:name`.

    Raises:
        InputError: no such family, module or name; or the thing is neither a Family nor a function.
    """
    carried = find_carried(reference)
    if carried is not None:
        return carried
    if is_carried(reference):
        raise InputError(
            "code must be importable by its name in another process",
            f"{reference}, of a notebook or a script itself",
            "put the function into a module beside it and name that, or give it to velodrome.sweep there",
        )
    target = BUILT_IN.get(reference, reference)
    module_name, _, attribute = target.partition(":")
    if not attribute:
        do = advice(reference, BUILT_IN)
        raise InputError("a family must be built in or package.module:name", repr(reference), do)
    try:
        found = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{reference} must be importable",
            describe_error(error),
            "run from the folder that holds it",
        ) from error
    if inspect.isclass(found) and issubclass(found, Family):
        return found
    if inspect.isfunction(found):
        return found
    called = f"{attribute}(…)" if inspect.isclass(found) else attribute
    do = f"write a function: def train(trial): return {called}(trial)" if callable(found) else ""
    raise InputError(f"{reference} must be a Family class or a function", type(found).__name__, do)


def is_function(reference: Reference) -> TypeIs[FunctionType]:
    """Whether the reference is a plain training function."""
    return inspect.isfunction(reference)


def source_hash(reference: str, options: Params | None = None, root: Path | None = None) -> str:
    """16 hex digits over the sources that decide how the family trains, so that a change of code is noticed.

    For a command these are its options and the files below the root that it names.

    See `trainers.code.digest.source_digest`: the family's file, what it imports from its own folder, and,
    for a Family class, the training that all families share.
    """
    if reference == COMMAND:
        return command_digest(options or {}, root or Path.cwd())
    found = load_reference(reference)
    if is_function(found) and is_carried(reference):
        return function_digest(found)[:16]
    return source_digest(found)[:16]
