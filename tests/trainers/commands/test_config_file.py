"""Commands that read their configuration from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainers.commands.config_file import write_config
from trainers.commands.options import check_command, command_digest, read_command
from trainers.errors import InputError
from trainers.try_out import try_out

BASE = """\
lr: 1e-3  # a text to some
model: {width: 4, name: "${lr}"}
layers: [{size: 1}, {size: 2}]
a.b: 1
"""
PARAMS = {"lr": 1e-5, "model.width": 8, "layers.1.size": [3, 4], "a.b": True}


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_parameters_stand_in_their_places_and_the_rest_stays(tmp_path: Path, suffix: str) -> None:
    given, made = tmp_path / f"train{suffix}", tmp_path / f"made{suffix}"
    given.write_text(BASE if suffix == ".yaml" else json.dumps(yaml.safe_load(BASE)))
    write_config(given, made, PARAMS)
    found = (json.loads if suffix == ".json" else yaml.safe_load)(made.read_text())
    assert found == {
        "lr": 1e-5, "model": {"width": 8, "name": "${lr}"}, "layers": [{"size": 1}, {"size": [3, 4]}],
        "a.b": True,
    }  # fmt: skip
    assert yaml.safe_load(given.read_text())["model"]["width"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([given.name, made.name])


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (
            BASE,
            "model.widht",
            "each parameter must have a place in train.yaml; but got model.widht; .*'width'",
        ),
        (BASE, "layers.2.size", "but got layers.2.size"),
        (BASE, "lr.x", "but got lr.x"),
        ("", "lr", "but got lr"),
        ("a: [", "lr", "config must be a file of .* that can be read; but got ParserError"),
        ("a: !!python/object:os.system {}", "lr", "ConstructorError"),
        (None, "lr", "FileNotFoundError"),
    ],
)
def test_a_parameter_that_the_file_has_no_place_for_is_refused(
    tmp_path: Path, text: str | None, name: str, said: str
) -> None:
    if text is not None:
        (tmp_path / "train.yaml").write_text(text)
    with pytest.raises(InputError, match=said) as raised:
        write_config(tmp_path / "train.yaml", tmp_path / "made.yaml", {name: 1})
    assert raised.value.key == ("config",)


def test_a_command_is_given_a_copy_with_its_trials_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/train.yaml").write_text("lr: 0.1\nepochs: 3\n")
    options = {
        "command": "sed -n 's/lr: /acc=/p' ${config}", "metrics": {"accuracy": "acc=(.*)"},
        "config": "conf/train.yaml",
    }  # fmt: skip
    assert try_out(options, {"lr": 0.25}, objective="accuracy").values == (0.25,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": "python train.py ${args}"}, "go with .* in the command; but got a command without it"),
        ({"config": None}, "but got no config; write config: train.yaml"),
        ({"config": "/etc/train.yaml"}, "below the folder of the call"),
        ({"config": "train.toml"}, "a file of .yaml or .yml or .json"),
    ],
)
def test_a_config_that_nothing_can_come_of_is_refused(change: dict[str, Any], said: str) -> None:
    given = {"command": "python train.py ${config}", "metrics": {"a": "a=(.)"}, "config": "train.yaml"}
    check_command(read_command(given), ["lr"], ["lr"])
    with pytest.raises(InputError, match=said) as raised:
        check_command(read_command({**given, **change}), ["lr"], [])
    assert raised.value.key == ("config",)


def test_a_parameter_of_that_name_is_no_file() -> None:
    check_command(read_command({"command": "train ${config}", "metrics": {"a": "a=(.)"}}), ["config"], [])


def test_the_digest_of_a_command_tells_of_its_config(tmp_path: Path) -> None:
    options = {"command": "python train.py ${config}", "metrics": {"a": "a=(.)"}, "config": "train.yaml"}
    digests = set()
    for text in ("lr: 1\n", "lr: 2\n"):
        (tmp_path / "train.yaml").write_text(text)
        digests.add(command_digest(options, tmp_path))
    assert len(digests) == 2
