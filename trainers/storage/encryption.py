"""Files that only a key opens: AES-256-GCM piece by piece, so that a model is never twice in memory.

The key is 32 bytes in base64, in `VELODROME_KEY` or in the file that `VELODROME_KEY_FILE` names. Each file
has a key of its own, derived (HKDF-SHA256) from that one and 32 random bytes, so that no nonce is ever used
twice: the file begins with a mark and those bytes, then come pieces of a mebibyte, each with its tag. A
piece's nonce is its number and whether it is the last, as in STREAM (V. T. Hoang et al., "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015): nothing can be cut off or put
in another order. The file's name is authenticated too.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trainers.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from typing_extensions import Buffer

VARIABLE, FILE_VARIABLE = "VELODROME_KEY", "VELODROME_KEY_FILE"
CIPHER = "AES-256-GCM"
MARK = b"velodrome-gcm-1\n"
KEY_BYTES, SALT_BYTES, TAG_BYTES = 32, 32, 16
PIECE_BYTES = 1 << 20
_HEAD_BYTES = len(MARK) + SALT_BYTES


class WrongKey(InputError):
    """What is stored was encrypted with a key that is not here."""


class ReadableFile(Protocol):
    """An open file, as far as it is needed here."""

    def read(self, count: int) -> bytes:
        """So many bytes, or what there is."""


@dataclass(frozen=True, slots=True)
class StorageKey:
    """The key of what is stored."""

    secret: bytes

    def __repr__(self) -> str:
        return f"StorageKey({self.name})"

    @property
    def name(self) -> str:
        """What it is called where it must not be seen: 16 hex digits."""
        return hashlib.sha256(b"velodrome storage key\0" + self.secret).hexdigest()[:16]

    def encrypt(self, name: str, pieces: Iterable[Buffer]) -> Iterator[bytes]:
        """A file's encrypted bytes.

        Args:
            name: the file's.
            pieces: its content, one after another, of any size.
        """
        salt = os.urandom(SALT_BYTES)
        cipher = _cipher(self.secret, salt)
        yield MARK + salt
        held, number = bytearray(), 0
        for piece in pieces:
            view = memoryview(piece)
            rest = view.cast("B") if view.nbytes else b""  # views without a byte cannot be cast
            while len(rest):
                if len(held) == PIECE_BYTES:  # more comes: it is not the last
                    yield cipher.encrypt(_nonce(number, last=False), bytes(held), name.encode())
                    held, number = bytearray(), number + 1
                taken = rest[: PIECE_BYTES - len(held)]
                held += taken
                rest = rest[len(taken) :]
        yield cipher.encrypt(_nonce(number, last=True), bytes(held), name.encode())


class DecryptedFile:
    """The content of an encrypted file, decrypted as it is read."""

    def __init__(self, key: StorageKey, file: ReadableFile, name: str) -> None:
        """Reads the file's head."""
        head = file.read(_HEAD_BYTES)
        if len(head) != _HEAD_BYTES or not head.startswith(MARK):
            raise ValueError(f"{name} is not encrypted")
        self._file, self._name, self._cipher = file, name, _cipher(key.secret, head[len(MARK) :])
        self._number, self._held, self._next = 0, b"", file.read(PIECE_BYTES + TAG_BYTES)

    def read(self, count: int = -1) -> bytes:
        """So many bytes, or all that are left.

        Raises:
            ValueError: a piece is not what was written.
        """
        found, most = bytearray(), sys.maxsize if count < 0 else count
        while len(found) < most:
            if not self._held and not self._open_piece():
                break
            wanted = most - len(found)
            found += self._held[:wanted]
            self._held = self._held[wanted:]
        return bytes(found)

    def readinto(self, buffer: Buffer) -> int:
        """Fills the buffer; how many bytes there were."""
        whole = memoryview(buffer).cast("B")
        found = self.read(len(whole))
        whole[: len(found)] = found
        return len(found)

    def _open_piece(self) -> bool:
        """Whether there was another piece; the last one is known by nothing behind it."""
        from cryptography.exceptions import InvalidTag

        if not self._next:
            return False
        piece, self._next = self._next, self._file.read(PIECE_BYTES + TAG_BYTES)
        try:
            nonce = _nonce(self._number, last=not self._next)
            self._held = self._cipher.decrypt(nonce, piece, self._name.encode())
        except InvalidTag:
            raise ValueError(f"piece {self._number} of {self._name} does not decrypt") from None
        self._number += 1
        return bool(self._held) or self._open_piece()


def storage_key(environ: Mapping[str, str] = os.environ) -> StorageKey | None:
    """The key of the environment; None where nothing is to be encrypted.

    Raises:
        InputError: both variables are set, the file cannot be read, or it is no key. No key is ever shown.
    """
    given, path = environ.get(VARIABLE, ""), environ.get(FILE_VARIABLE, "")
    if given and path:
        raise InputError("a key must be given once", f"{VARIABLE} and {FILE_VARIABLE}", "unset one of them")
    if not given and not path:
        return None
    given = _read_key_file(Path(path)) if path else given
    must = f"{FILE_VARIABLE if path else VARIABLE} must hold {KEY_BYTES} bytes in base64"
    do = "`openssl rand -base64 32` makes a key"
    try:
        secret = base64.b64decode("".join(given.split()), validate=True)
    except ValueError:
        raise InputError(must, f"{len(given.strip())} characters that are no base64", do) from None
    if len(secret) != KEY_BYTES:
        raise InputError(must, f"{len(secret)} bytes", do)
    return StorageKey(secret)


def _read_key_file(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        found = "other bytes than base64 has"
    except OSError as error:
        found = error.strerror or type(error).__name__
    must, do = f"{FILE_VARIABLE} must name a file with a key", "`openssl rand -base64 32 > FILE` makes one"
    raise InputError(
        must, found, do
    )  # without the path: it may be the key itself, put into the wrong variable


def require_key(name: str, what: str) -> StorageKey:
    """The key of that name.

    Args:
        what: for the error: what is encrypted.
    """
    key = storage_key()
    if key is None or key.name != name:
        found = "none" if key is None else f"key {key.name}"
        do = f"set {VARIABLE}, or {FILE_VARIABLE}, to the key that it was written with"
        raise WrongKey(f"{what} must be opened with its key, {name}", found, do)
    return key


def plain_size(size_bytes: int) -> int:
    """Bytes of the content of an encrypted file of that size."""
    body = size_bytes - _HEAD_BYTES
    return max(0, body - TAG_BYTES * -(-body // (PIECE_BYTES + TAG_BYTES)))


def plain_content(name: str, content: bytes) -> bytes:
    """A file's content, decrypted where it is encrypted.

    Raises:
        WrongKey: no key is here.
        ValueError: the key is another, or the content is not what was written.
    """
    if not content.startswith(MARK):
        return content
    key = storage_key()
    if key is None:
        raise WrongKey(f"{name} must be opened with its key", "none", f"set {VARIABLE}, or {FILE_VARIABLE}")
    return DecryptedFile(key, io.BytesIO(content), name).read()


def _cipher(secret: bytes, salt: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise InputError(
            "encrypted storage needs cryptography", str(error), "pip install 'cryptography>=43'"
        ) from error
    derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"velodrome file").derive(secret)
    return AESGCM(derived)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
