"""Checkpoints under faults: the writer dies, the bytes change, the disk is full or gone."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.coordinator.messages import Assignment, EpochReport, HeartbeatReply
from infra.errors import StorageUnavailable
from infra.lanes.attempt_hooks import AttemptHooks
from infra.storage import sealed_folders
from infra.storage.checkpoints import CheckpointStore
from tests.faults.outcome import Outcome, Pace, case
from tests.faults.shims import at_call
from tests.trainers import tiny
from trainers.errors import InputError
from trainers.loop.checkpoint import refuse_other
from trainers.loop.training import train

FILES = ("tensors.safetensors", "document.json", "manifest.json")
FORK = multiprocessing.get_context("fork")  # no threads of torch yet that would be worth sparing


def save(store: CheckpointStore, step: int) -> Path:
    """A checkpoint whose every part says which step it is of."""
    tensors = {"model/weight": torch.full((64, 64), float(step)), "step": torch.tensor(step)}
    return store.save(tensors, {"step": step, "identity": {"family": "a"}})


def step_of(store: CheckpointStore) -> int | None:
    """The step of the newest checkpoint that loads; all its parts agree."""
    loaded = store.load()
    if loaded is None:
        return None
    assert int(loaded.tensors["step"]) == loaded.document["step"]
    assert (loaded.tensors["model/weight"] == loaded.document["step"]).all()
    return int(loaded.document["step"])


# -- the writer dies ---------------------------------------------------------------------------------------


@case("F32", "kill -9 while a checkpoint is written: at random moments, and at each call", fast=True)
def kill_while_saving(folder: Path, pace: Pace) -> Outcome:
    """The newest committed one loads every time, and the next writer clears what the dead one left."""
    times = 12 if pace.fast else 50
    lost = count_lost_at_random_kills(folder / "random", times)
    calls, lost_at_calls = count_lost_at_each_call(folder / "calls")
    assert calls >= 15
    return Outcome(lost=lost + lost_at_calls, note=f"{times} moments, {calls} calls")


def count_lost_at_random_kills(folder: Path, times: int) -> int:
    """Kills a writer so many times; how often less was loaded than had been committed."""
    lost, draw = 0, random.Random(0)
    for turn in range(times):
        store, committed, writer = start_writer(folder / str(turn))
        time.sleep(draw.uniform(0.005, 0.06))
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join(10)
        lost += (step_of(store) or 0) < committed.value
        _check_cleared(store)
    return lost


def start_writer(folder: Path) -> tuple[CheckpointStore, Any, Any]:
    """A process that writes one checkpoint after another, keeping one, and the number of the last."""
    # No lock on the number: a writer that is killed while it holds one would never free it.
    ready, committed = FORK.Event(), FORK.Value("q", 0, lock=False)
    writer = FORK.Process(target=_write_for_ever, args=(folder, ready, committed))
    writer.start()
    assert ready.wait(10)
    return CheckpointStore(folder), committed, writer


def _write_for_ever(folder: Path, ready: Any, committed: Any) -> None:
    store = CheckpointStore(folder)
    ready.set()
    for step in itertools.count(1):
        save(store, step)
        committed.value = step


def count_lost_at_each_call(folder: Path) -> tuple[int, int]:
    """Kills a writer at its 1st, 2nd, … call of the file system; how many calls there are, and how often
    neither the former nor the new checkpoint was there."""
    lost = 0
    for nth in itertools.count(1):
        store = CheckpointStore(folder / str(nth))
        save(store, 1)
        writer = FORK.Process(target=_save_and_die, args=(store, nth))
        writer.start()
        writer.join(30)
        found = step_of(store)
        if writer.exitcode == 0:
            assert found == 2
            return nth - 1, lost
        assert writer.exitcode == -signal.SIGKILL
        lost += found not in (1, 2)
        _check_cleared(store)
    raise AssertionError("never through")


def _save_and_die(store: CheckpointStore, nth: int) -> None:
    with at_call(nth, _die):
        save(store, 2)
    os._exit(0)


def _die(name: str, half: Callable[[], object]) -> None:
    half()
    os.kill(os.getpid(), signal.SIGKILL)


def _check_cleared(store: CheckpointStore) -> None:
    save(store, 10_000)
    assert os.listdir(store.folder) == [store.paths()[-1].name]


# -- the bytes change --------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.Random(len(content)).randrange(len(content))] ^= 4
    path.write_bytes(content)


def zero_4k(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = max(0, len(content) // 2 - 2048)
    content[start : start + 4096] = bytes(min(4096, len(content) - start))
    path.write_bytes(content)


def link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def count_undetected_harms(folder: Path, harms: tuple[Callable[[Path], object], ...]) -> int:
    """How often a harmed checkpoint was used; else the one before it is, and which was harmed is said."""
    silent = 0
    for number, (harm, file) in enumerate(itertools.product(harms, FILES)):
        store = CheckpointStore(folder / str(number), keep=2)
        save(store, 1)
        newest = save(store, 2)
        harm(newest / file)
        loaded = store.load()
        assert loaded is not None
        silent += loaded.document["step"] != 1
        (said,) = loaded.damaged
        assert newest.name in said
        assert file in said
    return silent


@case("F33", "a checkpoint is cut, emptied, or lacks a file", fast=True)
def check_truncated_files(folder: Path, pace: Pace) -> Outcome:
    """Found before use; the one before it is loaded, and which was passed over is said."""
    return Outcome(silent=count_undetected_harms(folder, (truncate, empty, Path.unlink, link)))


@case("F34", "a checkpoint with one bit flipped, or 4 KiB zeroed", fast=True)
def check_flipped_bits(folder: Path, pace: Pace) -> Outcome:
    """Found by SHA-256 before use; so is every single bit of the manifest."""
    silent = count_undetected_harms(folder / "parts", (flip, zero_4k))
    store = CheckpointStore(folder / "manifest")
    path = save(store, 1) / "manifest.json"
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        silent += store.load() is not None
    path.write_bytes(content)
    assert step_of(store) == 1
    return Outcome(silent=silent)


# -- the disk ----------------------------------------------------------------------------------------------


def each_call_fails(folder: Path, code: int) -> tuple[int, int]:
    """Fails the 1st, 2nd, … call of a save; how many there are, and how often no checkpoint was left."""
    lost = 0
    for nth in itertools.count(1):
        store = CheckpointStore(folder / str(nth))
        save(store, 1)
        error = _failed_save(store, nth, code)
        if error is None:
            assert step_of(store) == 2
            return nth - 1, lost
        lost += step_of(store) not in (1, 2)  # the last calls fail after it is there
        assert errno.errorcode[code] in str(error)
        assert str(folder) in str(error)
        assert not [name for name in os.listdir(store.folder) if name.startswith(sealed_folders.ASIDE)]
        save(store, 3)
        assert step_of(store) == 3
    raise AssertionError("never through")


def _failed_save(store: CheckpointStore, nth: int, code: int) -> StorageUnavailable | None:
    """The error of a save whose nth call fails; None once it has no nth call that would stop it."""
    failed: list[str] = []

    def fail(name: str, half: Callable[[], object]) -> None:
        failed.append(name)
        half()
        raise OSError(code, os.strerror(code))

    while True:
        try:
            with at_call(nth, fail):
                save(store, 2)
        except StorageUnavailable as error:
            return error
        if not failed:
            return None
        nth, failed = nth + 1, []  # it went through without it, as removing what is old may


class Nobody:
    """A lane's line to no coordinator."""

    def decide(self, attempt: str, reports: list[EpochReport]) -> bool:
        """Goes on."""
        return True

    def heartbeat(self, attempt: str | None, reports: list[EpochReport]) -> HeartbeatReply:
        """Nothing is wanted."""
        return HeartbeatReply()


def _weights(store: CheckpointStore) -> dict[str, torch.Tensor]:
    """What a trial that saves after each epoch comes to."""
    assignment = Assignment(attempt="a", role="search", family="f", number=0, ordinal=1, params={}, seed=1)
    job = tiny.job(epochs=4, checkpoint_epochs=1)
    outcome = train(job, tiny.data(), AttemptHooks(assignment, Nobody(), store))
    assert (outcome.status, outcome.epochs) == ("complete", 4)
    return dict(outcome.weights)


@case("F35", "the disk is full at any call of a save", fast=True)
def full(folder: Path, pace: Pace) -> Outcome:
    """A clean error with errno and path at once; the former checkpoint stays, no part is listed, and training
    goes on to the same weights."""
    (folder / "file").write_text("x")
    quiet = _weights(CheckpointStore(folder / "quiet"))
    blocked = _weights(CheckpointStore(folder / "file" / "trial"))
    assert all(torch.equal(blocked[name], weight) for name, weight in quiet.items())
    began = time.monotonic()
    calls, lost = each_call_fails(folder / "calls", errno.ENOSPC)
    assert calls >= 10
    assert (time.monotonic() - began) / calls < 10
    return Outcome(lost=lost, note=f"{calls} calls")


@case("F36", "the storage turns read-only, gives I/O errors, or its folder is gone", fast=True)
def broken(folder: Path, pace: Pace) -> Outcome:
    """As a full disk; a folder that is gone is made again, one that cannot be is said."""
    lost = sum(each_call_fails(folder / str(code), code)[1] for code in (errno.EIO, errno.EROFS))
    store = CheckpointStore(folder / "gone")
    save(store, 1)
    store.delete()
    save(store, 2)
    lost += step_of(store) != 2
    (folder / "file").write_text("x")
    with pytest.raises(StorageUnavailable, match=r"ENOTDIR|EEXIST"):
        save(CheckpointStore(folder / "file" / "trial"), 1)
    return Outcome(lost=lost)


# -- whose it is, and how many stay ------------------------------------------------------------------------


@case("F37", "a checkpoint of another family, configuration or version", fast=True)
def foreign(folder: Path, pace: Pace) -> Outcome:
    """Refused, with what differs: the first ten, and how many more there are."""
    store = CheckpointStore(folder)
    wrote = {"family": "a", "params": {"x": 1}, "weights": {f"w{i}": ["float32", i] for i in range(20)}}
    store.save({}, {"identity": wrote})
    loaded = store.load()
    assert loaded is not None
    refuse_other(wrote, loaded.document["identity"])
    with pytest.raises(InputError) as caught:
        refuse_other({"family": "b", "weights": {"v": ["float32", 1]}}, loaded.document["identity"])
    text = str(caught.value)
    for part in ("family is 'a' instead of 'b'", "weights.v is missing", "params.x is unexpected"):
        assert part in text
    assert "and 13 more" in text
    return Outcome()


@case("F38", "one checkpoint is kept, while one is written and one is read", fast=True)
def read_while_saving(folder: Path, pace: Pace) -> Outcome:
    """A reader always finds one, and never an older one than was there before it looked."""
    _, committed, writer = start_writer(folder)
    try:
        return Outcome(lost=sum(_reads(folder, committed, 100 if pace.fast else 2_000)))
    finally:
        writer.kill()
        writer.join(10)


def _reads(folder: Path, committed: Any, times: int) -> Iterator[bool]:
    deadline = time.monotonic() + 10
    while committed.value < 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    for _ in range(times):
        before = committed.value
        found = step_of(CheckpointStore(folder))
        yield found is None or found < before
