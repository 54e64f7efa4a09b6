"""`velodrome gc` lists what was left behind, removes it when asked, and touches nothing else."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.upkeep.gc import GcResult, gc
from infra.home import Home, storage_place
from infra.ledger import views
from infra.ledger.store import Ledger
from infra.mirror import publish
from infra.storage.checkpoints import CheckpointStore
from tests.flows.conftest import CommandResult
from tests.flows.ledger_sweeps import living_owner, set_owner, spec_of, write_sweep
from tests.infra.object_store import running_store
from trainers.storage.machine import machine_id

Velodrome = Callable[..., CommandResult]

OLD_S = 40 * 86_400.0
DEAD_PID = 2**22 + 1  # above what the kernel gives


def write(path: Path, *, size_bytes: int = 8, age_s: float = OLD_S) -> Path:
    """A file of that size and age; returns its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size_bytes)
    touched = time.time() - age_s
    os.utime(path, (touched, touched))
    for folder in path.parents:
        if folder.name in {"storage", "cache", "home"} or not folder.name:
            break
        os.utime(folder, (touched, touched))
    return path.parent


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files: this test's own."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def trial(home: Home, family: str, number: int, label: str = "digits") -> Path:
    """A trial's folder."""
    return home.storage / label / family / f"search-{number:04d}"


def found(result: GcResult) -> set[tuple[str, Path]]:
    """What and where."""
    return {(str(leftover.kind), leftover.path) for leftover in result.leftovers}


def test_gc_lists_old_checkpoints_of_ended_trials_and_leaves_those_that_go_on(home: Home) -> None:
    write_sweep(home, state="stopped")
    failed = write(trial(home, "text_cnn", 1) / "checkpoints" / "00000001-a" / "tensors", size_bytes=100)
    write(trial(home, "image_cnn", 3) / "checkpoints" / "00000001-a" / "tensors")  # it runs
    write(trial(home, "image_cnn", 1) / "model-1" / "weights")
    result = gc()
    assert found(result) == {("checkpoints", failed.parent)}
    assert (result.size_bytes, result.applied) == (100, False)
    assert "retry" in result.leftovers[0].why
    assert failed.is_dir()


def test_gc_apply_removes_what_the_dry_run_listed_and_the_empty_folders_above(home: Home) -> None:
    write_sweep(home, state="stopped")
    write(trial(home, "text_cnn", 1) / "checkpoints" / "00000001-a" / "tensors")
    model = write(trial(home, "image_cnn", 1) / "model-1" / "weights")
    write(trial(home, "image_cnn", 1) / "checkpoints" / "00000001-a" / "tensors")
    dry = gc()
    done = gc(apply=True)
    assert found(done) == found(dry)
    assert (len(done.leftovers), done.failed) == (2, {})
    assert not (home.storage / "digits" / "text_cnn").exists()
    assert os.listdir(model.parent) == ["model-1"]
    assert not gc(apply=True).leftovers


def test_gc_leaves_what_retry_needs_within_its_limit(home: Home) -> None:
    write_sweep(home, state="stopped")
    store = CheckpointStore(trial(home, "text_cnn", 1) / "checkpoints")
    store.save({}, {"epoch": 3})
    assert not gc(apply=True).leftovers
    assert store.load() is not None
    assert len(gc(apply=True, older_than="1ms").leftovers) == 1
    assert store.load() is None


def test_gc_leaves_all_that_a_running_sweep_owns_and_the_caches_that_it_reads(home: Home) -> None:
    set_owner(home, write_sweep(home, state="running"), living_owner())
    kept = write(trial(home, "text_cnn", 1) / "checkpoints" / "00000001-a" / "tensors")
    cache = write(home.cache / "sources" / "abc" / "data.npy")
    result = gc(apply=True)
    assert not result.leftovers
    assert kept.is_dir()
    assert cache.is_dir()
    assert set(result.passed_over) == {str(home.storage / "digits"), str(home.cache)}
    assert f"pid {os.getpid()}" in result.passed_over[str(home.storage / "digits")]


def test_gc_leaves_what_came_into_use_between_look_and_removal(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = write_sweep(home, state="stopped")
    kept = write(trial(home, "text_cnn", 1) / "checkpoints" / "00000001-a" / "tensors")
    look = views.sweeps
    calls = []

    def start_then_look(ledger: Ledger) -> object:
        calls.append(ledger)
        if len(calls) == 2:
            set_owner(home, sweep, living_owner())
        return look(ledger)

    monkeypatch.setattr(views, "sweeps", start_then_look)
    monkeypatch.setattr("flows.sweeps.ownership.is_alive_here", lambda owner: bool(owner.token))
    result = gc(apply=True)
    assert kept.is_dir()
    assert not result.leftovers
    assert "pid" in result.failed[str(kept.parent)]


def test_gc_removes_orphaned_trials_but_none_with_a_model_or_kept_files(home: Home) -> None:
    write_sweep(home)
    stray = write(trial(home, "image_cnn", 9) / "checkpoints" / "c" / "tensors").parents[1]
    nobodys = write(trial(home, "mlp", 0, "gone@2") / "checkpoints" / "c" / "tensors").parents[1]
    model = write(trial(home, "mlp", 1, "gone@2") / "model-1" / "weights").parent
    files = write(trial(home, "mlp", 2, "gone@2") / "kept" / "figure.png").parent
    result = gc(apply=True)
    assert found(result) == {("trial", stray), ("trial", nobodys)}
    assert set(result.passed_over) == {str(model), str(files)}
    assert not stray.exists()
    assert (home.storage / "gone@2").exists()
    assert model.exists()
    assert files.exists()


@pytest.mark.parametrize("logs", [True, False])
def test_gc_leaves_folders_that_may_be_of_another_ledger(home: Home, logs: bool) -> None:
    if logs:
        write_sweep(home)
        (home.logs / "elsewhere").mkdir(parents=True)
    stays = write(trial(home, "mlp", 0, "elsewhere") / "checkpoints" / "c" / "tensors")
    assert not gc(apply=True).leftovers
    assert stays.exists()


def test_gc_of_two_ledgers_with_a_sweep_of_one_name_knows_the_trials_of_both(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_sweep(home)
    monkeypatch.setenv("VELODROME_LEDGER", f"sqlite:///{tmp_path / 'other.db'}")
    Ledger(f"sqlite:///{tmp_path / 'other.db'}", create=True).close()
    stays = write(trial(home, "image_cnn", 3) / "checkpoints" / "c" / "tensors")  # of the home's own
    assert not gc(apply=True).leftovers
    assert stays.exists()


def test_gc_removes_what_dead_writers_left_and_nothing_of_living_ones(home: Home, temporary: Path) -> None:
    write_sweep(home)
    folder = trial(home, "image_cnn", 3) / "checkpoints"
    dead = write(folder / f".aside-{machine_id()}-{DEAD_PID}-{'0' * 32}" / "tensors")
    alive = write(folder / f".aside-{machine_id()}-{os.getpid()}-{'0' * 32}" / "tensors")
    half = write(home.cache / "encoded" / ".abc.01234567.aside" / "x.npy")
    ray = write(temporary / f"velodrome-{DEAD_PID}-abcdefgh" / "session" / "log").parent
    mine = write(temporary / f"velodrome-{os.getpid()}-abcdefgh" / "session" / "log").parent
    fetched = write(temporary / "velodrome-fetch-abcdefgh" / "model")
    other = write(temporary / "velodrome-notes" / "mine.txt")
    result = gc(apply=True)
    assert found(result) == {("temporary", path) for path in (dead, half, ray, fetched)}
    assert alive.exists()
    assert mine.exists()
    assert other.exists()


def test_gc_takes_unnamed_temporary_folders_for_left_after_a_day_alone(home: Home, temporary: Path) -> None:
    young = write(temporary / "velodrome-fetch-abcdefgh" / "model", age_s=3600)
    assert not gc(apply=True, older_than="1ms").leftovers
    assert young.exists()


def test_gc_counts_a_caches_age_from_its_last_reading(home: Home) -> None:
    cache = write(home.cache / "sources" / "abc" / "data.npy")
    now = time.time()
    os.utime(cache / "data.npy", (now, now - OLD_S))
    assert not gc().leftovers
    os.utime(cache / "data.npy", (now - OLD_S, now - OLD_S))
    assert found(gc(apply=True)) == {("cache", cache)}
    assert not cache.exists()


def test_gc_leaves_a_cache_that_somebody_builds(home: Home) -> None:
    from trainers.storage.shared_folders import lock_file

    cache = write(home.cache / "sources" / "abc" / "data.npy")
    with lock_file(cache.with_name(".abc.lock"), 1.0):
        result = gc(apply=True)
    assert cache.exists()
    assert "lock" in result.failed[str(cache)]


def test_gc_follows_no_link(home: Home, tmp_path: Path) -> None:
    write_sweep(home)
    precious = write(tmp_path / "precious" / "mlp" / "search-0000" / "checkpoints" / "file").parents[2]
    home.storage.mkdir(parents=True)
    (home.storage / "link").symlink_to(precious)
    (home.cache / "sources").mkdir(parents=True)
    (home.cache / "sources" / "link").symlink_to(precious)
    assert not gc(apply=True, older_than="1ms").leftovers
    assert (precious / "mlp" / "search-0000" / "checkpoints" / "file").exists()


def test_gc_by_size_leaves_what_is_smaller(home: Home, velodrome: Velodrome) -> None:
    write(home.cache / "sources" / "small" / "x", size_bytes=100)
    large = write(home.cache / "sources" / "large" / "x", size_bytes=2000)
    ended = velodrome("gc", "--larger-than", "1KiB", "--json")
    document = json.loads(ended.out)
    assert [entry["path"] for entry in document["leftovers"]] == [str(large)]
    assert (document["size_bytes"], document["applied"]) == (2000, False)
    assert large.exists()


def test_gc_that_cannot_remove_ends_with_4_and_says_which(
    home: Home, velodrome: Velodrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = write(home.cache / "sources" / "abc" / "x")

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("flows.upkeep.gc.remove_folder", refuse)
    ended = velodrome("gc", "--apply")
    assert ended.status == 4
    assert f"not removed: {cache}" in ended.out
    assert "removed 0 things" in ended.out


def test_gc_screen_tells_a_dry_run_from_a_removal(home: Home, velodrome: Velodrome) -> None:
    assert "nothing was left behind" in velodrome("gc").out
    write_sweep(home, spec_of("digits"), state="stopped")
    write(trial(home, "text_cnn", 1) / "checkpoints" / "00000001-a" / "tensors", size_bytes=2048)
    dry, done = velodrome("gc"), velodrome("gc", "--apply")
    assert "velodrome gc --apply" in dry.out
    assert "2 KiB" in dry.out
    assert "removed 1 thing of 2 KiB" in done.out


@pytest.mark.parametrize("wrong", [("--older-than", "soon"), ("--larger-than", "much")])
def test_gc_with_a_wrong_limit_is_refused(home: Home, velodrome: Velodrome, wrong: tuple[str, str]) -> None:
    ended = velodrome("gc", *wrong)
    assert ended.status == 2
    assert f"{wrong[0]} must be" in ended.err


def test_gc_finds_and_removes_what_was_left_in_a_bucket(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_store(monkeypatch) as store:
        monkeypatch.setenv("VELODROME_STORAGE", "s3://models/team")
        write_sweep(home, state="stopped")
        elsewhere = storage_place(Home(home.path.with_name("elsewhere")), "s3://models/team") / "digits"
        for name in (
            "text_cnn/search-0001/checkpoints/00000001-a/tensors",
            "image_cnn/search-0003/checkpoints/00000001-a/tensors",  # it runs
            "image_cnn/search-0001/model-1/weights",
            "image_cnn/search-0099/files/own",
            "image_cnn/search-0098/model-1/weights",
        ):
            write(elsewhere / name)
        publish(elsewhere)
        store.objects = {name: (content, time.time() - OLD_S) for name, (content, _) in store.objects.items()}
        root = storage_place(home, None) / "digits"
        result = gc()
        assert found(result) == {
            ("checkpoints", root / "text_cnn" / "search-0001" / "checkpoints"),
            ("trial", root / "image_cnn" / "search-0099"),
        }
        assert result.size_bytes == 16
        assert str(root / "image_cnn" / "search-0098") in result.passed_over
        assert not gc(apply=True).failed
        assert [name.removeprefix("models/team/digits/") for name in store.names()] == [
            "image_cnn/search-0001/model-1/weights",
            "image_cnn/search-0003/checkpoints/00000001-a/tensors",
            "image_cnn/search-0098/model-1/weights",
        ]
        write(root / "image_cnn" / "search-0001" / "model-1" / "weights")
        assert found(gc(apply=True)) == {("cache", root)}
        assert len(store.names()) == 3
