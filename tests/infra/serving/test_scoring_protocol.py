"""MLflow's scoring protocol: what is read, and how everything else is answered."""

from __future__ import annotations

import base64
import io
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from infra.serving.column_values import check_values
from infra.serving.limits import RequestLimits, ScoringError
from infra.serving.model_schema import Field
from infra.serving.scoring_protocol import read_rows

TABLE = [Field(name="a", type="double"), Field(name="b", type="string")]
TEXT = [Field(name="text", type="string")]
IMAGE = [Field(name="image", type="any")]
CLIP = [Field(name="audio", type="audio")]
LIMITS = RequestLimits(rows=5)
PICTURE = [[0, 255], [128, 3]]


def read_json_rows(
    document: Any, fields: list[Field] = TABLE, limits: RequestLimits = LIMITS
) -> dict[str, list[Any]]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_rows(body, "application/json", fields, limits).columns


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["b", "a"], "index": [0, 1], "data": [["x", 1], ["y", 2.5]]}},
        {"dataframe_records": [{"a": 1, "b": "x"}, {"b": "y", "a": 2.5, "more": [1]}]},
        {"instances": [{"a": 1, "b": "x"}, {"a": 2.5, "b": "y"}]},
        {"instances": [[1, "x"], [2.5, "y"]]},
        {"inputs": {"a": [1, 2.5], "b": ["x", "y"]}},
        {"inputs": [[1, "x"], [2.5, "y"]], "params": {"any": 1}},
    ],
)
def test_json_request_in_any_form_gives_the_same_rows(document: Any) -> None:
    assert read_json_rows(document) == {"a": [1.0, 2.5], "b": ["x", "y"]}


def test_request_value_of_another_type_is_the_category_that_files_read() -> None:
    values = [True, 1, 2.0, ["gold", "eu"]]
    found = read_json_rows({"instances": [[1, value] for value in values]})
    assert found["b"] == ["true", "1", "2", '["gold", "eu"]']


def test_csv_request_gives_rows_by_column() -> None:
    body = b'\xef\xbb\xbfb,a\n"x, and\n more",1\ny,NA\n'
    found = read_rows(body, "text/csv; charset=UTF-8", TABLE, LIMITS)
    assert found.columns == {"a": [1.0, None], "b": ["x, and\n more", "y"]}


def test_request_mask_is_an_image_as_the_document_says() -> None:
    assert read_json_rows({"instances": [[[True, False]]]}, IMAGE) == {"image": [[[True, False]]]}


def test_infinite_number_of_a_csv_request_is_missing_as_in_a_file() -> None:
    found = read_rows(b"a,b\ninf,x\n1e400,y\n-Infinity,z\n", "text/csv", TABLE, LIMITS)
    assert found.columns["a"] == [None, None, None]


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_request_to_model_of_one_column_takes_bare_values(key: str) -> None:
    assert read_json_rows({key: ["one", "two"]}, TEXT) == {"text": ["one", "two"]}
    assert read_json_rows({key: [PICTURE, PICTURE]}, IMAGE) == {"image": [PICTURE, PICTURE]}


def test_request_image_is_base64_and_never_a_path() -> None:
    from PIL import Image

    content = io.BytesIO()
    Image.new("L", (2, 2)).save(content, "PNG")
    text = base64.b64encode(content.getvalue()).decode()
    assert read_json_rows({"instances": [text]}, IMAGE) == {"image": [content.getvalue()]}
    for path in ("/etc/passwd", "../../etc/hostname", "file:///etc/passwd", "L2V0Yy9wYXNzd2Q="):
        with pytest.raises(ScoringError, match="an image is wanted"):
            read_json_rows({"instances": [path]}, IMAGE)


def test_request_clip_is_base64_of_sound_and_never_a_path(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    content = (tmp_path / "a.wav").read_bytes()
    clip = base64.b64encode(content).decode()
    for text in (clip, f"base64:{clip}"):
        assert read_json_rows({"instances": [text]}, CLIP) == {"audio": [content]}
    for wrong in (str(tmp_path / "a.wav"), base64.b64encode(b"letters").decode(), clip[:40], 3, [0.5, 0.25]):
        with pytest.raises(ScoringError, match="column 'audio', row 0: a clip is wanted"):
            read_json_rows({"instances": [{"audio": wrong}]}, CLIP)


def test_request_image_bomb_is_refused_by_its_header() -> None:
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(ScoringError) as refused:
        read_json_rows({"instances": [base64.b64encode(png).decode()]}, IMAGE)
    assert refused.value.status == 400


def test_request_image_that_is_a_program_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "EPS")
    with pytest.raises(ScoringError, match="EPS is drawn by running it"):
        read_json_rows({"instances": [base64.b64encode(buffer.getvalue()).decode()]}, IMAGE)


REFUSED = {
    "no JSON": b'{"instances": [',
    "not UTF-8": b'{"instances": ["\xff"]}',
    "nothing": b"",
    "no object": b"[1]",
    "no form": b"{}",
    "two forms": b'{"instances": [[1, "x"]], "inputs": [[1, "x"]]}',
    "unknown key": b'{"instances": [[1, "x"]], "cheese": 1}',
    "no rows": b'{"instances": []}',
    "NaN": b'{"instances": [[NaN, "x"]]}',
    "infinity": b'{"instances": [[1e999, "x"]]}',
    "larger than a double": b'{"instances": [[1' + b"0" * 400 + b', "x"]]}',
    "so many digits": b'{"instances": [[1' + b"0" * 10_000 + b', "x"]]}',
    "text for a number": b'{"instances": [["1", "x"]]}',
    "true for a number": b'{"instances": [[true, "x"]]}',
    "a list for a number": b'{"instances": [[[1], "x"]]}',
    "half a surrogate": rb'{"instances": [[1, "\ud800"]]}',
    "a short row": b'{"instances": [[1]]}',
    "a missing column": b'{"dataframe_records": [{"a": 1}]}',
    "columns of two lengths": b'{"inputs": {"a": [1, 2], "b": ["x"]}}',
    "a key of a row twice": b'{"dataframe_records": [{"a": 1, "b": "x", "a": 2}]}',
    "a form twice": b'{"instances": [], "instances": [[1, "x"]]}',
    "a column twice": b'{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}',
    "columns that are no names": b'{"dataframe_split": {"columns": [1, 2], "data": [[1, 2]]}}',
    "10,000 brackets": b'{"instances": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10,000 objects": b'{"params": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
    "a million brackets": b"[" * 1_000_000,
    "params that are none": b'{"instances": [[1, "x"]], "params": 3}',
    "a pickle": b"\x80\x04\x95\x00cposix\nsystem\n(S'touch canary'\ntR.",
}


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_request_is_400_with_a_reason(name: str) -> None:
    with pytest.raises(ScoringError) as refused:
        read_json_rows(REFUSED[name])
    assert refused.value.status == 400
    assert len(refused.value.reason) < 600


def test_request_depth_ignores_brackets_in_text() -> None:
    assert read_json_rows({"instances": [[1, "[" * 1000 + '\\"']]}) == {"a": [1.0], "b": ["[" * 1000 + '\\"']}


def test_request_with_too_many_rows_is_413() -> None:
    with pytest.raises(ScoringError) as refused:
        read_json_rows({"instances": [[1, "x"]] * 6})
    assert refused.value.status == 413


@pytest.mark.parametrize(
    "kind",
    ["application/x-pickle", "text/html", "application/json; charset=utf-16", "multipart/form-data", "x"],
)
def test_request_of_unknown_content_type_is_415(kind: str) -> None:
    if kind == "x":
        kind = "application/octet-stream"
    with pytest.raises(ScoringError) as refused:
        read_rows(b'{"instances": [[1, "x"]]}', kind, TABLE, LIMITS)
    assert refused.value.status == 415


@pytest.mark.parametrize(
    "body", [b"", b"a\n", b"a,a\n1,2\n", b"a,b\n1\n", b'a,b\n1,"x\n', b"a,b\nx,y\n", b"\xff"]
)
def test_malformed_csv_request_is_400(body: bytes) -> None:
    with pytest.raises(ScoringError) as refused:
        read_rows(body, "text/csv", TABLE, LIMITS)
    assert refused.value.status == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=15,
)


def outcome(body: bytes, kind: str, fields: list[Field]) -> int:
    """200 for rows that are in order, else the status of the refusal."""
    try:
        rows = read_rows(body, kind, fields, LIMITS)
    except ScoringError as error:
        return error.status
    in_order = 0 < rows.count <= 5 and all(len(values) == rows.count for values in rows.columns.values())
    return 200 if in_order else 0


@given(st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]), json_values)
@pytest.mark.parametrize(
    "fields", [TABLE, TEXT, IMAGE, CLIP, []], ids=["table", "text", "image", "clip", "unknown"]
)
def test_any_json_request_gives_rows_or_a_reason(fields: list[Field], key: str, value: Any) -> None:
    body = json.dumps({key: value}).encode()
    assert outcome(body, "application/json", fields) in (200, 400, 413)


@given(st.binary(max_size=60))
def test_request_of_random_bytes_is_never_a_defect(body: bytes) -> None:
    for kind in ("application/json", "text/csv"):
        assert outcome(body, kind, TABLE) in (400, 413)


def test_numbers_that_training_found_spelt_are_taken_as_numbers_and_texts() -> None:
    assert check_values("cost", "spelt", ["1.234,50 €", 5, 2.5, None]) == ["1.234,50 €", 5.0, 2.5, None]
    for odd in (True, [1], math.inf, 1e31):
        with pytest.raises(ScoringError, match=r"row 0: a .*number"):
            check_values("cost", "spelt", [odd])


def repeated_key() -> bytes:
    return b"{%b}" % b",".join([*(b'"k%d": 0' % n for n in range(40_000)), b'"k7": 1'])


def unlike_records() -> bytes:
    rows = (b"{%b}" % b",".join(b'"k%d": 0' % (row * 10 + at) for at in range(10)) for row in range(4_000))
    return b'{"dataframe_records": [%b]}' % b",".join(rows)


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        (repeated_key(), "", 400, "'k7' stands"),
        (unlike_records(), "", 400, "rows must have the same columns"),
        (b'{"dataframe_records": [%b]}' % b",".join([b"{}"] * 200_000), "", 413, "got 200000"),
        (b'{"instances": [1]}', "application/json" + ";" * 60_000, 415, "at most 200 characters"),
    ],
    ids=["keys", "unlike rows", "rows", "content type"],
)
def test_request_made_to_take_the_square_of_its_length_is_refused_at_once(
    body: bytes, kind: str, status: int, says: str
) -> None:
    began = time.process_time()
    with pytest.raises(ScoringError, match=says) as refused:
        read_rows(body, kind, TABLE, RequestLimits())
    assert refused.value.status == status
    assert time.process_time() - began < 2.0  # 40,000 keys took two minutes


def test_sparse_rows_of_a_wide_model_are_read_as_they_are() -> None:
    wide = [Field(name=f"c{n}", type="double") for n in range(300)]
    rows = [{f"c{(row + at) % 300}": 1.0 for at in range(3)} | {"other": row} for row in range(600)]
    found = read_json_rows({"dataframe_records": rows}, wide, RequestLimits())
    assert list(found) == [field.name for field in wide]
    assert sum(value is not None for values in found.values() for value in values) == 1_800
