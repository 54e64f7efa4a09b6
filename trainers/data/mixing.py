"""Hashes stirred, salted and numbered (SplitMix64, Steele et al. 2014)."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]


def mix_hashes(values: Hashes) -> Hashes:
    """Each hash stirred so that every bit depends on every other."""
    return _finalize(values + np.uint64(0x9E3779B97F4A7C15))


def salt_hashes(keys: Hashes, salt: int | str) -> Hashes:
    """The hashes mixed with the salt."""
    return _finalize(
        keys ^ np.uint64(int.from_bytes(hashlib.sha256(str(salt).encode()).digest()[:8], "little"))
    )


def _finalize(z: Hashes) -> Hashes:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def number_copies(rows: Hashes) -> Hashes:
    """Each hash mixed with how many rows before it have the same: no two rows have one any more."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(rows) else np.zeros(0, np.int64)
    copies = np.arange(len(rows)) - np.repeat(first, np.diff(np.r_[first, len(rows)]))
    numbered = np.empty_like(rows)
    numbered[order] = mix_hashes(mix_hashes(ordered) + copies.astype(np.uint64))
    return numbered
