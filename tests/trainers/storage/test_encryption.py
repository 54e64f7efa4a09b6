"""Encrypted folders: readable with their key alone, checked without it, never cut, swapped or mistaken."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.errors import InputError
from trainers.storage import encryption
from trainers.storage.atomic_folders import DamagedFolder, folder_key, read_folder, write_folder
from trainers.storage.encryption import (
    DecryptedFile,
    StorageKey,
    WrongKey,
    plain_content,
    plain_size,
    require_key,
    storage_key,
)

SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))


def as_text(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> StorageKey:
    monkeypatch.setenv("VELODROME_KEY", as_text(SECRET))
    return StorageKey(SECRET)


def test_encrypted_folder_shows_names_sizes_and_hashes_alone(key: StorageKey, tmp_path: Path) -> None:
    content = b"the patient's name is Ada " * 100
    folder = write_folder(tmp_path / "kept", {"rows.json": content, "empty": b""})
    stored = (folder / "rows.json").read_bytes()
    assert b"Ada" not in stored
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["key"], manifest["cipher"]) == (2, key.name, "AES-256-GCM")
    assert manifest["files"]["rows.json"]["size"] == len(stored)
    assert read_folder(folder) == {"rows.json": content, "empty": b""}
    assert folder_key(folder) == key.name
    again = write_folder(tmp_path / "again", {"rows.json": content})
    assert (again / "rows.json").read_bytes() != stored


def test_folder_of_another_key_is_refused_by_both_names(
    key: StorageKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "kept", {"rows.json": b"x"})
    monkeypatch.setenv("VELODROME_KEY", as_text(OTHER))
    with pytest.raises(WrongKey, match=key.name) as caught:
        read_folder(folder)
    assert StorageKey(OTHER).name in str(caught.value)
    monkeypatch.delenv("VELODROME_KEY")
    with pytest.raises(WrongKey, match="none"):
        read_folder(folder)
    assert as_text(SECRET) not in str(caught.value)


def test_plain_folders_of_before_are_read_with_and_without_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "kept", {"rows.json": b"x"})
    assert json.loads((folder / "manifest.json").read_text()).keys() == {"format", "files"}
    monkeypatch.setenv("VELODROME_KEY", as_text(SECRET))
    assert read_folder(folder) == {"rows.json": b"x"}


def test_changed_byte_is_damage_that_needs_no_key(key: StorageKey, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "kept", {"rows.json": b"x" * 100})
    path = folder / "rows.json"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DamagedFolder, match="SHA-256"):
        read_folder(folder)


def decrypted(content: bytes, name: str = "file") -> bytes:
    return DecryptedFile(StorageKey(SECRET), io.BytesIO(content), name).read()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50))
def test_any_pieces_come_back_in_any_portions(pieces: list[bytes], portion: int) -> None:
    before = encryption.PIECE_BYTES
    encryption.PIECE_BYTES = 16
    try:
        stored = b"".join(StorageKey(SECRET).encrypt("file", pieces))
        file = DecryptedFile(StorageKey(SECRET), io.BytesIO(stored), "file")
        parts = list(iter(lambda: file.read(portion), b""))
        assert b"".join(parts) == b"".join(pieces)
        assert plain_size(len(stored)) == len(b"".join(pieces))
        assert all(len(part) == portion for part in parts[:-1])
    finally:
        encryption.PIECE_BYTES = before


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    monkeypatch.setattr(encryption, "PIECE_BYTES", 16)
    return list(StorageKey(SECRET).encrypt("file", [os.urandom(40)]))


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 2, 1, 3], [0, 1, 1, 2, 3], [0, 1, 3], [0, 1]])
def test_pieces_cut_off_swapped_or_repeated_do_not_decrypt(
    small_pieces: list[bytes], order: list[int]
) -> None:
    assert len(decrypted(b"".join(small_pieces))) == 40
    with pytest.raises(ValueError, match="does not decrypt"):
        decrypted(b"".join(small_pieces[i] for i in order))


def test_file_under_another_name_does_not_decrypt(small_pieces: list[bytes]) -> None:
    with pytest.raises(ValueError, match="does not decrypt"):
        decrypted(b"".join(small_pieces), "other")


def test_key_is_read_from_a_file_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(as_text(SECRET) + "\n")
    found = storage_key({"VELODROME_KEY_FILE": str(path)})
    assert found == StorageKey(SECRET)
    assert repr(found) == f"StorageKey({StorageKey(SECRET).name})"
    assert storage_key({}) is None


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"VELODROME_KEY": "short"}, "5 characters that are no base64"),
        ({"VELODROME_KEY": "schlüssel"}, "9 characters that are no base64"),
        ({"VELODROME_KEY": as_text(SECRET[:31])}, "31 bytes"),
        ({"VELODROME_KEY": f"!{as_text(SECRET)}"}, "45 characters that are no base64"),
        (
            {"VELODROME_KEY": as_text(SECRET), "VELODROME_KEY_FILE": "key"},
            "VELODROME_KEY and VELODROME_KEY_FILE",
        ),
        ({"VELODROME_KEY_FILE": "/nowhere/key"}, "No such file or directory"),
        ({"VELODROME_KEY_FILE": as_text(SECRET)}, "No such file or directory"),
        ({"VELODROME_KEY_FILE": "/"}, "Is a directory"),
        ({"VELODROME_KEY_FILE": sys.executable}, "other bytes than base64 has"),
    ],
)
def test_unusable_keys_are_refused_without_their_text(environ: dict[str, str], found: str) -> None:
    with pytest.raises(InputError) as caught:
        storage_key(environ)
    assert caught.value.found == found
    assert as_text(SECRET)[:8] not in str(caught.value)


@pytest.mark.parametrize("size_bytes", [0, 1, 1 << 20, (1 << 20) + 5])
def test_file_is_laid_out_so_that_other_versions_decrypt_it(size_bytes: int) -> None:
    """By the description alone: a mark, 32 random bytes, then numbered mebibytes with their tags."""
    content = bytes(range(251)) * (size_bytes // 251 + 1)
    content = content[:size_bytes]
    stored = b"".join(StorageKey(SECRET).encrypt("file", [content]))
    mark, salt, rest = stored[:16], stored[16:48], stored[48:]
    assert mark == b"velodrome-gcm-1\n"
    own = HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"velodrome file").derive(SECRET)
    pieces = [rest[i : i + (1 << 20) + 16] for i in range(0, len(rest), (1 << 20) + 16)]
    plain = [
        AESGCM(own).decrypt(i.to_bytes(11, "big") + bytes([i == len(pieces) - 1]), piece, b"file")
        for i, piece in enumerate(pieces)
    ]
    assert b"".join(plain) == content
    assert len(pieces) == max(1, -(-size_bytes // (1 << 20)))
    assert plain_size(len(stored)) == size_bytes
    assert decrypted(stored) == content
    assert plain_size(48) == plain_size(0) == 0  # too short for what is written: no size below 0


def test_encrypted_file_is_read_in_the_portions_that_are_asked_for(small_pieces: list[bytes]) -> None:
    whole = decrypted(b"".join(small_pieces))
    file = DecryptedFile(StorageKey(SECRET), io.BytesIO(b"".join(small_pieces)), "file")
    assert [file.read(0), file.read(5), file.read(0)] == [b"", whole[:5], b""]
    buffer = bytearray(30)
    assert file.readinto(memoryview(buffer).cast("b")) == 30
    assert bytes(buffer) == whole[5:35]
    assert (file.readinto(buffer), file.read(), file.read(1)) == (5, b"", b"")
    assert bytes(buffer[:5]) == whole[35:]
    assert bytes(buffer[5:]) == whole[10:35]  # left as it was


@pytest.mark.parametrize("content", [b"", b"velodrome-gcm-1\n", b"x" * 100])
def test_file_that_is_not_encrypted_is_no_content_of_a_key(content: bytes) -> None:
    with pytest.raises(ValueError, match="file is not encrypted"):
        decrypted(content)


def test_content_is_decrypted_where_it_is_encrypted(key: StorageKey, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = b"".join(key.encrypt("file", [b"secret"]))
    assert plain_content("file", stored) == b"secret"
    assert plain_content("file", b"plain") == b"plain"
    assert require_key(key.name, "it") == key
    monkeypatch.delenv("VELODROME_KEY")
    assert plain_content("file", b"plain") == b"plain"
    with pytest.raises(WrongKey, match="file must be opened with its key"):
        plain_content("file", stored)
    with pytest.raises(WrongKey, match="none"):
        require_key(key.name, "it")


def test_key_s_name_is_sixteen_digits_and_never_the_key() -> None:
    names = {StorageKey(secret).name for secret in (SECRET, OTHER)}
    assert len(names) == 2
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)
    assert storage_key({"VELODROME_KEY": f"  {as_text(SECRET)[:20]}\n{as_text(SECRET)[20:]} "}) == StorageKey(
        SECRET
    )
