"""Numbers in people's spellings, columns of numbers with a few words, and `columns.types`."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from tests.trainers.data.conftest import Open
from trainers.data.number_spellings import NumberMarks, NumberSpelling, find_spelling
from trainers.data.prepare import fit_table
from trainers.data.sources.opening import open_dataset
from trainers.data.tables import apply_table
from trainers.errors import InputError

GROUPED = {"1,234": 1, "12": 1, "1,234,567.5": 1}


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["253,4", "1,25", "-7"], [253.4, 1.25, -7]),
        (["1.234,50", "12,5", "1.000.000"], [1234.5, 12.5, 1e6]),
        (["1,234.50", "12.5", "1,000,000"], [1234.5, 12.5, 1e6]),
        (["1,234", "2,500", "17"], [1234, 2500, 17]),
        (["1 234,5", "12 000", "3"], [1234.5, 12000, 3]),
        (["1\u00a0234", "12\u202f000", "3"], [1234, 12000, 3]),
        (["1'234.5", "12'000", "3"], [1234.5, 12000, 3]),
        (["$1,200.00", "-$5", "$7"], [1200, -5, 7]),
        (["12 %", "7.5%", "100%"], [12, 7.5, 100]),
        (["12,50 €", "1.200,00 €", "-3 €"], [12.5, 1200, -3]),
        (["EUR 12", "EUR 1.5", "EUR 3"], [12, 1.5, 3]),
        (["1e5", "2.5E-3", "7"], [1e5, 2.5e-3, 7]),
        (["(1,234.50)", "12.5", "(7)"], [-1234.5, 12.5, -7]),
        (["$(5.00)", "($1,200)", "$7"], [-5, -1200, 7]),
        (["5.25-", "1.5", "3"], [-5.25, 1.5, 3]),
        (["\u22125,5", "1,25", "\u22127 €"], [-5.5, 1.25, -7]),
        (["12 kg", "7.5kg", "-3 kg"], [12, 7.5, -3]),
        (["12 km/h", "7 km/h", "1.200,5 km/h"], [12, 7, 1200.5]),
        (["US$ 12", "US$1,200", "-US$ 3"], [12, 1200, -3]),
        (["$5", "6", "7.5"], [5, 6, 7.5]),
        (["₹1,20,000", "₹ 50,000", "₹12,34,567.50"], [120000, 50000, 1234567.5]),
        (["1,20,000", "950", "-1,00,00,000"], [120000, 950, -1e7]),
        (["１２．５", "７", "－３"], [12.5, 7, -3]),
        (["١٢٫٥", "٧", "1,200"], [12.5, 7, 1200]),
        (["21 °C", "-3°C", "\u22124 °C"], [21, -3, -4]),
    ],
)
def test_spelling_is_found_and_reads_its_numbers(texts: list[str], numbers: list[float]) -> None:
    spelling, read = find_spelling(dict.fromkeys(texts, 2))
    assert read == 2 * len(texts)
    assert [float(spelling.normalize(text) or "nan") for text in texts] == numbers
    assert NumberSpelling.from_json(spelling.to_json()) == spelling


@pytest.mark.parametrize(
    "text",
    ["007", "12.5.2020", "1,23,4", "1,200,00", "100,20,000", "1.2.3", "12:30", "A1", "", "€", "--1", "0x1F"],
)
def test_other_texts_are_numbers_in_no_spelling(text: str) -> None:
    assert find_spelling({text: 1})[1] == 0


@pytest.mark.parametrize(
    ("texts", "read"),
    [
        (["$5", "$6", "€7"], 2),  # two currencies are two units
        (["12 kg", "7 lb", "3 kg"], 2),
        (["12 %", "7 %", "0.05"], 2),  # 0.05 may be 5 %
        (["12 %", "7 %", "0"], 3),
        (["1.5k", "2k", "300"], 2),
        (["SKU12", "SKU13"], 0),
        (["Q1", "Q2"], 0),
        (["(-5)", "(5", "5)", "-5-"], 0),
    ],
)
def test_number_of_another_unit_is_no_number_of_the_spelling(texts: list[str], read: int) -> None:
    assert find_spelling(dict.fromkeys(texts, 1))[1] == read


def test_comma_is_thousands_unless_it_is_said_or_shown_to_be_decimal() -> None:
    assert find_spelling(GROUPED)[0].thousands == ","
    assert find_spelling({"1,234": 1}, NumberMarks(decimal=","))[0].normalize("1,234") == "1.234"
    assert find_spelling({"1,234": 1}, NumberMarks(likely_decimal=","))[0].normalize("1,234") == "1.234"
    assert find_spelling({"1,234": 1, "1,2345": 1})[0].normalize("1,234") == "1.234"


def prices(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    spelt = [f"{value:.2f}".replace(".", ",") for value in 100 + 20 * x]
    return pd.DataFrame({"size": [f"{value:.3f}".replace(".", ",") for value in x], "price": spelt})


def test_decimal_commas_of_feature_and_target_make_a_regression(opened: Open, tmp_path: Path) -> None:
    prices().to_csv(tmp_path / "a.csv", index=False, sep=";")
    found = opened("csv:a.csv", columns={"target": "price"})
    assert found.task == "regression"
    assert found.columns["size"].kind == "number"
    assert any("column 'price' is read as numbers (decimal ',')" in note for note in found.notes)
    truth = prices()["price"].str.replace(",", ".").astype(float)
    assert found.target is not None
    np.testing.assert_array_equal(np.asarray(found.target.values), truth)


def test_model_reads_a_persons_spelling_as_training_did(opened: Open, tmp_path: Path) -> None:
    prices().to_csv(tmp_path / "a.csv", index=False, sep=";")
    found = opened("csv:a.csv", columns={"target": "price"})
    state = fit_table(found)
    known = apply_table(state, found.columns)[0]
    rows = prices()
    np.testing.assert_array_equal(apply_table(state, rows[["size"]])[0], known)
    plain = pd.DataFrame({"size": rows["size"].str.replace(",", ".").astype(float)})
    np.testing.assert_array_equal(apply_table(state, plain)[0], known)
    with pytest.raises(InputError, match="'big' in row 0"):
        apply_table(state, pd.DataFrame({"size": ["big"]}))


def test_two_words_in_a_column_of_numbers_are_missing_in_training_and_in_use(
    opened: Open, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"sensor": rng.normal(size=400).round(4).astype(str), "label": ["a", "b"] * 200})
    frame.loc[[5, 9], "sensor"] = "unknown"
    frame.to_csv(tmp_path / "a.csv", index=False)
    found = opened("csv:a.csv")
    assert found.columns["sensor"].kind == "number"
    assert any(
        "'unknown' in 2 of 400 rows read as missing; columns.types: {sensor: category}" in n
        for n in found.notes
    )
    state = fit_table(found)
    answers = apply_table(state, pd.DataFrame({"sensor": ["unknown", None]}))[0]
    assert answers[0] == answers[1]
    kept = opened("csv:a.csv", columns={"types": {"sensor": "category"}})
    assert kept.columns["sensor"].kind == "category"


@pytest.mark.parametrize("values", [["10%", "20%", "30%"], ["1", "2", "many"], ["1,5", "2,5", "9,0"]])
def test_few_spelt_numbers_of_a_target_stay_names_of_classes(
    opened: Open, tmp_path: Path, values: list[str]
) -> None:
    pd.DataFrame({"x": range(300), "label": values * 100}).to_csv(tmp_path / "a.csv", index=False)
    assert opened("csv:a.csv").classes == tuple(sorted(values))


@pytest.mark.parametrize(
    ("kind", "values", "then"),
    [
        ("category", [8001, 8002, 8001], ["8001", "8002", "8001"]),
        ("number", ["7", "x", "9"], [7.0, None, 9.0]),
        (
            {"type": "time", "format": "%d.%m.%Y"},
            ["31.12.1970", "01.01.1970", ""],
            [364 * 86400.0, 0.0, None],
        ),
        ("text", ["a", "b", "c"], ["a", "b", "c"]),
    ],
)
def test_type_that_is_said_decides(
    opened: Open, tmp_path: Path, kind: object, values: list[object], then: list[object]
) -> None:
    frame = pd.DataFrame({"zip": values * 40, "x": range(120), "label": ["a", "b"] * 60})
    frame.to_csv(tmp_path / "a.csv", index=False)
    column = opened("csv:a.csv", columns={"types": {"zip": kind}}).columns["zip"]
    found = [None if value is None or value != value else value for value in list(column.values)[:3]]
    assert found == then


def test_time_format_is_kept_for_use(opened: Open, tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=200).strftime("%d/%m/%Y")
    pd.DataFrame({"when": days, "label": ["a", "b"] * 100}).to_csv(tmp_path / "a.csv", index=False)
    found = opened("csv:a.csv", columns={"types": {"when": {"type": "time", "format": "%d/%m/%Y"}}})
    state = fit_table(found)
    np.testing.assert_array_equal(
        apply_table(state, pd.DataFrame({"when": days}))[0], apply_table(state, found.columns)[0]
    )
    with pytest.raises(InputError, match="dates of the format '%d/%m/%Y'"):
        apply_table(state, pd.DataFrame({"when": ["first"]}))
    iso = pd.DataFrame({"when": ["2020-01-02", "02/01/2020"]})
    assert len(set(apply_table(state, iso)[0][:, 0])) == 1


@pytest.mark.parametrize(
    ("types", "key", "says"),
    [
        ({"zap": "category"}, ("data", "columns", "types", "zap"), "did you mean 'zip'"),
        ({"zip": "words"}, ("data", "columns", "types", "zip"), "one of number, category, text, time"),
        (
            {"zip": {"type": "number", "format": "%d"}},
            ("data", "columns", "types", "zip"),
            "a format is for a time",
        ),
        ({"zip": {"type": "time", "order": 1}}, ("data", "columns", "types", "zip"), "type and format"),
        (
            {"zip": {"type": "time", "format": "%d.%m.%Y"}},
            ("data", "columns", "types", "zip"),
            "'8001' in row 1",
        ),
        (["zip"], ("data", "columns", "types"), "mapping"),
    ],
)
def test_wrong_types_are_refused_with_their_key(
    opened: Open, tmp_path: Path, types: object, key: tuple[str, ...], says: str
) -> None:
    pd.DataFrame({"zip": [8001] * 60, "x": range(60), "label": ["a", "b"] * 30}).to_csv(
        tmp_path / "a.csv", index=False
    )
    with pytest.raises(InputError, match=says) as caught:
        opened("csv:a.csv", columns={"types": types})
    assert caught.value.key == key


@pytest.mark.parametrize(("scale", "value"), [("standard", 1e308), ("minmax", 1.7e308), ("none", 1e39)])
def test_numbers_that_no_model_can_compute_with_are_refused_by_name(
    opened: Open, tmp_path: Path, scale: str, value: float
) -> None:
    frame = pd.DataFrame({"x": [value, -value, 1.5] * 40, "z": range(120), "label": ["a", "b"] * 60})
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=r"column 'x' must hold numbers .* -1.*e\+.*drop: \[x\]"):
        fit_table(opened("csv:a.csv", prepare={"scale": scale}))


@pytest.mark.parametrize("day", ["0000-00-00", "2020-02-30"])
def test_day_that_is_none_is_named_with_what_to_write(opened: Open, tmp_path: Path, day: str) -> None:
    days = [day if n == 7 else f"2020-01-{n % 28 + 1:02d}" for n in range(90)]
    pd.DataFrame({"day": days, "label": ["a", "b"] * 45}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=rf"'{day}' in 1 of 90 rows; .*types: \{{day: category\}}"):
        opened("csv:a.csv")


def test_column_that_was_words_before_gives_another_fingerprint(opened: Open, tmp_path: Path) -> None:
    """What a sweep began as words must not go on as numbers without a word."""
    found = {}
    for name, spell in {
        "plain": "{}",
        "euro": "{} €",
        "mass": "{} kg",
        "brackets": "({})",
        "lakhs": "1,20,{:05.1f}",
    }.items():
        values = [spell.format(n + 0.5) for n in range(120)]
        pd.DataFrame({"x": values, "label": ["a", "b"] * 60}).to_csv(tmp_path / f"{name}.csv", index=False)
        (column,) = [opened(f"csv:{name}.csv").columns["x"]]
        assert column.kind == "number"
        with patch("trainers.data.column_readings.is_of_late", return_value=False):
            found[name] = opened(f"csv:{name}.csv").fingerprint
        assert (found[name] == opened(f"csv:{name}.csv").fingerprint) == (name in ("plain", "euro"))


@pytest.mark.parametrize("how", ["csv", "parquet", "decimal"])
def test_whole_numbers_that_doubles_cannot_tell_apart_are_a_category(tmp_path: Path, how: str) -> None:
    codes = [2**60 + n % 2 for n in range(60)]
    columns = {"code": codes, "near": [2**53 - n for n in range(60)], "label": ["a", "b"] * 30}
    table = pa.table(columns)
    if how == "decimal":
        table = table.set_column(0, "code", table["code"].cast(pa.decimal128(30, 0)))
    if how == "csv":
        pa_csv.write_csv(table, tmp_path / "rows.csv")
    else:
        pq.write_table(table, tmp_path / "rows.parquet")
    source = f"{'csv' if how == 'csv' else 'parquet'}:rows.{'csv' if how == 'csv' else 'parquet'}"
    spec = {"source": source, "columns": {"target": "label"}}
    dataset = open_dataset(spec, base=tmp_path, cache=tmp_path)
    assert {name: column.kind for name, column in dataset.columns.items()} == {
        "code": "category",
        "near": "number",
    }
    assert set(dataset.columns["code"].values) == {str(2**60), str(2**60 + 1)}
    assert any(
        "2 different whole numbers beyond 2^53, which as numbers would be 1" in n for n in dataset.notes
    )
    asked = {**spec, "columns": {**spec["columns"], "types": {"code": "number"}}}
    assert open_dataset(asked, base=tmp_path, cache=tmp_path).columns["code"].kind == "number"


@pytest.mark.parametrize("others", [("US", "DE", "ZA"), ("EU", "AS", "SA"), ("FR", "GB")])
def test_na_among_codes_of_countries_is_namibia_in_training_and_in_use(
    opened: Open, tmp_path: Path, others: tuple[str, ...]
) -> None:
    codes = ["NA", *others]
    rows = [f"{codes[n % len(codes)]},{n},{codes[n % 7 % len(codes)]}" for n in range(200)]
    (tmp_path / "a.csv").write_text("\n".join(["country,x,label", *rows]))
    found = opened("csv:a.csv")
    assert found.classes == tuple(sorted(codes))
    assert None not in found.columns["country"].values
    assert "column 'country' holds codes of countries or regions: NA in" in " ".join(found.notes)
    ids = apply_table(fit_table(found), pd.DataFrame({"country": ["NA", None, ""], "x": [1, 2, 3]}))[1]
    assert ids[0] > 0
    assert list(ids[1:]) == [0, 0]


@pytest.mark.parametrize(
    "others", [("S", "C", "Q"), ("ZA",), ("NY", "TX", "CA"), ("na", "DE", "FR"), ("US", "")]
)
def test_na_among_other_words_is_missing(opened: Open, tmp_path: Path, others: tuple[str, ...]) -> None:
    codes = ["NA", *others]
    rows = [f"{codes[n % len(codes)]},{n},{'ab'[n % 2]}" for n in range(200)]
    (tmp_path / "a.csv").write_text("\n".join(["country,x,label", *rows]))
    assert opened("csv:a.csv").columns["country"].values[0] is None


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["inf", "-Infinity", "1.5", "2"], "column 'v' has 100 infinite numbers"),
        (["2020-01-01T00:00:00Z", "2020-01-01 02:00"], "100 of 200 times of column 'v' have no zone"),
        (["2020-01-01 10:00+02:00", "2020-01-01 02:00:00.5"], "100 of 200 times of column 'v' have no zone"),
        (["1.234", "12.001", "123.456", "7"], "are they thousands?"),
    ],
)
def test_cells_that_may_mean_something_else_are_said(
    opened: Open, tmp_path: Path, cells: list[str], says: str
) -> None:
    rows = [f"{cells[n % len(cells)]};{n};{'ab'[n % 2]}" for n in range(200)]
    (tmp_path / "a.csv").write_text("\n".join(["v;x;label", *rows]))
    assert says in " ".join(opened("csv:a.csv").notes)


@pytest.mark.parametrize("cells", [["1.5", "2"], ["2020-01-01", "2020-01-02"], ["1.23", "12.001"], ["info"]])
def test_usual_cells_are_not_spoken_of(opened: Open, tmp_path: Path, cells: list[str]) -> None:
    rows = [f"{cells[n % len(cells)]};{n};{'ab'[n % 2]}" for n in range(200)]
    (tmp_path / "a.csv").write_text("\n".join(["v;x;label", *rows]))
    assert not any("'v'" in note for note in opened("csv:a.csv").notes)


def test_invisible_signs_around_numbers_are_passed_over(opened: Open, tmp_path: Path) -> None:
    rows = [f"\u200b{n},\ufeff{n} ,{'ab'[n % 2]}" for n in range(200)]
    (tmp_path / "a.csv").write_text("\n".join(["v,w,label", *rows]), encoding="utf-8")
    found = opened("csv:a.csv")
    np.testing.assert_array_equal(np.asarray(found.columns["v"].values), np.arange(200))
    np.testing.assert_array_equal(np.asarray(found.columns["w"].values), np.arange(200))


def test_target_whose_name_has_blanks_is_found_and_alike_names_are_said(opened: Open, tmp_path: Path) -> None:
    rows = [f"{n}, {n % 7}, {'ab'[n % 2]}" for n in range(200)]
    (tmp_path / "a.csv").write_text("\n".join(["x, X, label", *rows]))
    found = opened("csv:a.csv")
    assert found.target is not None
    assert found.target.name == " label"
    assert any("columns 'x', ' X' differ by blanks or case alone" in note for note in found.notes)


@pytest.mark.parametrize(("count", "said"), [(2, False), (5, True)])
def test_few_whole_numbers_of_a_target_are_classes_and_the_other_task_is_said(
    opened: Open, tmp_path: Path, count: int, said: bool
) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["x,label", *(f"{n},{n % count}" for n in range(200))]))
    found = opened("csv:a.csv")
    assert found.task == "classification"
    assert any("where their size counts write task: regression" in note for note in found.notes) == said


@pytest.mark.parametrize("how", ["csv", "parquet"])
def test_the_first_two_whole_numbers_that_doubles_merge_are_categories(
    opened: Open, tmp_path: Path, how: str
) -> None:
    frame = pd.DataFrame({"id": [2**53, 2**53 + 1] * 100, "x": range(200), "label": ["a", "b"] * 100})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    assert opened(f"{how}:a.{how}").columns["id"].kind == "category"
