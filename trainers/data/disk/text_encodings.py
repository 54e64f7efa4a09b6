"""What encoding a file of text is in, by its beginning; what is no text is told by what it is."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from trainers.data.sources.paths import SOURCE_KEY
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
PARQUET = "Parquet"
_OTHERS = (
    (b"PK\x03\x04", "a zip archive or a workbook", "unpack it, or write excel:FILE.xlsx"),
    (b"\xd0\xcf\x11\xe0", "a workbook of an old kind", "save it as .xlsx or .csv"),
    (b"\x1f\x8b", "gzip", "let its name end with .gz"),
    (b"\x28\xb5\x2f\xfd", "zstandard", "let its name end with .zst"),
    (b"\xfd7zXZ", "xz", "unpack it: unxz FILE"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"PAR1", PARQUET, "write parquet:FILE"),
    (b"ARROW1", "Arrow's or Feather's", "save it as Parquet: pandas.read_feather(FILE).to_parquet(OTHER)"),
    (b"\xff\xff\xff\xff", "a stream of Arrow's", "save it as Parquet: pyarrow.parquet.write_table"),
    (b"\x93NUMPY", "an array of NumPy's", "save it by numpy.savez, and write npz:FILE"),
    (b"\x89HDF", "HDF5", "save the table as CSV or Parquet"),
    (b"@relation", "ARFF", "save it as CSV: pandas.DataFrame(scipy.io.arff.loadarff(FILE)[0]).to_csv(OTHER)"),
    (b"Obj\x01", "Avro", "save the table as CSV or Parquet"),
    (b"\x89PNG", "a picture", "write images:DIR for a folder of them"),
    (b"\xff\xd8\xff", "a picture", "write images:DIR for a folder of them"),
    (b"%PDF", "a PDF", "save its text"),
    (b"SQLite format 3", "a SQLite database", "export the table as CSV"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    (b"<!doctype html", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
    (b"<table", "a table in HTML", "save it as CSV: pandas.read_html(FILE)[0].to_csv(OTHER, index=False)"),
    (b"<?xml", "XML", "save the table as CSV: pandas.read_xml(FILE).to_csv(OTHER, index=False)"),
)
_CONTROLS = bytes([*range(2, 9), *range(14, 26), 27])  # what no text has; \x01, \x1c to \x1f part fields


@contextmanager
def refuse_unreadable(path: Path) -> Iterator[None]:
    """Damaged archives, disks and folders as wrong input.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        yield
    except (OSError, EOFError, pa.ArrowException) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        do = "fetch or pack it again: what its name ends with must be how it is packed"
        raise InputError(f"{path} must be a readable file", text, do, key=SOURCE_KEY) from error


def read_start(path: Path) -> bytes:
    """The file's first bytes, unpacked."""
    with refuse_unreadable(path), pa.input_stream(str(path), compression="detect") as stream:
        return bytes(stream.read(START_BYTES))


def find_encoding(path: Path, start: bytes) -> str:
    """By its mark, UTF-8, else the usual one of Western Windows, whose bytes are never wrong.

    Raises:
        InputError: it is no text, or in two encodings.
    """
    for mark, name in _BOMS:
        if start.startswith(mark):
            return name
    _refuse_other_files(path, start)
    decoder = codecs.getincrementaldecoder("utf-8")()
    with refuse_unreadable(path), pa.input_stream(str(path), compression="detect") as stream:
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
                do = f"repair the line, or name what the file is in: data.read: {{encoding: {name}}}"
                found = f"byte 0x{error.object[error.start]:02x} in line {line:,}, and UTF-8 before it"
                raise InputError(f"{path} must be in one encoding", found, do, key=SOURCE_KEY) from error
            _refuse_control_signs(path, start)
            return "cp1252"
    return "utf-8-sig"


def tell_other_file(start: bytes) -> tuple[str, str] | None:
    """What a file is that begins so, and what to do about it; None of text and of what is not known."""
    if start[257:262] == b"ustar":
        return "a tar archive", "unpack it: tar xf FILE"
    beginnings = (other for other in _OTHERS if start[:64].lower().startswith(other[0].lower()))
    return next(((what, do) for _, what, do in beginnings), None)


def _refuse_other_files(path: Path, start: bytes) -> None:
    if found := tell_other_file(start):
        raise InputError(f"{path} must be text", *found, key=SOURCE_KEY)
    if b"\0" in start:
        raise _zero_bytes(path, start)


def likely_encoding(path: Path) -> str | None:
    """`propose_encoding` of a file without a mark.

    Raises:
        InputError: it is no text.
    """
    start = read_start(path)
    if start.startswith(tuple(mark for mark, _ in _BOMS)):
        return None
    _refuse_other_files(path, start)
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
        do = (
            f"is it UTF-16 without a mark? data.read: {{encoding: utf-16-{'be' if first > second else 'le'}}}"
        )
        return InputError(f"{path} must be text", "bytes of zero", do, key=SOURCE_KEY)
    line = start[: start.index(b"\0")].count(b"\n") + 1
    do = "repair the line: an interrupted copy leaves zeros"
    return InputError(f"{path} must be text", f"a byte of zero in line {line:,}", do, key=SOURCE_KEY)
