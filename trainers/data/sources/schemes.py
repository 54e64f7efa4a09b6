"""The kinds of sources, as they stand before a source's colon."""

from __future__ import annotations

PATHS: tuple[str, ...] = ("csv", "jsonl", "parquet", "excel", "images", "audio", "npz", "text")
"""Those that name a file or a folder."""

SCHEMES: tuple[str, ...] = ("builtin", *PATHS, "hf", "none")
