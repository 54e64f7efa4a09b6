"""Strict YAML: what is read, what is refused, with which line, how fast and in how little memory."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.errors import YamlError
from search_spaces.strict_yaml import load_yaml, read_file
from tests.search_spaces.hostile_files import HOSTILE


def value_of(text: str) -> Any:
    return load_yaml(f"x: {text}\n".encode(), "f.yaml").value["x"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1.0e-3", 0.001),
        ("+2", 2),
        ("-7", -7),
        (".5", 0.5),
        ("5.", 5.0),
        ("0", 0),
        ("0.25", 0.25),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("y", "y"),
        ("nan", "nan"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("10m", "10m"),
        ("'1e-3'", "1e-3"),
        ('"012"', "012"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
    ],
)
def test_yaml_plain_scalar_has_one_meaning(text: str, value: Any) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *[
            "012",
            "-007",
            "00.5",
            "0x1F",
            "0o17",
            "0b1",
            "1_000",
            ".nan",
            ".inf",
            "-.inf",
            "+.INF",
            "1e400",
            "1e-400",
        ],
        "9" * 30,
        "1" * 100,
    ],
)
def test_yaml_ambiguous_or_endless_number_is_refused(text: str) -> None:
    with pytest.raises(YamlError) as caught:
        load_yaml(f"a: 1\nb: {text}\n".encode(), "f.yaml")
    assert caught.value.line == 2
    assert caught.value.key == ("b",)
    assert caught.value.do


def test_yaml_document_knows_the_line_of_keys_and_values() -> None:
    document = load_yaml(b"a: 1\nb:\n  - 2\n  - {c: 3,\n     d: 4}\n\ne: |\n  text\n", "f.yaml")
    assert document.value == {"a": 1, "b": [2, {"c": 3, "d": 4}], "e": "text\n"}
    assert document.key_lines[("b",)] == 2
    assert document.value_lines[("b",)] == 3
    assert document.key_lines[("b", 1)] == 4
    assert document.line(("b", 1, "d")) == 5
    assert document.line(("b", 1, "nothing", "there")) == 4
    assert document.line(("e",)) == 7
    assert document.line(("unknown",)) == 1


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "first on line 1"),
        ("a:\n  b: 1\n  b: 2\n", 3, "'b' again"),
        ("a: &x 1\n", 1, "anchor"),
        ("a: 1\nb: *x\n", 2, "alias"),
        ("a: 1\n<<: {b: 2}\n", 2, "merge"),
        ("a: !!python/object/apply:os.system [echo]\n", 1, "tags"),
        ("a: !!str 1\n", 1, "tags"),
        ("a: ! x\n", 1, "tags"),
        ("a: 1\n---\nb: 2\n", 2, "one document"),
        ("%YAML 1.1\n---\na: 1\n", 1, "directives"),
        ("a: 1\n? [x]\n: 2\n", 2, "key"),
        ("a: 1\n: 2\n", 2, "key"),
        ("a: b: c\n", 1, "YAML"),
        ("a: 1\n\tb: 2\n", 2, "YAML"),
        ("a: 'x\n", 2, "YAML"),
        ("a: [1, 2\n", 2, "YAML"),
    ],
)
def test_yaml_trap_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(YamlError) as caught:
        load_yaml(text.encode(), "f.yaml")
    assert caught.value.line == line
    assert words in str(caught.value)
    assert "f.yaml" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "long number with underscores"])
def test_yaml_hostile_file_is_refused_at_once(name: str) -> None:
    began = time.process_time()
    with pytest.raises(YamlError):
        load_yaml(HOSTILE[name], "f.yaml")
    assert time.process_time() - began < 1.0


def test_long_text_that_looks_like_a_number_takes_linear_time() -> None:
    began = time.process_time()
    assert isinstance(load_yaml(HOSTILE["long number with underscores"], "f.yaml").value["a"], str)
    assert time.process_time() - began < 1.0


def test_yaml_file_over_one_megabyte_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(YamlError, match="1 MB"):
        read_file(large)


@pytest.mark.parametrize("name", ["", "missing.yaml", "nul\0.yaml", "x" * 300])
def test_yaml_path_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(YamlError, match="file must"):
        read_file(tmp_path / name)


def test_yaml_device_path_is_refused() -> None:
    with pytest.raises(YamlError, match="must exist"):
        read_file(Path("/dev/zero"))


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_plain(item, depth + 1) for item in value)
    return value is None or isinstance(value, (str, bool, int)) or math.isfinite(value)


yaml_like = st.text(alphabet=st.sampled_from("abc01 :-?[]{},&*!|>'\"%#\n\t.e+_~<"), max_size=80)


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=100).map(lambda t: t.encode("utf-8", "replace")),
        yaml_like.map(str.encode),
    )
)
def test_yaml_of_any_bytes_is_plain_value_or_yaml_error(data: bytes) -> None:
    try:
        document = load_yaml(data, "f.yaml")
    except YamlError:
        return
    assert _is_plain(document.value)
    assert all(line >= 1 for line in document.key_lines.values())


def test_yaml_error_survives_pickling() -> None:
    import pickle

    with pytest.raises(YamlError) as caught:
        load_yaml(b"a: 012", "f.yaml")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.line == 1
