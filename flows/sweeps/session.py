"""Running what a ledger says of a sweep: owner, Ray, lanes, tracking, progress, and a clean end."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.sweeps.ownership import Ownership, own_sweep
from flows.sweeps.progress import show_progress
from flows.sweeps.shared_places import check_shared_places
from flows.terminal.console import print_stderr
from flows.terminal.next_command import next_command
from infra.errors import HeadGone, InterruptedCommand, StorageUnavailable
from infra.home import Home, ledger_url, storage_root, tracking_uri
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger
from infra.mirror import check_writable, find_mirror, publish
from infra.ray_job import job_address, path_on_nodes
from infra.spec import Resources
from infra.storage.trial_logs import DRIVER_LOG, written_logs_folder
from trainers.code.carried import pack_carried
from trainers.commands.options import script_digest
from trainers.registry import COMMAND

if TYPE_CHECKING:
    from infra.driver.driver import DriveJob
    from infra.driver.stop_signals import StopSignals
    from infra.head_start.process import HeadStart
    from infra.tracking.sender import Sender

DRAIN_LIMIT_S = 60.0
STOPPED_DRAIN_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """How a session of a sweep ended: the ledger's state, and how many things tracking has not got."""

    state: str
    unsent: int


def run_session(
    ledger: Ledger,
    sweep: SweepRow,
    home: Home,
    *,
    address: str | None = None,
    role: str = "search",
    spare: HeadStart | None = None,
) -> SessionEnd:
    """Runs a sweep from where its ledger stands.

    Args:
        spare: a process that may train while a Ray of our own starts; None: one is made where one may be.

    Raises:
        OwnedElsewhere: another living process runs it.
        ClusterUnavailable: no Ray, or no room for a lane.
        InterruptedCommand: a signal asked to stop; state is kept.
        WrongInput: its models and checkpoints are encrypted with another key.
    """
    with own_sweep(ledger, sweep) as ownership, background_sender(sweep, home) as sender:
        _note_key(ledger, sweep, ownership)
        try:
            signals = _drive_lanes(ledger, sweep, home, ownership.token, sender, address, role, spare)
        except HeadGone:
            sender.drain(STOPPED_DRAIN_LIMIT_S)
            raise
        signal_number = signals.first_signal
        unsent = _drain_sender(sender, signals)
    state = views.sweep_by_id(ledger, sweep.id).state
    if signal_number is not None:
        raise InterruptedCommand(
            "the sweep ran until it was told to stop",
            f"signal {signal_number}",
            f"`{_same_command(sweep, role, address)}` carries {sweep.label} on where it stopped",
            signal=signal_number,
        )
    return SessionEnd(state=state, unsent=unsent)


def _same_command(sweep: SweepRow, role: str, address: str | None) -> str:
    if role != "search":
        return next_command(f"{role} {sweep.label}", sweep.spec.ledger, address=address)
    return "velodrome sweep" + (f" … --address {address}" if address else "")


def _note_key(ledger: Ledger, sweep: SweepRow, ownership: Ownership) -> None:
    """Refuses a sweep of another key; writes down the first."""
    from infra.storage.sweep_key import note_key

    facts = note_key(sweep.label, views.sweep_by_id(ledger, sweep.id).facts)
    if facts is not None:
        ledger.commit(sweep.id, ownership.epoch, WriteBatch(sweep={"facts": facts}))


def _drain_sender(sender: Sender, signals: StopSignals) -> int:
    """What is not sent after as much waiting as is due."""
    if signals.has_second:
        return sender.count_unsent()
    if signals.first_signal is not None:
        return sender.drain(STOPPED_DRAIN_LIMIT_S)
    return sender.drain(DRAIN_LIMIT_S, while_it_moves=True)


@contextmanager
def background_sender(sweep: SweepRow, home: Home) -> Iterator[Sender]:
    """A sender that brings tracking up to date in the background, once it is started or drained."""
    from infra.tracking.sender import Sender

    sender = Sender(
        ledger_url(home, sweep.spec.ledger), sweep.id, uri=tracking_uri(home, sweep.spec), home=home,
        storage=storage_root(home, sweep.spec),
    )  # fmt: skip
    try:
        yield sender
    finally:
        sender.stop()


def _drive_lanes(
    ledger: Ledger,
    sweep: SweepRow,
    home: Home,
    token: str,
    sender: Sender,
    address: str | None,
    role: str,
    spare: HeadStart | None,
) -> StopSignals:
    from infra.driver.cluster import check_local_placeable, connect_ray, has_own_connection
    from infra.driver.driver import drive_sweep
    from infra.driver.stop_signals import SecondSignal, StopSignals
    from infra.head_start.begin import begin_training
    from infra.head_start.process import spare_process

    signals = StopSignals()
    address = address or job_address()
    own_ray = address is None and not has_own_connection()
    check_writable(storage_root(home, sweep.spec))
    here = check_local_placeable(sweep.spec) if own_ray else None
    print_stderr(f"{sweep.label}: {'starting' if own_ray else 'joining'} Ray, then its lanes")
    own_code = sweep.facts.get("own_code")
    with (
        signals.catch_signals(),
        spare_process(here is not None) if spare is None else closing(spare) as process,
        _log_to_file(written_logs_folder(home, sweep.spec) / DRIVER_LOG),
        suppress(SecondSignal),
    ):
        job = make_drive_job(sweep, home, token, role, own_ray=own_ray)
        early = None if process is None else begin_training(process, ledger, job, here)
        if early is None:  # a core idles while Ray starts
            sender.prepare()
        ray = connect_ray(address, home, working_dir=own_code, trains=True, starting=signals.raise_on_second)
        # Ray takes SIGTERM for itself when it starts.
        with ray as nodes, signals.catch_signals():
            check_shared_places(sweep.spec, home, nodes)
            with show_progress(ledger, sweep, sender, role) as progress:
                drive_sweep(job, nodes, signals, progress.watch, early)
    return signals


@contextmanager
def _log_to_file(path: Path) -> Iterator[None]:
    """Our own log lines, and Ray's about this driver, in a file of the sweep."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # `ray.init(configure_logging=False)` empties the logger `ray`, and what nobody handles goes to stderr.
    names = ("velodrome", "infra", "ray", "ray._private", "ray.train")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()
        with suppress(StorageUnavailable):  # what was printed is no reason to fail
            publish(path)


def make_drive_job(sweep: SweepRow, home: Home, token: str, role: str, *, own_ray: bool) -> DriveJob:
    """The sweep as its ledger has it, with this home's places as the nodes reach them."""
    from infra.driver.driver import DriveJob
    from infra.lanes.settings import LaneSettings
    from infra.storage.sweep_key import current_key_name
    from infra.tracking.client import embedded_path

    own_code, mirror = sweep.facts.get("own_code"), find_mirror(storage_root(home, sweep.spec))
    lanes = LaneSettings(
        run="", shape="", resources=Resources(), spec=sweep.spec.to_json(),
        base=path_on_nodes(sweep.facts.get("base") or os.getcwd()), cache=str(home.cache),
        storage=str(storage_root(home, sweep.spec)), logs=str(written_logs_folder(home, sweep.spec)),
        sys_path=(path_on_nodes(own_code),) if own_code else (),
        functions=pack_carried(family.reference for family in sweep.spec.families),
        scripts={
            family.name: script_digest(family.options, Path(own_code))
            for family in sweep.spec.families if own_code and family.reference == COMMAND
        },
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
