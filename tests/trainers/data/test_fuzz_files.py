"""Damaged and odd files of every source: data, or a refusal; never another error."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from trainers.column_profiles import profile_columns
from trainers.data.sources.opening import open_dataset
from trainers.data_profile import profile_dataset
from trainers.errors import InputError
from trainers.families.image_cnn import ImageCNN
from trainers.families.mlp import MLP
from trainers.families.text_cnn import TextCNN
from trainers.inputs.encoded_arrays import encode_dataset

EXAMPLES = 400 if os.environ.get("EVERY_WRITE") else 40
FUZZ = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def csv_bytes() -> bytes:
    rows = [f'{n / 7:.3f},"t{n % 3}, x",{n % 2}' for n in range(60)]
    return "\n".join(["size,town,label", *rows]).encode()


def jsonl_bytes() -> bytes:
    return "\n".join(json.dumps({"x": n, "y": [n % 3], "label": "ab"[n % 2]}) for n in range(60)).encode()


def array_bytes() -> bytes:
    return json.dumps([{"x": n, "label": "ab"[n % 2]} for n in range(60)]).encode()


def parquet_bytes() -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(pa.table({"x": list(range(60)), "label": ["a", "b"] * 30}), sink)
    return sink.getvalue()


def npz_bytes() -> bytes:
    sink = io.BytesIO()
    np.savez(sink, images=np.arange(60 * 16, dtype=np.uint8).reshape(60, 4, 4) % 251, labels=[0, 1] * 30)
    return sink.getvalue()


def png_bytes() -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(sink, "PNG")
    return sink.getvalue()


def text_bytes() -> bytes:
    return "\n\n".join(f"Paragraph {n} of a text." for n in range(60)).encode()


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "csv": ("a.csv", csv_bytes),
    "jsonl": ("a.jsonl", jsonl_bytes),
    "array": ("a.json", array_bytes),
    "parquet": ("a.parquet", parquet_bytes),
    "npz": ("a.npz", npz_bytes),
    "text": ("a.txt", text_bytes),
}


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    kind = draw(st.sampled_from(["cut", "flip", "insert", "drop", "repeat"]))
    at, more = draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=8))

    def damage(data: bytes) -> bytes:
        place = int(at * (len(data) - 1))
        return {
            "cut": data[:place],
            "flip": data[:place] + more + data[place + len(more) :],
            "insert": data[:place] + more + data[place:],
            "drop": data[:place] + data[place + 7 :],
            "repeat": data[:place] + data,
        }[kind]

    return damage


def open_or_refuse(source: str, folder: Path) -> None:
    """Reads, profiles and encodes; any other error fails the test."""
    try:
        dataset = open_dataset({"source": source}, base=folder, cache=folder / "cache")
        profile_dataset(dataset)
        profile_columns(dataset)
        family = {"image": ImageCNN, "table": MLP}.get(dataset.kind, TextCNN)()
        family.check(dataset)
        encode_dataset(family, dataset, family.complete({}), folder / "cache")
    except InputError:
        return


@pytest.mark.parametrize(
    ("at", "value", "found"),
    [(6, 64, "zip file version 6.4"), (10, 99, "compression method"), (8, 1, "encrypted")],
)
def test_archive_that_python_does_not_unpack_is_refused(
    at: int, value: int, found: str, tmp_path: Path
) -> None:
    """A byte of the directory says the version that it needs, how it is packed, whether it is encrypted."""
    data = bytearray(npz_bytes())
    for place in range(len(data)):
        if data[place : place + 4] == b"PK\x01\x02":
            data[place + at] = value
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match=found):
        open_dataset({"source": "npz:a.npz"}, base=tmp_path, cache=tmp_path / "cache")


@pytest.mark.parametrize("kind", FILES)
@given(damage=damages())
@FUZZ
def test_damaged_file_gives_data_or_a_refusal(
    kind: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    name, make = FILES[kind]
    scheme = {"array": "jsonl"}.get(kind, kind)
    (tmp_path / name).write_bytes(damage(make()))
    open_or_refuse(f"{scheme}:{name}", tmp_path)


@given(damage=damages())
@FUZZ
def test_damaged_picture_among_others_gives_data_or_a_refusal(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    for label in "ab":
        (tmp_path / "pictures" / label).mkdir(parents=True, exist_ok=True)
        for number in range(12):
            (tmp_path / "pictures" / label / f"{number}.png").write_bytes(png_bytes() + bytes([number]))
    (tmp_path / "pictures" / "a" / "0.png").write_bytes(damage(png_bytes()))
    open_or_refuse("images:pictures", tmp_path)


CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "NA", "nan", "-", "?", "True", "0", "0.0", "1e308", "-1e400", "1,5", "1.234,5", "€ 3", "50%",
         "007", "0000-00-00", "2020-02-30", "31.12.2020", "[1]", '{"a": 1}', "=1+1", "1_000", "1 000"]
    ),
)  # fmt: skip


ROW = st.tuples(CELLS, CELLS, st.sampled_from(["a", "b", "0", "0.0", " a"]))


@given(rows=st.lists(ROW, min_size=1, max_size=60))
@FUZZ
def test_odd_cells_give_data_or_a_refusal(rows: list[tuple[str, str, str]], tmp_path: Path) -> None:
    import csv

    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y", "label"])
        writer.writerows(rows)
    open_or_refuse("csv:a.csv", tmp_path)
    lines = [json.dumps(dict(zip("xyl", row, strict=True))) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    open_or_refuse("jsonl:a.jsonl", tmp_path)
