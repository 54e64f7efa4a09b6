"""Modules of people's own: imported as a program without arguments, or refused with what to do."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.code.importing import import_function, import_module
from trainers.errors import InputError
from trainers.registry import load_reference

PARSER = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
{more}
args = parser.parse_args()


def train(trial):
    pass
"""


def test_parser_at_the_top_of_a_module_reads_its_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "naive_script.py").write_text(PARSER.format(more=""))
    monkeypatch.syspath_prepend(tmp_path)
    given = ["velodrome", "plan", "naive.yaml"]
    monkeypatch.setattr(sys, "argv", given)
    load_reference("naive_script:train")
    assert import_module("naive_script").args.lr == 0.1
    assert (sys.argv, sys.argv is given) == (["velodrome", "plan", "naive.yaml"], True)


def test_parser_that_needs_arguments_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "strict_script.py").write_text(PARSER.format(more='parser.add_argument("data")'))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"sys\.exit\(2\) while it is imported.*inside the function"):
        load_reference("strict_script:train")
    assert "usage: strict_script.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ("rate = None\nprint(rate * 2)", r"TypeError: unsupported .* \(script\.py, line 2\)"),
        ("open('no.csv')", r"FileNotFoundError: .* \(script\.py, line 1\)"),
        ("def train(trial:", r"SyntaxError: '\(' was never closed \(script\.py, line 1\)"),
        ("object.nothing", r"AttributeError: .*'nothing' \(script\.py, line 1\)"),
    ],
)
@pytest.mark.parametrize("load", [import_module, load_reference, import_function])
def test_error_at_the_top_of_a_module_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[[str], object], top: str, said: str
) -> None:
    (tmp_path / "script.py").write_text(top)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "script", raising=False)
    with pytest.raises(InputError, match=f"script must be importable; but got {said}; correct the module"):
        load("script" if load is import_module else "script:train")


def test_function_of_a_notebook_is_refused_by_its_name() -> None:
    with pytest.raises(InputError, match=r"importable by its name in another process.*put the function"):
        load_reference("__main__:train")
    with pytest.raises(InputError, match=r"importable by its name in another process.*put the function"):
        import_function("__main__:build")


@pytest.mark.parametrize(
    ("top", "said"),
    [
        (
            "import os\nos._exit(0)",
            r"it would have ended its process with .* \(script\.py, line 2\)",
        ),
        ("import os\nos.abort()", r"it would have ended its process by os\.abort \(script\.py, line 2\)"),
        ("raise KeyboardInterrupt", r"KeyboardInterrupt: no message \(script\.py, line 1\)"),
        ("class Stop(BaseException): pass\nraise Stop('no')", r"Stop: no \(script\.py, line 2\)"),
        (
            "class Mute(Exception):\n    def __str__(self): raise OSError\nraise Mute",
            r"Mute: its text cannot be read \(OSError\) \(script\.py, line 3\)",
        ),
        ("raise ValueError('x' * 10**7)", r"ValueError: x{238} … \(10000012 characters\) \(script"),
    ],
)
def test_module_that_ends_its_process_or_raises_what_nothing_takes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: str, said: str
) -> None:
    """`plan` ended with the module's own status, and without a word."""
    (tmp_path / "script.py").write_text(top)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "script", raising=False)
    with pytest.raises(InputError, match=f"script must be importable; but got {said}"):
        load_reference("script:train")


def test_interrupt_by_a_person_while_a_module_is_imported_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "script", raising=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            load_reference("script:train")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_arguments_that_a_module_replaces_are_the_commands_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script.py").write_text("import sys\nsys.argv = ['other']\ndef train(trial): pass")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "script", raising=False)
    given = ["velodrome", "plan", "file.yaml"]
    monkeypatch.setattr(sys, "argv", given)
    load_reference("script:train")
    assert sys.argv is given
    assert given == ["velodrome", "plan", "file.yaml"]
