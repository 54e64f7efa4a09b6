"""What a person wrote wrongly, as the packages below say it, in the words of `infra.errors`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from infra.errors import WrongInput
from search_spaces.errors import SearchSpaceInputError
from trainers.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")


def as_wrong_input(error: BaseException) -> WrongInput | None:
    """The same as `WrongInput`, where it is a person's data, options or search space; None where not."""
    return _in_our_words(error) if isinstance(error, (InputError, SearchSpaceInputError)) else None


def _in_our_words(error: InputError | SearchSpaceInputError) -> WrongInput:
    where = ".".join(map(str, error.key))
    if isinstance(error, SearchSpaceInputError) and error.file:
        where = f"{error.file}, line {error.line or 1}{', ' if where else ''}{where}"
    found = f"{where}: {error.found}" if where and where not in f"{error.must} {error.found}" else error.found
    return WrongInput(error.must, found, error.do)


def with_one_error_tree(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose errors are all of `infra.errors`: whoever calls it needs to know one tree."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (InputError, SearchSpaceInputError) as error:
            raise _in_our_words(error) from error

    return call
