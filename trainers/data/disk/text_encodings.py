"""What encoding a file of text is in, by its beginning; what is no text is told by what it is."""

from __future__ import annotations

import codecs
import re
import unicodedata
from pathlib import Path

from trainers.data.disk.other_kinds import refuse_other_kinds
from trainers.data.disk.paths import SOURCE_KEY
from trainers.data.disk.unpacking import open_unpacked, refuse_unreadable
from trainers.errors import InputError

START_BYTES = 1 << 20
FEWEST_LETTERS = 9  # different ones: a word or two are words in several encodings
_USUAL = [
    "cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1251", "koi8_r", "iso8859_5", "cp866", "cp1253",
    "cp1255", "cp1256", "cp874", "cp1252", "cp1250", "cp1254",
]  # fmt: skip
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = bytes([*range(2, 9), *range(14, 26), 27])  # what no text has; \x01, \x1c to \x1f part fields


def read_start(path: Path) -> bytes:
    """The file's first bytes, unpacked."""
    with refuse_unreadable(path), open_unpacked(path) as stream:
        return bytes(stream.read(START_BYTES))


def find_encoding(path: Path, start: bytes) -> str:
    """By its mark, UTF-8, else the usual one of Western Windows, whose bytes are never wrong.

    Raises:
        InputError: it is no text, or in two encodings.
    """
    for mark, name in _BOMS:
        if start.startswith(mark):
            return name
    _refuse_other_content(path, start)
    decoder = codecs.getincrementaldecoder("utf-8")()
    with refuse_unreadable(path), open_unpacked(path) as stream:
        several = False
        try:
            while piece := bytes(stream.read(START_BYTES)):
                several = len(decoder.decode(piece)) < len(piece) or several
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            whole = error.object[: error.start]
            if several or len(whole.decode("utf-8", "replace")) < len(whole):
                line = error.object[: error.start].count(b"\n") + 1
                name = propose_encoding(start) or "cp1252"
                do = f"repair the line, or save all as UTF-8; of csv data.read: {{encoding: {name}}} says it"
                found = f"byte 0x{error.object[error.start]:02x} in line {line:,}, and UTF-8 before it"
                raise InputError(f"{path} must be in one encoding", found, do, key=SOURCE_KEY) from error
            _refuse_control_signs(path, start)
            return "cp1252"
    return "utf-8-sig"


def likely_encoding(path: Path) -> str | None:
    """`propose_encoding` of a file without a mark.

    Raises:
        InputError: it is no text.
    """
    start = read_start(path)
    if start.startswith(tuple(mark for mark, _ in _BOMS)):
        return None
    _refuse_other_content(path, start)
    return propose_encoding(start)


def propose_encoding(start: bytes) -> str | None:
    """What bytes that are no UTF-8 may be in, where that is another script than Latin: too little differs
    between Latin's encodings to tell them apart, and their bytes above ASCII stand alone between letters."""
    high = re.findall(rb"[\x80-\xff]+", start)
    if sum(len(run) for run in high if len(run) > 1) <= sum(map(len, high)) / 2 or _is_utf8(start):
        return None
    from charset_normalizer import from_bytes

    words = (word for word in re.split(rb'[\s,;"]+', start) if not word.isascii())
    found = from_bytes(b" ".join(words), cp_isolation=_USUAL).best()
    letters = [sign for sign in str(found or "") if sign.isalpha() and not sign.isascii()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    few = len({*letters}) < FEWEST_LETTERS or latin > len(letters) / 10
    return None if found is None or few else found.encoding


def describe_encoding(name: str, encoding: str, start: bytes) -> list[str]:
    """A note of a text that is not in UTF-8, and of what else its bytes may be in."""
    if encoding == "utf-8-sig":
        return []
    likely = propose_encoding(start) if encoding == "cp1252" else None
    otherwise = f"; its bytes look like {likely}: save it as UTF-8" if likely else ""
    return [f"{name} is read as {encoding}{otherwise}"]


def _refuse_other_content(path: Path, start: bytes) -> None:
    refuse_other_kinds(path, start, "text")
    if b"\0" in start:
        raise _zero_bytes(path, start)


def _is_utf8(start: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True


def _refuse_control_signs(path: Path, start: bytes) -> None:
    """Bytes that are no UTF-8 are Windows' letters only where no signs stand among them that no text has."""
    odd = next((sign for sign in _CONTROLS if sign in start), None)
    if odd is not None:
        do = "is it a file of another kind? data.read: {encoding: …} of csv says what it is"
        raise InputError(f"{path} must be text", f"byte 0x{odd:02x}", do, key=SOURCE_KEY)


def _zero_bytes(path: Path, start: bytes) -> InputError:
    """UTF-16 has them in every second place; alone they are damage."""
    first, second = start[:1000:2].count(0), start[1:1000:2].count(0)
    if max(first, second) > len(start[:1000]) / 4 and min(first, second) < max(first, second) / 4:
        name = f"utf-16-{'be' if first > second else 'le'}"
        do = f"is it UTF-16 without a mark? save it as UTF-8; of csv data.read: {{encoding: {name}}} says it"
        return InputError(f"{path} must be text", "bytes of zero", do, key=SOURCE_KEY)
    line = start[: start.index(b"\0")].count(b"\n") + 1
    do = "repair the line: an interrupted copy leaves zeros"
    return InputError(f"{path} must be text", f"a byte of zero in line {line:,}", do, key=SOURCE_KEY)
