"""Files of another kind than they are read as, told by how they begin."""

from __future__ import annotations

from pathlib import Path

from trainers.data.disk.paths import SOURCE_KEY
from trainers.data.disk.unpacking import CODECS, open_unpacked
from trainers.errors import InputError

LONGEST_START = 1 << 10
PARQUET, ARCHIVE = "Parquet", "a zip archive or a workbook"
ARRAY = "an array of NumPy's without its labels"
_KINDS = (
    (b"PK\x03\x04", ARCHIVE, "unpack it, or write excel:FILE.xlsx"),
    (
        b"\xd0\xcf\x11\xe0",
        "a workbook of an old kind, or one that a password locks",
        "save it as .xlsx or .csv, without a password",
    ),
    (b"\x1f\x8b", "gzip", "let its name end with .gz"),
    (b"\x28\xb5\x2f\xfd", "zstandard", "let its name end with .zst"),
    (b"\xfd7zXZ", "xz", "unpack it: unxz FILE"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"PAR1", PARQUET, "write parquet:FILE"),
    (b"ARROW1", "Arrow's or Feather's", "save it as Parquet: pandas.read_feather(FILE).to_parquet(OTHER)"),
    (b"\xff\xff\xff\xff", "a stream of Arrow's", "save it as Parquet: pyarrow.parquet.write_table"),
    (
        b"\x93NUMPY",
        ARRAY,
        "save both: numpy.savez('data.npz', x=numpy.load(FILE), y=labels), and write npz:data.npz",
    ),
    (b"\x89HDF", "HDF5", "save the table as CSV or Parquet"),
    (b"@relation", "ARFF", "save it as CSV: pandas.DataFrame(scipy.io.arff.loadarff(FILE)[0]).to_csv(OTHER)"),
    (b"ORC", "ORC", "save it as Parquet: pandas.read_orc(FILE).to_parquet(OTHER)"),
    (b"<stata_dta>", "Stata's", "save it as CSV: pandas.read_stata(FILE).to_csv(OTHER, index=False)"),
    (b"$FL2", "SPSS's", "save it as CSV: pandas.read_spss(FILE).to_csv(OTHER, index=False)"),
    (b"RDX", "R's", "save it as CSV: in R write.csv(table, OTHER, row.names = FALSE)"),
    (b"\x80\x04\x95", "a pickle", "it is never read, for it may run code: save the table as CSV or Parquet"),
    (b"\x80\x05\x95", "a pickle", "it is never read, for it may run code: save the table as CSV or Parquet"),
    (b"\0\x05\x16\x07", "macOS's notes on the file of that name without ._", "name that one"),
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
_TAR_AT, _TAR = 257, b"ustar"


def tell_other_kind(path: Path, start: bytes) -> tuple[str, str] | None:
    """What a file is that begins so, and what to do about it; None of text and of what is not known.

    Args:
        start: its first bytes, unpacked where its name ends as a packed file's does.
    """
    if start[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        return "a tar archive", "unpack it: tar xf FILE"
    beginnings = (kind for kind in _KINDS if start[:64].lower().startswith(kind[0].lower()))
    found = next(((what, do) for _, what, do in beginnings), None)
    if found is None or path.suffix.lower() not in CODECS:
        return found
    return f"{found[0]}, packed", f"unpack it, and then: {found[1]}"


def tell_kind_of(path: Path) -> tuple[str, str] | None:
    """As `tell_other_kind`, of a file whose beginning has not been read; None of one that cannot be."""
    try:
        with open_unpacked(path) as stream:
            return tell_other_kind(path, bytes(stream.read(LONGEST_START)))
    except OSError:
        return None


def refuse_other_kinds(path: Path, start: bytes, wanted: str) -> None:
    """Refuses a file that begins as one of another kind does.

    Raises:
        InputError: says what it is, and what to do.
    """
    if found := tell_other_kind(path, start):
        raise InputError(f"{path} must be {wanted}", *found, key=SOURCE_KEY)
