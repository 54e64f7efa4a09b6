"""`velodrome remove`: a sweep and what only it holds. What MLflow was told stays unless asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config.lookup import sweep_in_ledger
from flows.sweeps.ownership import commit_as_owner, living_owner, owner_error
from flows.terminal.json_results import PlainResult
from infra.errors import RefusedError, StorageUnavailable, Unavailable
from infra.home import Home, storage_root, tracking_uri
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger
from infra.mirror import discard, stored_bytes

if TYPE_CHECKING:
    from infra.tracking.client import TrackingStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal(PlainResult):
    """What there is to remove, and what was.

    Attributes:
        size_bytes: of the folders together.
        tracking: whether its runs in MLflow go too.
        versions: registered versions that came from it, with their aliases (`digits/2, champion`); they stay.
            None where the registry does not answer.
    """

    sweep: str
    trials: int
    folders: tuple[str, ...]
    size_bytes: int
    tracking: bool
    versions: tuple[str, ...] | None = ()


def remove(
    name: str,
    *,
    agree: Callable[[Removal], bool] = lambda removal: True,
    tracking: bool = False,
    home: Home | None = None,
) -> Removal:
    """Removes a sweep from the ledger, with its checkpoints, kept models and logs.

    Args:
        agree: is shown what would go and says whether it may.
        tracking: delete the sweep's runs in MLflow too.

    Raises:
        WrongInput: no such sweep.
        OwnedElsewhere: a living process runs it.
        RefusedError: `agree` said no; nothing was removed.
        StorageUnavailable: a folder cannot be deleted; the sweep stays in the ledger, so that it can be tried
            again.
    """
    place = home or Home.from_environment()
    with sweep_in_ledger(name, place) as (ledger, row):
        folders = _folders(row, place)
        removal = _plan_removal(ledger, row, folders, tracking, _find_versions(row, place))
        if (owner := living_owner(ledger, row)) is not None:
            raise owner_error(row, owner)
        if not agree(removal):
            raise RefusedError("a removal must be agreed to", "no", "nothing was removed; --yes asks nothing")
        with commit_as_owner(ledger, row) as commit:
            commit(WriteBatch(sweep={"state": "stopped"}))
            if tracking:
                _forget_runs(row, place)
            for folder in folders:
                _delete_folder(folder)
            ledger.remove_sweep(row.id)
    return removal


def _plan_removal(
    ledger: Ledger, row: SweepRow, folders: Sequence[Path], tracking: bool, versions: tuple[str, ...] | None
) -> Removal:
    return Removal(
        sweep=row.label,
        trials=len(views.trials(ledger, row.id, role=None)),
        folders=tuple(str(folder) for folder in folders),
        size_bytes=sum(_size_bytes(folder) for folder in folders),
        tracking=tracking,
        versions=versions,
    )


def _find_versions(row: SweepRow, home: Home) -> tuple[str, ...] | None:
    """The registered versions that came from a sweep; its data is known here no longer once it is gone."""
    from flows.inference.model_lookup import registry_of

    try:
        registry = registry_of(home)
        found = [] if registry is None else registry.versions_of_sweep(row.label)
        named = {
            version.model: (registry.aliases(version.model) or {}) if registry else {} for version in found
        }
    except Unavailable:
        return None
    return tuple(
        ", ".join(
            [
                version.label,
                *sorted(a for a, number in named[version.model].items() if number == version.number),
            ]
        )
        for version in found
    )


def _folders(row: SweepRow, home: Home) -> list[Path]:
    """The folders that belong to this sweep alone; those that exist."""
    candidates = (storage_root(home, row.spec) / row.label, home.logs / row.label)
    return [folder for folder in candidates if folder.is_dir() or stored_bytes(folder)]


def _size_bytes(folder: Path) -> int:
    here = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    return max(here, stored_bytes(folder))


def _delete_folder(folder: Path) -> None:
    discard(folder)
    try:
        if folder.is_symlink():
            folder.unlink()  # what a link points at is somebody else's
        elif folder.is_dir():
            shutil.rmtree(folder)
    except OSError as error:
        raise StorageUnavailable("a removed sweep's folder must be deletable", str(error)) from error


def _forget_runs(row: SweepRow, home: Home) -> None:
    """Marks the sweep's runs as deleted in MLflow, its parent run among them.

    Runs that a registered version came from stay: a champion's history must lead somewhere, and what is
    marked as deleted is what `mlflow gc` takes away for good.

    Raises:
        Unavailable: tracking is away; nothing else was removed yet.
    """
    if not home.outbox.exists():
        return
    from infra.tracking.client import MissingEntity, TrackingError, connect
    from infra.tracking.mapping import sweep_identity
    from infra.tracking.outbox import Outbox

    uri = tracking_uri(home, row.spec)
    outbox = Outbox(home.outbox, uri, sweep_identity(row))
    try:
        tracking = connect(uri)
        registered = _registered_runs(tracking)
        for sent in outbox.runs().values():
            with suppress(MissingEntity):
                if sent.run_id and sent.run_id not in registered:
                    tracking.call("delete_run", sent.run_id)
        outbox.forget()
    except TrackingError as error:
        raise Unavailable(
            "MLflow must delete the sweep's runs", str(error), "try again, or leave --tracking out"
        ) from error
    finally:
        outbox.close()


def _registered_runs(tracking: TrackingStore) -> set[str]:
    """Runs that registered versions of any model came from."""
    found: set[str] = set()
    token: str | None = None
    while True:
        page = tracking.call("search_model_versions", max_results=1000, page_token=token)
        found |= {version.run_id for version in page if version.run_id}
        token = page.token
        if not token:
            return found
