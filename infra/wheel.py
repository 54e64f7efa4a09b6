"""A wheel of the running version, made from what is imported: without a network, a build tool or a checkout.

It is stored beside every model, so that a model loads where no package index has us. The same version gives
the same bytes: names are sorted, times are fixed, nothing is compressed (zlib's output changes with its
version).
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from infra.errors import Unavailable
from trainers.types import Document

DISTRIBUTION = "velodrome"
PACKAGES = ("velodrome", "flows", "infra", "trainers", "search_spaces")
SUFFIXES = frozenset({".py", ".yaml", ".txt", ".json", ".typed"})
_WHEEL = f"Wheel-Version: 1.0\nGenerator: {DISTRIBUTION}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can say


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectMetadata:
    """What a wheel says of itself: the text of METADATA and of entry_points.txt, and the requirements."""

    version: str
    metadata: str
    entry_points: str
    requirements: tuple[str, ...]


def build_wheel(folder: Path, *, lean: bool = False) -> Path:
    """Writes the wheel into a folder and returns its path.

    Args:
        lean: what the project needs becomes its extra `all`: who installs the wheel says what is needed.
    """
    project = read_project()
    info = f"{DISTRIBUTION}-{project.version}.dist-info"
    files = dict(_package_files())
    text = _move_requirements_to_extra(project.metadata) if lean else project.metadata
    files[f"{info}/METADATA"] = text.encode()
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    if project.entry_points:
        files[f"{info}/entry_points.txt"] = project.entry_points.encode()
    files[f"{info}/RECORD"] = _record_text(files, f"{info}/RECORD").encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{DISTRIBUTION}-{project.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return path


def hash_packages() -> str:
    """A hash of the files of Velodrome that run here: the same files give the same one."""
    found = hashlib.sha256()
    for name, content in sorted(_package_files()):
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()


def read_project() -> ProjectMetadata:
    """The version that runs, from the checkout that it is imported from or from its installation.

    Raises:
        Unavailable: there is neither.
    """
    written = _package_root("infra").parent / "pyproject.toml"
    if written.is_file():
        document = tomllib.loads(written.read_text())["project"]
        if document.get("name") == DISTRIBUTION:
            return _project_from_pyproject(document)
    try:
        return _project_from_installation(metadata.distribution(DISTRIBUTION))
    except metadata.PackageNotFoundError:
        raise Unavailable(
            f"{DISTRIBUTION} must be installed, or run from its checkout",
            f"no metadata of it beside {_package_root('infra')}",
            "install it with pip",
        ) from None


def pin_requirements(project: ProjectMetadata) -> list[str]:
    """Each distribution that the project asks for, without extras' own, pinned to what is installed."""
    names = [
        name.group()
        for requirement in project.requirements
        if "extra ==" not in requirement and (name := re.match(r"[\w.-]+(?:\[[^\]]*\])?", requirement))
    ]
    return pin_distributions(names)


def pin_distributions(names: Iterable[str]) -> list[str]:
    """Those of the distributions that are installed, pinned to their version."""
    pinned = []
    for name in names:
        try:
            version = metadata.version(name.partition("[")[0])
        except metadata.PackageNotFoundError:
            continue
        # A local label (2.13.0+cpu) is known to one index alone.
        pinned.append(f"{name}=={version.partition('+')[0]}")
    return sorted(pinned)


def _move_requirements_to_extra(text: str) -> str:
    header, blank, body = text.partition("\n\n")
    lines = [_require_by_extra(line) for line in header.rstrip("\n").split("\n")]
    return "\n".join([*lines, "Provides-Extra: all"]) + (blank + body if blank else "\n")


def _require_by_extra(line: str) -> str:
    if not line.startswith("Requires-Dist:") or "extra ==" in line:
        return line
    requirement, separator, marker = line.partition(";")
    condition = f"({marker.strip()}) and " if separator else ""
    return f'{requirement.rstrip()} ; {condition}extra == "all"'


def _project_from_pyproject(document: Document) -> ProjectMetadata:
    lines = ["Metadata-Version: 2.1", f"Name: {DISTRIBUTION}", f"Version: {document['version']}"]
    lines += [f"Summary: {document['description']}"] if "description" in document else []
    lines += [f"Requires-Python: {document['requires-python']}"] if "requires-python" in document else []
    lines += [f"Requires-Dist: {requirement}" for requirement in document.get("dependencies", ())]
    for extra, requirements in document.get("optional-dependencies", {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {requirement} ; extra == "{extra}"' for requirement in requirements]
    scripts = [f"{name} = {target}" for name, target in document.get("scripts", {}).items()]
    return ProjectMetadata(
        version=document["version"],
        metadata="\n".join(lines) + "\n",
        entry_points="\n".join(["[console_scripts]", *scripts]) + "\n" if scripts else "",
        requirements=tuple(document.get("dependencies", ())),
    )


def _project_from_installation(installed: metadata.Distribution) -> ProjectMetadata:
    return ProjectMetadata(
        version=installed.version,
        metadata=installed.read_text("METADATA") or "",
        entry_points=installed.read_text("entry_points.txt") or "",
        requirements=tuple(installed.requires or ()),
    )


def _package_files() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        root = _package_root(package)
        for path in sorted(root.rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and "__pycache__" not in path.parts:
                yield f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _package_root(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise Unavailable(f"the package {package} must be importable", "no such package", "install it whole")
    return Path(found.submodule_search_locations[0])


def _record_text(files: Mapping[str, bytes], own_name: str) -> str:
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    return "\n".join([*lines, f"{own_name},,"]) + "\n"


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
