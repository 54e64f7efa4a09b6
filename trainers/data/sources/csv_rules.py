"""How a file of separated fields is written: its encoding, delimiter and header, as said or as it looks."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from trainers.data.disk.paths import SOURCE_KEY
from trainers.data.disk.text_encodings import START_BYTES, find_encoding, propose_encoding, read_start
from trainers.data.raw import check_names
from trainers.data.sources.read_options import KEY, READ, mark_option, quote_option, text_option
from trainers.errors import InputError
from trainers.types import Json
from trainers.wording import count_of

START_ROWS = 100
MOST_TITLES = 20
FEWEST_BELOW = 5
DELIMITERS = (",", ";", "\t", "|")
UNUSUAL = (" ", ":", "^", "~", "\x01", "\x1f")  # delimiters that are asked for and not taken
_NUMBER = re.compile(r"\s*[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?\s*")
_EXCELS_MARK = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # a first line that tells Excel the delimiter
_EMPTY = ' \t\r\n,;|"'  # what a line of a spreadsheet that has nothing in its cells is made of
UNNAMED = "column {}"


class Reader(Iterator[list[str]], Protocol):
    """`csv.reader`'s result."""

    line_num: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvRules:
    """How a file is read.

    Attributes:
        names: of all columns, in order; those without one in the file are named by their place.
        unnamed: the columns whose names are not the file's.
        header: whether the first line is one.
        decimal, thousands: marks of its numbers, where they are said.
        quote: the mark around a field within which nothing parts it; empty where there is none.
        skip: lines before the first row or header, which are empty or Excel's; comments are not counted.
        notes: what was found by looking and is not usual.
    """

    delimiter: str
    encoding: str
    names: tuple[str, ...]
    unnamed: tuple[str, ...] = ()
    header: bool = True
    decimal: str | None = None
    thousands: str | None = None
    comment: str | None = None
    quote: str = '"'
    skip: int = 0
    notes: tuple[str, ...] = ()

    def reader(self, lines: Iterable[str], *, strict: bool = False) -> Reader:
        """The rows of lines."""
        if not self.quote:
            return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=strict)
        return csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote, strict=strict)


def find_rules(path: Path, said: Mapping[str, Json] | None = None) -> CsvRules:
    """The rules of a file, what is not said by looking at its beginning.

    Raises:
        InputError: an unknown key, a text that no encoding gives, or columns without usable names.
    """
    said = said or {}
    check_names(said, READ, *KEY)
    start = read_start(path)
    encoding = text_option(said, "encoding") or find_encoding(path, start)
    text = _decode(path, start, encoding)
    comment = text_option(said, "comment")
    if comment is not None:
        text = "".join(line for line in io.StringIO(text, newline="") if not line.startswith(comment))
    skip, marked, text = _skip_lines(text)
    titles = _count_titles(text)
    text = "".join(io.StringIO(text, newline="").readlines()[titles:])
    of_name = "\t" if ".tsv" in path.name.lower() and "\t" in text else ""
    usual = marked or of_name or _find_delimiter(text)
    delimiter = text_option(said, "delimiter") or usual
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '\r\n"' or delimiter.isalnum():
        must = "a delimiter must be one character of ASCII, no letter, digit, quote or line end"
        raise InputError(must, repr(delimiter), key=(*KEY, "delimiter"))
    rules = CsvRules(
        delimiter=delimiter, encoding=encoding, names=(), comment=comment, quote=quote_option(said),
        skip=skip + titles, decimal=mark_option(said, "decimal"), thousands=mark_option(said, "thousands"),
    )  # fmt: skip
    rows = _first_rows(text, rules)
    if rules.quote == delimiter:
        raise InputError("quote and delimiter must differ", repr(delimiter), key=(*KEY, "quote"))
    if "quote" not in said and _are_in_single_quotes(rows):
        rules = replace(rules, quote="'")
        rows = _first_rows(text, rules)
    likely = propose_encoding(start) if encoding == "cp1252" and "encoding" not in said else None
    return _name_columns(path, _describe(rules, path, rows, titles, likely), rows, said)


def _skip_lines(text: str) -> tuple[int, str, str]:
    """How many lines before the first row are empty or Excel's, the delimiter that it says, and the rest."""
    lines, marked = list(io.StringIO(text, newline="")), ""
    for skip, line in enumerate(lines):
        found = _EXCELS_MARK.fullmatch(line.strip("\r\n"))
        if line.strip(_EMPTY) and (marked or not found):
            return skip, marked, "".join(lines[skip:])
        marked = found[1] if found else marked
    return 0, marked, text


def _count_titles(text: str) -> int:
    """How many lines before the header are a title: of one cell each, and beneath them a line without
    anything, or one of words alone that is as wide as the title with its empty cells."""
    lines = io.StringIO(text, newline="").readlines()[:MOST_TITLES]
    empty = next((at for at, line in enumerate(lines) if not line.strip(_EMPTY)), None)
    if empty is None:
        padded = bool(lines) and re.fullmatch(r"[^,;\t|]+([,;\t|])\1+\s*", lines[0]) is not None
        below = re.split(r"[,;\t|]", lines[1].strip()) if len(lines) > 1 else []
        words = bool(below) and all(cell.strip() and not _NUMBER.fullmatch(cell) for cell in below)
        return int(padded and words and len(below) == len(re.findall(r"[,;\t|]", lines[0])) + 1)
    rest = [line for line in lines[empty:] if line.strip(_EMPTY)]
    wide = [len(re.findall(r"[,;\t|]", line)) for line in rest[:2]]
    single = all(not re.search(r"[,;\t|]", line.strip(_EMPTY)) for line in lines[:empty])
    prose = any(re.search(r"[,;] ", line) for line in rest[:2])
    if not (empty and single and len(wide) == 2 and wide[0] == wide[1] > 0) or prose:
        return 0
    return next(at for at, line in enumerate(lines) if at > empty and line.strip(_EMPTY))


def describe_second_header(name: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """A note where the first row has words, as units, in all the columns that hold numbers below it.

    Args:
        rows: without the header.
    """
    if len(rows) < FEWEST_BELOW:
        return []
    first, *below = rows
    numeric = [
        place
        for place, cell in enumerate(first)
        if all(_NUMBER.fullmatch(row[place]) for row in below if len(row) > place and row[place].strip())
        and any(row[place].strip() for row in below if len(row) > place)
    ]
    words = [first[place] for place in numeric if first[place].strip()]
    if len(words) < 2 or any(_NUMBER.fullmatch(word) for word in words):
        return []
    said = ", ".join(map(repr, words[:3]))
    return [f"the row below the header of {name} looks like more of it ({said}): delete it if it is no row"]


def _are_in_single_quotes(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all of several names of columns are: some programs write `'`, which CSV does not know."""
    header = rows[0] if rows else []
    return len(header) > 1 and all(len(name) > 2 and name[0] == name[-1] == "'" for name in header)


def _decode(path: Path, start: bytes, encoding: str) -> str:
    try:
        if not codecs.lookup(encoding)._is_text_encoding:  # rot13, base64, … are codecs too
            raise LookupError(encoding)
        return codecs.getincrementaldecoder(encoding)(errors="replace").decode(start)
    except LookupError as error:
        do = "write for instance utf-8, cp1252, latin-1 or utf-16"
        raise InputError(
            "an encoding must be one that Python knows", repr(encoding), do, key=(*KEY, "encoding")
        ) from error
    except UnicodeError as error:
        raise InputError(f"{path} must be text in {encoding}", str(error), key=SOURCE_KEY) from error


def _find_delimiter(text: str) -> str:
    """The one that parts the first rows into most fields alike; a comma where none does."""

    def rate(mark: str) -> tuple[float, int]:
        rules = CsvRules(delimiter=mark, encoding="", names=())
        found = [len(row) for row in _first_rows(text, rules)]
        width = found[0] if found else 1  # the header's
        return (found.count(width) / len(found) if width > 1 else 0.0, width)

    rated = {mark: rate(mark) for mark in DELIMITERS}
    return max(DELIMITERS, key=lambda mark: rated[mark])


def _first_rows(text: str, rules: CsvRules) -> list[list[str]]:
    """The first rows that are whole; empty lines count for nothing."""
    csv.field_size_limit(1 << 24)
    rows: list[list[str]] = []
    try:
        for row in rules.reader(io.StringIO(text, newline=None)):
            if row:
                rows.append(row)
            if len(rows) > START_ROWS:
                break
    except csv.Error:
        return rows
    return rows[:-1] if len(rows) > 1 and len(text) >= START_BYTES // 4 and len(rows) <= START_ROWS else rows


def _describe(
    rules: CsvRules, path: Path, rows: Sequence[Sequence[str]], titles: int, likely: str | None
) -> CsvRules:
    notes = []
    if rules.encoding in ("cp1252", "utf-16", "utf-32"):
        do = f"its bytes look like {likely}: data.read: {{encoding: {likely}}}"
        otherwise = do if likely else "data.read.encoding says otherwise"
        notes.append(f"{path.name} is read as {rules.encoding}; {otherwise}")
    if rules.quote == "'":
        notes.append(f"fields of {path.name} stand in single quotes; data.read: {{quote: true}} keeps them")
    if rules.quote and sum(cell.startswith(' "') for row in rows for cell in row[1:]) > len(rows) / 2:
        notes.append(f"fields of {path.name} have a blank before their quotes: both are read as part of them")
    if rules.quote and any('\\"' in cell for row in rows for cell in row):
        notes.append(f'quotes within fields of {path.name} are written \\", and CSV has "": they are misread')
    if rules.delimiter == "|":
        notes.append(f"fields of {path.name} are separated by {rules.delimiter!r}")
    if titles:
        notes.append(f"{count_of(titles, 'line')} of {path.name} before its header left out: a title")
    if len(rows) > 1 and all(len(row) == 1 for row in rows):
        for mark in UNUSUAL:
            parts = {len(row[0].split(None if mark == " " else mark)) for row in rows}
            if len(parts) == 1 and (count := parts.pop()) > 1:
                do = f"data.read: {{delimiter: {json.dumps(mark)}}}?"
                notes.append(f"{path.name} has one column, of {count} parts each: {do}")
                break
    return replace(rules, notes=tuple(notes))


def _name_columns(
    path: Path, rules: CsvRules, rows: Sequence[Sequence[str]], said: Mapping[str, Json]
) -> CsvRules:
    header = said.get("header")
    if header is not None and not isinstance(header, bool):
        raise InputError("data.read.header must be true or false", repr(header), key=(*KEY, "header"))
    names = said.get("names")
    first = list(rows[0]) if rows else []
    notes = list(rules.notes)
    if header is None:
        header = names is None and not looks_like_data(first, rows[1:])
        if names is None and not header:
            notes.append(
                f"the first line of {path.name} is a row, not a header: columns are called column 1, 2, …; "
                "data.read: {names: […]} names them, {header: true} takes the line for one"
            )
    given = _given_names(names, len(first)) if names is not None else (first if header else [""] * len(first))
    named = tuple(name or UNNAMED.format(place) for place, name in enumerate(given, start=1))
    twice = [name for name, count in Counter(named).items() if count > 1]
    if twice or not named:
        found = f"{', '.join(map(repr, twice[:5]))} twice" if twice else "an empty file"
        do = "rename them, or name all columns: data.read: {header: false, names: […]}"
        raise InputError(f"the first line of {path} must name each column once", found, do, key=SOURCE_KEY)
    notes += describe_second_header(path.name, rows[1:]) if header else []
    unnamed = tuple(name for name, own in zip(named, given, strict=True) if not own and header)
    return replace(rules, names=named, unnamed=unnamed, header=header, notes=tuple(notes))


def _given_names(names: Json, width: int) -> list[str]:
    if (
        not isinstance(names, Sequence)
        or isinstance(names, str)
        or not all(isinstance(n, str) for n in names)
    ):
        raise InputError("data.read.names must be a list of names", repr(names), key=(*KEY, "names"))
    if len(names) != width:
        found = f"{len(names)} names for {width} columns"
        raise InputError("data.read.names must name every column", found, key=(*KEY, "names"))
    return [str(name) for name in names]


def looks_like_data(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line is a row like the others: numbers stand in it where they stand below, and they
    do not count the columns."""
    numbers = [place for place, cell in enumerate(first) if _NUMBER.fullmatch(cell)]
    if not numbers or not rows:
        return False
    if [first[place].strip() for place in numbers] in (
        [str(n) for n in range(len(numbers))],
        [str(n) for n in range(1, len(numbers) + 1)],
    ):
        return False
    below = [row for row in rows if len(row) == len(first)]
    alike = [place for place in numbers if below and all(_NUMBER.fullmatch(row[place]) for row in below)]
    fractions = any("." in first[place] or "," in first[place] for place in alike)
    return bool(alike) and (fractions or len(numbers) == len(first))
