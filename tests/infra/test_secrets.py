"""Variables in addresses, and what logs see of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import WrongInput
from infra.secrets import expand_variables, holds_secret, redact

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
        '{"password": "SEC RET of SEC words", "user": "joe"}',
        "token='SEC RET'",
        'AWS_SECRET_ACCESS_KEY="SEC RET"',
        "password: SEC RET",
        "Enter passphrase : SEC RET\nthen go on",
        "train.py --password SECRET --lr 0.1",
        "train.py --api-key=SECRET",
        "train.py --hf-token SECRET",
        "X-Api-Key: SEC RET",
        "Cookie: session=SECRET; other=SECRET",
        "my_secret_key='SEC RET'",
        "client_secret: SECRET",
        "private_key: SECRET",
        "wrote hf_SECRETSECRETSECRET to the hub",
        "ghp_SECRETSECRETSECRET",
        "sk-proj-SECRETSECRET-SECRET",
        "-----BEGIN RSA PRIVATE KEY-----\nSEC\nRET\n-----END RSA PRIVATE KEY----- after",
        "-----BEGIN PRIVATE KEY-----\nSEC",
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
        "the 'token' of 'somebody' is kept",
        "--tokenizer words",
        "--max-tokens 30 --token-file a.txt",
        "sk-learn",
        "AKIA",
        "hf_hub_download",
        "key: accuracy, passworded",
    ],
)
def test_redact_keeps_text_without_secrets(address: str) -> None:
    assert redact(address) == address


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("postgresql+psycopg://me:pw@h/db", True), ("https://me:pw@h", True), ("https://key@h", True),
        ("s3://b/x?AWS_SECRET_ACCESS_KEY=a", True), ("postgresql://me@h/db", False),
        ("postgresql://me:${PW}@h/db", False), ("https://${KEY}@h", False), ("https://${A}:${B}@h", False),
        ("postgresql://me:${PW}pw@h/db", True), ("/shared/me", False), ("http://mlflow:5000", False),
        ("https://h/x?token=${T}", False), ("words", False),
    ],
)  # fmt: skip
def test_secret_is_one_where_it_is_written_out(text: str, holds: bool) -> None:
    assert holds_secret(text) == holds


def test_secret_that_is_mounted_as_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("s3cret\n")
    environ = {"PW_FILE": str(tmp_path / "pw")}
    assert expand_variables("x://me:${PW}@h", environ) == "x://me:s3cret@h"
    assert expand_variables("x://me:${PW}@h", {**environ, "PW": "nearer"}) == "x://me:nearer@h"
    for name in ("none", "empty"):
        (tmp_path / "empty").write_text("\n")
        with pytest.raises(WrongInput, match="PW_FILE"):
            expand_variables("${PW}", {"PW_FILE": str(tmp_path / name)})
