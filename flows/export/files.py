"""The files that a sweep was run from: the sweep file, spaces of one's own, code of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from flows.sweeps.recorded_state import make_code_importable
from infra.errors import WrongInput
from infra.ledger.rows import SweepRow
from infra.secrets import redact
from search_spaces.errors import YamlError
from search_spaces.strict_yaml import load_yaml
from trainers.code.digest import user_files
from trainers.commands.options import command_files
from trainers.errors import InputError
from trainers.registry import COMMAND, source_hash
from trainers.registry import load_reference as load_family
from trainers.types import Json

SWEEP_FILE = "sweep.yaml"


@dataclass(slots=True, kw_only=True)
class SweepFiles:
    """What people wrote for a sweep.

    Attributes:
        files: content by path within the archive; `sweep.yaml` and what it names.
        overrides: what must be given with `--set`, as it was, or because a folder moved.
        code_root: where people's own code stands within the archive; None where there is none.
        warnings: what the archive lacks, or has in another version.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    code_root: str | None = None
    warnings: list[str] = field(default_factory=list)


def collect_sweep_files(row: SweepRow) -> SweepFiles:
    """The files of a sweep, as it was run where the ledger kept them, else as they are now."""
    found, text = SweepFiles(), _sweep_text(row)
    found.overrides = [redact(override) for override in row.facts.get("overrides", ())]
    if redact(text) != text or "***@" in text:  # the ledger keeps it without them already
        found.warnings.append(f"passwords in {SWEEP_FILE} were replaced by ***; use ${{VARIABLE}} instead")
    found.files[SWEEP_FILE] = redact(text).encode()
    try:
        value = load_yaml(text.encode(), SWEEP_FILE).value
    except YamlError as error:
        raise WrongInput("the sweep's file must be readable", str(error)) from error
    document = value if isinstance(value, dict) else {}
    _add_spaces(found, document, Path(row.facts.get("base", ".")))
    _add_code(found, row, document)
    return found


def _sweep_text(row: SweepRow) -> str:
    kept = row.facts.get("file_text")
    if isinstance(kept, str):
        return kept
    path = Path(row.facts.get("file", ""))
    if not path.is_file():
        raise WrongInput(
            f"the file of {row.label} must be in its ledger or where it was", f"no {path}", "bring it back"
        )
    return path.read_text(encoding="utf-8")


def _add_spaces(found: SweepFiles, document: Mapping[str, Json], base: Path) -> None:
    families = document.get("families")
    for entry in families.values() if isinstance(families, dict) else ():
        if isinstance(entry, dict):
            _add_space(found, entry.get("space"), base, PurePosixPath())


def _add_space(found: SweepFiles, space: Json, base: Path, folder: PurePosixPath) -> None:
    """A space that is a path, or that extends one; paths start from the file that names them."""
    reference = space.get("extends") if isinstance(space, dict) else space
    if not isinstance(reference, str) or not ("/" in reference or reference.endswith((".yaml", ".yml"))):
        return
    place = folder / reference
    if place.is_absolute() or ".." in place.parts or not (base / place).is_file():
        found.warnings.append(f"the space {reference} is not packed: it is outside the sweep file's folder")
        return
    if str(place) not in found.files:
        found.files[str(place)] = (base / place).read_bytes()
        _add_space(found, load_yaml(found.files[str(place)], str(place)).value, base, place.parent)


def _add_code(found: SweepFiles, row: SweepRow, document: Mapping[str, Json]) -> None:
    own = [family for family in row.spec.families if ":" in family.reference]
    if not own:
        return
    make_code_importable(row)
    prefix = _code_folder(document)
    if prefix is None:
        found.overrides.append("code.root=.")
    found.code_root = str(prefix or PurePosixPath("."))
    root = Path(row.facts.get("own_code") or ".")
    for family in own:
        if family.reference == COMMAND:
            for name, path in command_files(family.options, root).items():
                found.files[str((prefix or PurePosixPath()) / name)] = path.read_bytes()
        try:
            code = load_family(family.reference)
        except InputError as error:
            raise WrongInput(error.must, error.found, error.do) from error
        for name, content in user_files(code).items():
            found.files[str((prefix or PurePosixPath()) / name)] = content
        if family.source_hash and source_hash(family.reference, family.options, root) != family.source_hash:
            found.warnings.append(f"the code of {family.name} has changed since; what is packed is of now")


def _code_folder(document: Mapping[str, Json]) -> PurePosixPath | None:
    """`code.root` where the archive can have it; the archive's own folder where none is written."""
    code = document.get("code")
    written = code.get("root") if isinstance(code, dict) else None
    if written is None:
        return PurePosixPath()
    path = PurePosixPath(str(written))
    return None if path.is_absolute() or ".." in path.parts else path
