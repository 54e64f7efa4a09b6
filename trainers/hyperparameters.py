"""The hyper-parameters that training understands in every family, their defaults and their bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainers.data.augment import check_augment
from trainers.errors import InputError
from trainers.types import Json, JsonObject, Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameter:
    """One name that can be searched or set: its default, what values it takes, and what it does.

    Attributes:
        default: what training uses when a space leaves the name out.
        types: what a value may be; `float` also takes whole numbers.
        low, high: inclusive bounds for numbers; `above` an exclusive lower bound.
        choices: the only values, where there is a list of them.
        words: strings taken beside numbers (`all` for `batch_size`).
        of: for a list, the types of its items; the bounds then hold for each item.
        rule: a further check of the value, which raises `InputError`.
    """

    default: Json
    types: tuple[type, ...]
    doc: str
    low: float | None = None
    above: float | None = None
    high: float | None = None
    choices: tuple[Json, ...] | None = None
    words: tuple[str, ...] = ()
    of: tuple[type, ...] = ()
    rule: Callable[[Json], object] | None = None

    def check(self, name: str, value: Json) -> None:
        """Refuses a value that training could not use.

        Raises:
            InputError: with the name, what is allowed and what was found.
        """
        if isinstance(value, str) and value in self.words:
            return
        if self.choices is not None:
            if not any(value == choice and type(value) is type(choice) for choice in self.choices):
                raise InputError(
                    f"{name} must be one of {_join_choices(self.choices)}", repr(value), key=(name,)
                )
            return
        if not self._has_type(value):
            kinds = " or ".join([*(t.__name__ for t in self.types), *map(repr, self.words)])
            raise InputError(f"{name} must be {kinds}", repr(value), key=(name,))
        if isinstance(value, list) and self.of:
            for item in value:
                replace(self, types=self.of, of=(), rule=None).check(f"each item of {name}", item)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self._check_bounds(name, float(value))
        if self.rule is not None:
            self.rule(value)

    def _has_type(self, value: Json) -> bool:
        if value is None:
            return type(None) in self.types
        if isinstance(value, bool):
            return bool in self.types
        if isinstance(value, int):
            return int in self.types or float in self.types
        return isinstance(value, self.types)

    def _check_bounds(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise InputError(f"{name} must be a finite number", repr(value), key=(name,))
        if self.low is not None and value < self.low:
            raise InputError(f"{name} must be at least {self.low:g}", f"{value:g}", key=(name,))
        if self.above is not None and value <= self.above:
            raise InputError(f"{name} must be above {self.above:g}", f"{value:g}", key=(name,))
        if self.high is not None and value > self.high:
            raise InputError(f"{name} must be at most {self.high:g}", f"{value:g}", key=(name,))


def _join_choices(choices: tuple[Json, ...]) -> str:
    return ", ".join(str(choice) for choice in choices)


def whole(default: int, doc: str, *, low: float = 1, **more: Any) -> Hyperparameter:
    """A whole number."""
    return Hyperparameter(default=default, types=(int,), doc=doc, low=low, **more)


def real(default: float, doc: str, **more: Any) -> Hyperparameter:
    """A number."""
    return Hyperparameter(default=default, types=(float,), doc=doc, **more)


def flag(default: bool, doc: str) -> Hyperparameter:
    """Yes or no."""
    return Hyperparameter(default=default, types=(bool,), doc=doc)


def word(default: str, choices: tuple[str, ...], doc: str) -> Hyperparameter:
    """One of several words."""
    return Hyperparameter(default=default, types=(str,), choices=choices, doc=doc)


def widths(default: list[int], doc: str, **more: Any) -> Hyperparameter:
    """Whole numbers from 1 on, one a layer or block."""
    return Hyperparameter(default=default, types=(list,), of=(int,), low=1, doc=doc, **more)


RMSPROP_ALPHA = 0.99  # torch's

# Understood by the loop in every family.
TRAINING: Mapping[str, Hyperparameter] = {
    "learning_rate": real(1e-3, "step size at its peak", above=0.0),
    "optimizer": word("adam", ("sgd", "adam", "adamw", "rmsprop"), "torch.optim's of that name"),
    "momentum": real(0.0, "of sgd and rmsprop", low=0.0, high=1.0),
    "nesterov": Hyperparameter(default=False, types=(bool,), choices=(False, True), doc="sgd with momentum"),
    "beta1": real(0.9, "adam's and adamw's first moment", low=0.0, high=1.0),
    "beta2": real(
        0.999,
        f"second moment; rmsprop's alpha, which is {RMSPROP_ALPHA} unless this is set",
        low=0.0,
        high=1.0,
    ),
    "weight_decay": real(0.0, "L2; decoupled in adamw", low=0.0),
    "l1": real(0.0, "times the sum of absolute weights, added to the loss", low=0.0),
    "batch_size": whole(32, "examples a step and worker; all: full-batch", words=("all",)),
    "accumulate": whole(1, "batches whose gradients make one step"),
    "gradient_clip": Hyperparameter(
        default=None, types=(float, type(None)), above=0.0, doc="largest norm of the gradient"
    ),
    "weight_clip": Hyperparameter(
        default=None, types=(float, type(None)), above=0.0, doc="largest absolute weight after a step"
    ),
    "schedule": word("constant", ("constant", "step", "cosine", "warmup-cosine"), "of the learning rate"),
    "warmup": real(
        0.0, "share of the steps in which the rate rises; 0 with warmup-cosine: a tenth", low=0.0, high=1.0
    ),
    "label_smoothing": real(0.0, "of cross-entropy", low=0.0, high=0.999),
    "precision": word("fp32", ("fp32", "bf16"), "bf16: autocast"),
    "augment": Hyperparameter(
        default=None,
        types=(str, list, dict, type(None)),
        doc="random changes of a batch, by name or with strengths: see trainers.data.augment",
        rule=check_augment,
    ),
    "init": word(
        "default",
        ("default", "xavier", "kaiming", "normal", "orthogonal"),
        "of weight matrices and kernels; default: as torch does it",
    ),
}

# Understood by the families that name them (`Family.uses`).
OPTIONAL: Mapping[str, Hyperparameter] = {
    "activation": word("relu", ("relu", "sigmoid", "tanh", "gelu"), "between layers"),
    "pooling": word("max", ("max", "average"), "of convolution blocks"),
    "dropout": real(0.0, "share of units left out in training", low=0.0, high=0.999),
}

# Understood by every family whose options name a teacher.
TEACHING: Mapping[str, Hyperparameter] = {
    "teacher_temperature": real(2.0, "what the teacher's and the model's logits are divided by", above=0.0),
    "teacher_weight": real(0.5, "the teacher's share of the loss", low=0.0, high=1.0),
}

# Understood by every family whose options ask for private training.
PRIVACY: Mapping[str, Hyperparameter] = {
    "privacy_noise": real(1.0, "deviation of the noise, in units of privacy_clip", above=0.0),
    "privacy_clip": real(1.0, "largest norm of an example's gradient", above=0.0),
}


def fill_defaults(
    known: Mapping[str, Hyperparameter], params: Params, decided: Collection[str] = ()
) -> JsonObject:
    """Every known name with the sampled value or its default.

    Args:
        decided: names whose default somebody wrote, as an option, and which it then is for every optimizer.

    Raises:
        InputError: a name that nothing reads, or a value that cannot be used.
    """
    for name, value in params.items():
        if name not in known:
            raise InputError("a hyper-parameter must be one that the family reads", repr(name), key=(name,))
        known[name].check(name, value)
    filled = {name: params.get(name, entry.default) for name, entry in known.items()}
    if filled.get("optimizer") == "rmsprop" and "beta2" not in {*params, *decided}:
        filled["beta2"] = RMSPROP_ALPHA
    return filled
