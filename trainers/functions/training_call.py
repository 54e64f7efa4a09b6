"""Whether a training function can be called with a trial, and has trained when its call returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from trainers.errors import InputError


def check_training_function(function: Callable[..., object]) -> None:
    """Refuses what cannot be called with a trial alone, or whose call trains nothing, without calling it.

    Raises:
        InputError: with what to write in its place.
    """
    name = _name_of(function)
    if inspect.isclass(function):
        do = f"write def train(trial): return {name}(…)(trial)"
        raise InputError("own code must be a function of the trial", f"the class {name}", do)
    try:
        # A decorator may give more arguments than it takes: what is wrapped is not asked.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # native code may have none
        return
    try:
        signature.bind(None)
    except TypeError as error:
        do = "write def train(trial): …, with what was sampled in trial.params"
        must = "a training function must take one argument, the trial"
        raise InputError(must, f"{name}{signature}", do) from error
    _refuse_deferred(
        name,
        coroutine=inspect.iscoroutinefunction(function),
        generator=inspect.isgeneratorfunction(function),
        async_generator=inspect.isasyncgenfunction(function),
    )


def check_has_trained(function: Callable[..., object], returned: object) -> None:
    """Refuses a function whose call has only made what would run its body: nothing of it has run."""
    coroutine = inspect.iscoroutine(returned)
    if inspect.iscoroutine(returned):
        returned.close()
    _refuse_deferred(
        _name_of(function),
        coroutine=coroutine,
        generator=inspect.isgenerator(returned),
        async_generator=inspect.isasyncgen(returned),
    )


def _name_of(function: Callable[..., object]) -> str:
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def _refuse_deferred(name: str, *, coroutine: bool, generator: bool, async_generator: bool) -> None:
    must = "a training function must have trained when it returns"
    if coroutine:
        do = f"write def train(trial): return asyncio.run({name}(trial))"
        raise InputError(must, f"{name}, an async function", do)
    if generator or async_generator:
        kind, loop = ("a generator", "for") if generator else ("an async one", "async for")
        do = f"take out `yield`, or loop over it: {loop} _ in {name}(trial): pass"
        raise InputError(must, f"{name}, {kind}", do)
