"""Files that no YAML reader should have to read: each is refused at once, in little memory."""

from __future__ import annotations


def _bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    return "\n".join(lines).encode()


HOSTILE = {
    "alias bomb": _bomb(),
    "deep brackets": b"[" * 2000,
    "deep brackets, much": b"[" * 999_999,
    "deep mappings": b"{a: " * 100_000,
    "deep blocks": b"- " * 400_000,
    "deep indentation": b"\n".join(b" " * i + b"a:" for i in range(1200)),
    "50 MB": b"a: 1\n" * 10_000_000,
    "many values": b"[" + b"1," * 490_000 + b"]",
    "object": b"!!python/object/apply:os.system ['true']",
    "tag of our own": b"a: !x 1",
    "NUL": b"a: \x00",
    "NUL between": b"a: 1\x00\n",
    "BOM": b"\xef\xbb\xbfa: 1",
    "BOM inside": "a: \ufeffx".encode(),
    "UTF-16": "a: 1".encode("utf-16"),
    "UTF-16 without BOM": "a: 1".encode("utf-16-be"),
    "invalid UTF-8": b"a: \xc3\x28",
    "surrogates": b"a: \xed\xa0\x80",
    "bell": b"a: \x07",
    "line separator": "a: 1\u2028b: 2".encode(),
    "long number": b"a: " + b"1" * 900_000,
    "long number with underscores": b"a: " + b"1_" * 400_000 + b"x_1",
    "open quote": b"a: '" + b"x" * 900_000,
    "exclamation marks": b"!" * 900_000,
    "question marks": b"? " * 400_000,
    "percent": b"%" * 900_000,
    "ampersands": b"&" * 900_000,
}
