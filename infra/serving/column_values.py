"""Values of a request, checked against the type that the model's signature gives their column."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable

from infra.serving.limits import bad_request
from infra.serving.model_schema import SPELT
from trainers.data.cell_values import BASE64, read_number, spell_value
from trainers.errors import InputError
from trainers.types import Cell, Json

MOST_PIXELS = 16_000_000
LARGEST = 1e30  # models compute in float32, which ends at 3.4e38
CHECKED_S = 0.1  # of a clip, before it is computed with


def check_values(name: str, kind: str, values: list[Cell]) -> list[Cell]:
    """The values as the model takes them; a missing one is None."""
    check = _CHECKS.get(kind, _check_image)
    out: list[Cell] = []
    for row, value in enumerate(values):
        try:
            out.append(None if value is None else check(value))
        except ValueError as error:
            raise bad_request(f"column {ascii(name)[:60]}, row {row}: {error}") from None
    return out


def _check_double(value: Json) -> float | None:
    if type(value) is str or isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"a number is wanted, but got {_quote_value(value)}")
    if isinstance(value, str):  # a field of CSV
        try:
            number = read_number(value)
        except ValueError:
            raise ValueError(f"a number is wanted, but got {_quote_value(value)}") from None
        return _check_finite(number) if math.isfinite(number) else None  # as files read it
    return _check_finite(value)


def _check_finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("a number is wanted that a double can hold, but got a larger one") from None
    if not math.isfinite(number):
        raise ValueError("a finite number is wanted, but got infinity or NaN")
    if abs(number) > LARGEST:
        raise ValueError(f"a number of at most {LARGEST:g} is wanted, but got {number:g}")
    return number


def _check_spelt(value: Json) -> float | str:
    """A number, or a text that the model reads as its training file spelt them: `1.234,50 €`."""
    if isinstance(value, str):
        return str(value)
    number = _check_double(value)
    assert number is not None
    return number


def _check_long(value: Json) -> int | None:
    number = _check_double(value)
    if number is None:
        return None
    if not number.is_integer():
        raise ValueError(f"a whole number is wanted, but got {_quote_value(value)}")
    assert isinstance(value, (int, float, str))  # or it would be no double
    return int(value)


def _check_boolean(value: Json) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and type(value) is not str:  # a field of CSV
        known = {"true": True, "false": False, "1": True, "0": False, "": None}
        if value.strip().lower() in known:
            return known[value.strip().lower()]
    raise ValueError(f"true or false is wanted, but got {_quote_value(value)}")


def _check_string(value: Json) -> str:
    text = spell_value(value)  # as predict reads a line of JSON: true, 1 and [1] are categories too
    if text is None:
        raise ValueError(f"a string is wanted, but got {_quote_value(value)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a string of whole characters is wanted, but got half a surrogate pair") from None
    return str(text)


def _check_image(value: Json) -> bytes | list[Json]:
    """An image: encoded bytes in base64, or nested lists of numbers. Never a path: whoever asks must not be
    able to read this machine's files."""
    if isinstance(value, str):
        return _decode_image(value)
    if not isinstance(value, list):
        raise ValueError(f"base64 or nested lists of numbers are wanted, but got {_quote_value(value)}")
    _check_numbers(value)
    return value


def _decode_image(text: str) -> bytes:
    from PIL import Image

    from trainers.data.images import open_picture

    try:
        content = base64.b64decode(text.removeprefix(BASE64).encode("ascii"), validate=True)
        with open_picture(content) as picture:
            width, height = picture.size
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("an image is wanted in base64 or as nested lists, but got other text") from None
    except (OSError, SyntaxError, Image.DecompressionBombError):
        raise ValueError("an image is wanted, but its bytes are none that can be read") from None
    if width * height > MOST_PIXELS:
        raise ValueError(f"an image of at most {MOST_PIXELS} pixels is wanted, but got {width} x {height}")
    return content


def _check_clip(value: Json) -> bytes:
    """A clip of sound: encoded bytes in base64, and never a path."""
    from trainers.data.audio import read_samples

    if not isinstance(value, str):
        raise ValueError(f"a clip is wanted in base64, but got {_quote_value(value)}")
    try:
        content = base64.b64decode(value.removeprefix(BASE64).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("a clip is wanted in base64, but got other text") from None
    try:
        read_samples(content, "the clip", CHECKED_S)
    except InputError as error:
        raise ValueError(f"a clip is wanted that can be read, but {error.found}") from None
    return content


def _check_numbers(value: list[Json]) -> None:
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError("lists of one length are wanted, but they differ") from None
    if array.dtype.kind not in "biuf" or not array.size:  # masks are black and white
        raise ValueError("nested lists of numbers are wanted, but got other values")
    if not np.isfinite(array).all():
        raise ValueError("finite numbers are wanted, but got infinity")


def _quote_value(value: Json) -> str:
    return ascii(value)[:40]


_CHECKS: dict[str, Callable[[Json], Cell]] = {
    "double": _check_double,
    "long": _check_long,
    "boolean": _check_boolean,
    "string": _check_string,
    "audio": _check_clip,
    SPELT: _check_spelt,
}
