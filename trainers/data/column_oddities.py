"""What cells of a column may mean otherwise than they are read: said, or decided where it can be known."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from trainers.data.arrow_strings import is_strings, plain_strings
from trainers.data.cell_values import find_alike
from trainers.data.number_spellings import NumberMarks
from trainers.data.raw import RawColumn, RawFiles

_COUNTRIES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT "
    "BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH "
    "ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT "
    "HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS "
    "LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI "
    "NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG "
    "SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG "
    "UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "
    "EU AN OC AP UK"  # continents and regions
)
CODES = pa.array(sorted({*_COUNTRIES.split()}))
FEWEST_CODES = 3  # different ones beside NA: of two it cannot be told
_INFINITE = r"(?i)^\s*[+-]?(inf(inity)?|\d[\d.]*e\+?(309|3[1-9]\d|[4-9]\d\d|[1-9]\d{3,}))\s*$"  # 1e400 too
_WITH_ZONE = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}.*(Z|[+-]\d{2}:?\d{2})$"
_WITHOUT_ZONE = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}[0-9:.]*$"
_WORTH_A_LOOK = r"(?i)inf|:|e\+?[3-9]\d\d"  # one look, since few columns have any of them
_THREE_DIGITS = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"
FEWEST_FRACTIONS = 5


def count_namibia(column: pa.ChunkedArray) -> int:
    """In how many rows NA stands, where all other values are codes of countries or regions; else 0."""
    if not is_strings(column.type) and not pa.types.is_dictionary(column.type):
        return 0
    if is_strings(column.type) and (pc.max(pc.binary_length(column)).as_py() or 0) > 2:
        return 0
    words = pc.unique(plain_strings(column)).drop_null().cast(pa.string())
    if not pc.any(pc.equal(words, "NA")).as_py() or pc.max(pc.utf8_length(words)).as_py() > 2:
        return 0
    others = words.filter(pc.and_(pc.not_equal(words, "NA"), pc.not_equal(words, "")))
    if len(others) < FEWEST_CODES - 1 or not pc.all(pc.is_in(others, value_set=CODES)).as_py():
        return 0
    return int(pc.sum(pc.equal(plain_strings(column), "NA")).as_py())


def describe_names(names: Iterable[str]) -> list[str]:
    """A note for columns whose names a person would take for one."""
    return [f"columns {alike} differ by blanks or case alone: is it one?" for alike in find_alike(names)]


def describe_oddities(name: str, column: RawColumn, marks: NumberMarks) -> list[str]:
    """Infinite numbers, times of which some have no zone, and fractions that may be thousands."""
    assert not isinstance(column, RawFiles)
    if pa.types.is_floating(column.type):
        infinite = pc.sum(pc.is_inf(column)).as_py()
        return [_describe_infinite(name, infinite)] if infinite else []
    if not is_strings(column.type):
        return []
    notes = []
    odd = pc.any(pc.match_substring_regex(column, _WORTH_A_LOOK)).as_py()
    if odd and (infinite := _count(column, _INFINITE)):
        notes.append(_describe_infinite(name, infinite))
    if odd and (zoned := _count(column, _WITH_ZONE)) and (bare := _count(column, _WITHOUT_ZONE)):
        notes.append(f"{bare:,} of {bare + zoned:,} times of column {name!r} have no zone: they count as UTC")
    if marks.likely_decimal == "," and not marks.are_said:
        fractions = _count(column, r"^[+-]?\d+\.\d+$")
        if fractions >= FEWEST_FRACTIONS and fractions == _count(column, _THREE_DIGITS):
            notes.append(
                f"all fractions of column {name!r} have three digits: are they thousands? "
                "data.read: {thousands: '.'}"
            )
    return notes


def _describe_infinite(name: str, count: int) -> str:
    return (
        f"column {name!r} has {count:,} infinite numbers, which count as missing where it is one of numbers"
    )


def _count(column: pa.ChunkedArray, pattern: str) -> int:
    return int(pc.sum(pc.match_substring_regex(column, pattern)).as_py() or 0)
