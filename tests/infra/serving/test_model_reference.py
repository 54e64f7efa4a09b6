"""What may be written for a model."""

from __future__ import annotations

import pytest

from infra.errors import WrongInput
from infra.serving.model_reference import ModelReference, parse_reference

RUN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("digits", ModelReference(name="digits")),
        ("digits@challenger", ModelReference(name="digits", alias="challenger")),
        ("digits/3", ModelReference(name="digits", version="3")),
        ("models:/digits/3", ModelReference(name="digits", version="3")),
        ("models:/digits@champion", ModelReference(name="digits", alias="champion")),
        (f"models:/m-{RUN}", ModelReference(uri=f"models:/m-{RUN}")),
        (f"runs:/{RUN}/model", ModelReference(uri=f"runs:/{RUN}/model")),
        ("digits@2", ModelReference(sweep="digits@2")),
        ("sweeps/digits.yaml", ModelReference(sweep="sweeps/digits.yaml")),
    ],
)
def test_model_reference_in_a_known_form_is_parsed(text: str, meant: ModelReference) -> None:
    assert parse_reference(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "", "file:///etc/passwd", "http://169.254.169.254/latest", "https://user:pass@host/m", "s3://bucket/m",
        "/etc/passwd", "../models/m", "digits/../3", "digits/3/4", "digits#1", "models:/digits/latest/x",
        "models:/../../etc", f"runs:/{RUN}/../../etc", f"runs:/{RUN}/a#b", "runs:/short/model", "Digits",
        "digits@", "digits/0", "models:/", "mlflow-artifacts://169.254.169.254/x", "digits\n", "-x", "a" * 80,
    ],
)  # fmt: skip
def test_model_reference_in_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(WrongInput):
        parse_reference(text)


def test_run_reference_without_model_name_says_what_to_write() -> None:
    with pytest.raises(WrongInput, match=f"write runs:/{RUN}/model"):
        parse_reference(f"runs:/{RUN}")
