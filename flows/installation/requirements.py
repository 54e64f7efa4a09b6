"""What this version of Velodrome needs, and what is installed."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path


def installed_version(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def version_bounds() -> dict[str, str]:
    """Version bounds by lower-case package name; empty where neither distribution nor checkout says them."""
    try:
        lines = metadata.requires("velodrome") or []
    except metadata.PackageNotFoundError:
        lines = _checkout_requirements()
    found = {}
    for line in lines:
        match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*([<>=!~][^;]*)?", line)
        if match and "extra ==" not in line:
            found[match[1].lower()] = (match[2] or "").strip()
    return found


def _checkout_requirements() -> list[str]:
    import tomllib

    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not path.exists():
        return []
    return list(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"])


def is_within_bounds(version: str, bound: str) -> bool:
    """Whether a version is within comma-separated bounds (`>=2.60,<2.61`)."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(bound).contains(version, prereleases=True)
