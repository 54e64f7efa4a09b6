"""Commands as families of a sweep file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flows.config.loading import load_sweep
from flows.config.resolving import resolve_sweep
from infra.errors import WrongInput
from trainers.registry import COMMAND

FILE = """
name: cmd
data: {source: none}
objective: {metric: accuracy}
families:
  cnn:
    command: python train.py ${args}
    metrics: {accuracy: 'acc=([0-9.]+)'}
    space: {rate: {type: float, low: 0.1, high: 1.0}}
"""


def write(folder: Path, old: str = "", new: str = "") -> Path:
    path = folder / "cmd.yaml"
    path.write_text(FILE.replace(old, new) if old else FILE)
    return path


def test_a_command_is_a_family_of_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (family,) = resolve_sweep(load_sweep(write(tmp_path))).families
    assert (family.name, family.reference, family.written_as) == ("cnn", COMMAND, "cnn")
    assert family.options == {"command": "python train.py ${args}", "metrics": {"accuracy": "acc=([0-9.]+)"}}


def test_function_that_answers_for_a_command_is_found_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "answering_code.py").write_text("def predict(path, rows):\n    return rows\n")
    named = "    keep: model/\n    predict: answering_code:predict\n    space:"
    (family,) = resolve_sweep(load_sweep(write(tmp_path, "    space:", named))).families
    assert family.options["predict"] == "answering_code:predict"
    with pytest.raises(WrongInput, match=r"families\.cnn\.predict"):
        resolve_sweep(load_sweep(write(tmp_path, "    space:", named.replace(":predict\n", ":other\n"))))


def test_a_changed_script_of_a_command_is_another_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = resolve_sweep(load_sweep(write(tmp_path))).families[0].source_hash
    (tmp_path / "train.py").write_text("import this")
    assert resolve_sweep(load_sweep(write(tmp_path))).families[0].source_hash != before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    metrics: {accuracy: 'acc=([0-9.]+)'}\n", "", "families.cnn must have metrics beside command"),
        ("    command: python train.py ${args}\n", "", "families.cnn.metrics must come with command"),
        ("${args}", "--rate ${rat}", "families.cnn.command: command must use names of the space"),
        (
            "([0-9.]+)",
            "[0-9.]+",
            "families.cnn.metrics.accuracy: the expression of accuracy must have a group",
        ),
        ("  cnn:", "  mlp:", "not be the name of other code"),
        ("    space: {rate: {type: float, low: 0.1, high: 1.0}}\n", "", "families.cnn.space must be given"),
        ("    space:", "    options: {a: 1}\n    space:", "be left out for a command"),
    ],
)
def test_a_command_that_cannot_be_called_is_refused_by_its_key(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(WrongInput) as caught:
        resolve_sweep(load_sweep(write(tmp_path, old, new)))
    assert said in str(caught.value)
