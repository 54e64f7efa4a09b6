"""Encodings of Asia and Eastern Europe, headers of two lines, limits among numbers, merged cells."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.trainers.data.conftest import Open
from trainers.column_profiles import profile_columns
from trainers.data.sources.files import propose_reading
from trainers.errors import InputError

openpyxl = pytest.importorskip("openpyxl")
RUSSIAN = [
    "Омск", "Тула", "Казань", "Москва", "Самара", "Уфа", "Пермь", "Воронеж",
    "Волгоград", "Саратов", "Тюмень", "Ижевск", "Барнаул",
]  # fmt: skip
TOWNS = {
    "cp1251": RUSSIAN,
    "koi8_r": RUSSIAN,
    "shift_jis": [
        "東京", "大阪", "京都", "名古屋", "札幌", "福岡", "神戸", "広島",
        "仙台", "新潟", "さいたま", "北九州", "静岡", "岡山", "熊本",
    ],
    "gb18030": [
        "北京", "上海", "广州", "深圳", "成都", "重庆", "天津", "武汉",
        "西安", "杭州", "南京", "苏州", "郑州", "长沙",
    ],
    "euc_kr": [
        "서울", "부산", "인천", "대구", "광주", "대전", "울산", "수원",
        "창원", "고양", "용인", "성남", "청주", "전주",
    ],
    "big5": [
        "臺北", "高雄", "臺中", "臺南", "新竹", "基隆", "嘉義", "桃園",
        "彰化", "屏東", "宜蘭", "花蓮", "苗栗", "雲林",
    ],
    "cp1253": [
        "Αθήνα", "Πάτρα", "Λάρισα", "Βόλος",
    ],
    "cp1255": [
        "ירושלים", "חיפה", "אילת", "אשדוד", "נתניה",
    ],
}  # fmt: skip
LATIN = ["Köln", "Düsseldorf", "Größe", "Ærø", "naïve", "“no”", "21 °C", "£5", "ÄÖÜ", "pääsääntö", "İzmir"]


def rows_of(towns: list[str]) -> str:
    chance = random.Random(0)
    lines = [f"{chance.random():.3f},{chance.choice(towns)},{'ab'[n % 2]}" for n in range(150)]
    return "\n".join(["size,town,label", *lines]) + "\n"


@pytest.mark.parametrize("encoding", TOWNS)
def test_file_of_another_script_is_said_with_what_it_is_in(
    opened: Open, tmp_path: Path, encoding: str
) -> None:
    """Where some of its bytes may be UTF-8, it is refused, with what it is in."""
    (tmp_path / "a.csv").write_bytes(rows_of(TOWNS[encoding]).encode(encoding))
    proposed = propose_reading(tmp_path / "a.csv")
    try:
        said = " ".join(opened("csv:a.csv").notes)
    except InputError as error:
        said = error.do or ""
    assert f"data.read: {{encoding: {proposed['encoding']}}}" in said
    found = opened("csv:a.csv", read=proposed)
    assert {*map(str, found.columns["town"].values)} == {*TOWNS[encoding]}


@pytest.mark.parametrize(("encoding", "words"), [("cp1251", ["да", "нет"]), ("gb18030", ["是", "否"])])
def test_few_words_of_another_script_are_taken_for_none(
    opened: Open, tmp_path: Path, encoding: str, words: list[str]
) -> None:
    (tmp_path / "a.csv").write_bytes(rows_of(words).encode(encoding))
    assert "a.csv is read as cp1252; data.read.encoding says otherwise" in opened("csv:a.csv").notes


@pytest.mark.parametrize("encoding", ["cp1252", "cp1254", "cp1250", "latin-1"])
def test_latin_letters_are_taken_for_no_other_script(opened: Open, tmp_path: Path, encoding: str) -> None:
    for word in LATIN:
        (tmp_path / "a.csv").write_bytes(rows_of([word, "Ulm"]).encode(encoding, "replace"))
        assert not any("its bytes look like" in note for note in opened("csv:a.csv").notes)


def test_corpus_of_another_script_is_said_with_what_it_is_in(opened: Open, tmp_path: Path) -> None:
    text = "Все счастливые семьи похожи друг на друга.\n\n" * 99
    (tmp_path / "a.txt").write_bytes(text.encode("koi8-r"))
    assert (
        "a.txt is read as cp1252; its bytes look like koi8_r: save it as UTF-8" in opened("text:a.txt").notes
    )


def test_second_line_of_a_header_is_said_and_a_word_among_numbers_is_none(
    opened: Open, tmp_path: Path
) -> None:
    rows = [f"{n}.5,{n * 7 % 11}.25,{'ab'[n % 2]}" for n in range(60)]
    for second, said in (("km/h,kg,class", True), ("unknown,3,a", False), (",,a", False)):
        (tmp_path / "a.csv").write_text("\n".join(["speed,weight,label", second, *rows]))
        notes = " ".join(opened("csv:a.csv").notes)
        assert ("below the header of a.csv looks like more of it ('km/h', 'kg')" in notes) == said


@pytest.mark.parametrize("every", [5, 50])
def test_limits_among_numbers_are_said_with_their_rows(opened: Open, tmp_path: Path, every: int) -> None:
    rows = [f"{'<0.1' if n % every == 0 else f'{n}.5'},{'ab'[n % 2]}" for n in range(200)]
    (tmp_path / "a.csv").write_text("\n".join(["lead,label", *rows]))
    found = opened("csv:a.csv")
    (column,) = profile_columns(found)
    said = column.warning if every == 5 else " ".join(found.notes)
    assert f"in {200 // every}" in said
    assert "limit" in said


def test_merged_cells_of_a_workbook_are_said(opened: Open, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["plant", "height", "label"])
    for n in range(80):
        book.active.append([None if n % 4 else f"p{n}", n / 7, "ab"[n % 2]])
    for n in range(2, 82, 4):
        book.active.merge_cells(f"A{n}:A{n + 3}")
    book.save(tmp_path / "a.xlsx")
    assert any("a.xlsx has 20 merged cells, as A" in note for note in opened("excel:a.xlsx").notes)
