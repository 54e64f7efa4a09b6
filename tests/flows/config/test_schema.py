"""The JSON schema that editors complete the file by."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from flows.config.schema import json_schema
from search_spaces.strict_yaml import load_yaml

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
SMALL: dict[str, Any] = {
    "name": "a",
    "data": {"source": "csv:x.csv"},
    "families": {"linear_regression": None},
}


def test_sweep_schema_is_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"].endswith("2020-12/schema")


def test_sweep_schema_describes_every_key() -> None:
    bare = [
        f"{name}.{key}"
        for name, node in json_schema()["$defs"].items()
        for key, entry in node.get("properties", {}).items()
        if "description" not in entry and key not in ("name", "type", "extends", "when")
    ]
    assert bare == []


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "search: {sampler: tpe, pruner: {name: asha, min_epochs: 2}}",
        "search: {pruner: {name: percentile, percentile: 25}}",
        "objective: {metric: accuracy}",
        "objective: [{metric: accuracy}, {metric: latency_ms, direction: minimize}]",
        "keep: {models: {top: 3}}",
        "resources: {gpus: 0.5, lanes: auto, memory: 4GiB}",
        "checkpoint: {every: 5 epochs}",
        "families: {image_cnn: {space: {extends: image_cnn, a: 3, b: {type: categorical, choices: [[3]]}}}}",
        "families: {image_cnn: {space: {a: {type: float, low: 1e-3, high: 1, log: true, when: {b: [1]}}}}}",
        "families: {image_cnn: {trials: 3, sampler: grid, start_with: [{a: 1}], space: mine.yaml}}",
    ],
)
def test_sweep_schema_accepts_valid_files(text: str) -> None:
    assert list(VALIDATOR.iter_errors({**SMALL, **load_yaml(text.encode(), "x").value})) == []


@pytest.mark.parametrize(
    "text",
    [
        "nmae: x",
        "name: X Y",
        "data: {source: cvs:x}",
        "search: {sampler: tpee}",
        "search: {sampler: {name: tpe, x: 1}}",
        "search: {pruner: percentile}",
        "budget: {trials: 0}",
        "budget: {trials: '3'}",
        "limits: {stall: 10}",
        "checkpoint: {every: 0 epochs}",
        "families: {}",
        "families: {image_cnn: {trialz: 3}}",
        "families: {image_cnn: {space: {a: {type: float, low: 1}}}}",
        "families: {image_cnn: {space: {a: {type: flaot, low: 1, high: 2}}}}",
    ],
)
def test_sweep_schema_refuses_wrong_files(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**SMALL, **yaml.safe_load(text)})
