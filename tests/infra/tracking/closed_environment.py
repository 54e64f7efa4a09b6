"""A folder with exactly what requirements ask for, and what that asks for, linked to what is installed."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def name_closure(requirements: Iterable[str]) -> set[str]:
    """Canonical names of the installed distributions that pip would have for the requirements."""
    found: set[tuple[str, str]] = set()
    waiting = _wanted(requirements, "")
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        waiting += _wanted(_requirements_of(name), extra)
    return {name for name, _ in found}


def link_distributions(names: Iterable[str], site: Path) -> Path:
    """Links to the top of what each installed distribution has brought."""
    site.mkdir(parents=True)
    for name in names:
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another platform, say
            continue
        tops = {Path(str(file)).parts[0] for file in distribution.files or ()}
        for top in tops - {"..", "__pycache__"}:
            link = site / top
            if not link.is_symlink():
                link.symlink_to(Path(str(distribution.locate_file(top))))
    return site


def unpack(wheel: Path, site: Path) -> list[str]:
    """Puts a wheel's files into the folder; gives what it requires."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return metadata.PathDistribution(site / Path(path).parent).requires or []


def python(*site: Path) -> list[str]:
    """A Python that sees the standard library and these folders alone: `-c` takes the rest."""
    sees = f"import sys; sys.path[:0] = {[str(folder) for folder in site]!r}; "
    return [sys.executable, "-I", "-S", "-c", sees + "exec(sys.argv.pop(1))"]


def _wanted(requirements: Iterable[str], extra: str) -> list[tuple[str, str]]:
    """Name and extra of each requirement that holds beside the extra."""
    found = [Requirement(text) for text in requirements]
    return [
        (re.sub(r"[-_.]+", "-", each.name).lower(), its)
        for each in found
        if each.marker is None or each.marker.evaluate({"extra": extra})
        for its in ("", *each.extras)
    ]


def _requirements_of(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
