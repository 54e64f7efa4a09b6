"""What a driver is told of the sweep that it is to run, and through it the lanes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from infra.home import Home, ledger_url, storage_root, tracking_uri
from infra.ledger.rows import SweepRow
from infra.mirror import find_mirror
from infra.ray_job import path_on_nodes
from infra.storage.trial_logs import written_logs_folder

if TYPE_CHECKING:
    from infra.driver.driver import DriveJob


def make_drive_job(sweep: SweepRow, home: Home, token: str, role: str, *, own_ray: bool) -> DriveJob:
    """The sweep as its ledger has it, with this home's places as the nodes reach them."""
    from infra.driver.driver import DriveJob
    from infra.lanes.settings import LaneSettings
    from infra.spec import Resources
    from infra.storage.sweep_key import current_key_name
    from infra.tracking.client import embedded_path
    from trainers.code.carried import pack_carried

    own_code, mirror = sweep.facts.get("own_code"), find_mirror(storage_root(home, sweep.spec))
    lanes = LaneSettings(
        run="", shape="", resources=Resources(), spec=sweep.spec.to_json(),
        base=path_on_nodes(sweep.facts.get("base") or os.getcwd()), cache=str(home.cache),
        storage=str(storage_root(home, sweep.spec)), logs=str(written_logs_folder(home, sweep.spec)),
        sys_path=(path_on_nodes(own_code),) if own_code else (),
        functions=pack_carried(family.reference for family in sweep.spec.families),
        fingerprint="" if sweep.fingerprint == "none" else sweep.fingerprint, key_name=current_key_name(),
        bucket="" if mirror is None else mirror.bucket.url,
    )  # fmt: skip
    url, tracking = ledger_url(home, sweep.spec.ledger), tracking_uri(home, sweep.spec)
    if embedded := embedded_path(tracking):  # lanes have another current folder
        tracking = f"sqlite:///{embedded}"
    return DriveJob(
        ledger_url=url, sweep_id=sweep.id, token=token, spec=sweep.spec, lanes=lanes, role=role,
        own_ray=own_ray, tracking=tracking,
    )  # fmt: skip
