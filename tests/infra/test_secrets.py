"""Variables in addresses, and what logs see of them."""

from __future__ import annotations

import pytest

from infra.errors import WrongInput
from infra.secrets import expand_variables, redact

ENVIRON = {"USER": "me", "PASSWORD": "p@ss:w/ord ${USER}", "EMPTY": ""}


def test_expand_replaces_variables_once() -> None:
    assert expand_variables("postgresql://${USER}:${PASSWORD}@h/db", ENVIRON) == (
        "postgresql://me:p@ss:w/ord ${USER}@h/db"
    )
    assert expand_variables("no $USER here, $${USER}", ENVIRON) == "no $USER here, $me"


@pytest.mark.parametrize("text", ["${NOTHING}", "${EMPTY}", "${}", "${A-B}", "${1}", "${USER", "${${USER}}"])
def test_expand_unset_variable_is_refused_without_showing_values(text: str) -> None:
    with pytest.raises(WrongInput) as caught:
        expand_variables(f"postgresql://u:hidden@h/{text}", ENVIRON)
    assert "hidden" not in str(caught.value)
    assert "p@ss" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://me:SECRET@host:5432/db?sslmode=require",
        "postgresql://me:SEC@RET/SECRET@host/db",
        "postgresql://:SECRET@host/db",
        "postgresql://host/db?user=me&password=SECRET",
        "http://me:SECRET@host:5000",
        "https://SECRET@host/path",
        "s3://bucket/x?AWS_SECRET_ACCESS_KEY=SECRET&region=eu",
        "could not connect to http://a:SECRET@h, nor to http://b:SECRET@h",
        "https://host/x?api_key=SECRET#a",
        "https://host/x?X-Amz-Signature=SECRET&X-Amz-Credential=SECRET",
        "postgresql://SECRET@host/db",
        "it ended with token = SECRET",
        "Password: SECRET, and api_key:SECRET",
        '{"token": "SECRET"}',
        "Authorization: Bearer SECRET",
        "{'authorization': 'Basic SECRET'}",
        "sent with bearer SECRET.SECRET.SECRET",
    ],
)
def test_redact_hides_passwords_and_tokens(address: str) -> None:
    assert "SEC" not in redact(address).replace("AWS_SECRET_ACCESS_KEY", "")
    assert "***" in redact(address)


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///x.db",
        "http://host:5000/a?b=c",
        "s3://bucket/key",
        "a: b@c",
        "tokenizer: words",
        "tokens: 5",
        "a bearer token",
    ],
)
def test_redact_keeps_text_without_secrets(address: str) -> None:
    assert redact(address) == address
