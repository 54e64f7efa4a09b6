"""What the page of operations has people type: run where it can be, else taken by the programs themselves."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from flows.cli.app import app
from flows.upkeep.metrics import SWEEP_STATES, write_metrics
from infra.home import Home
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.schema import SCHEMA_VERSION
from infra.ledger.store import Ledger
from infra.storage.checkpoints import CheckpointStore
from tests.click_parsing import parse_command
from tests.docs.pages import ROOT, blocks
from tests.flows.ledger_sweeps import write_sweep
from tests.postgres import binaries

PAGE = ROOT / "docs" / "operations.md"
SCHEDULE = re.compile(r"(?:[\d*/,-]+ ){5}(?P<command>.*)")


def section(title: str) -> str:
    """What stands below a heading of the page."""
    parts = re.split(r"^## (.*)\n", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def console(title: str) -> list[list[str]]:
    """The commands of a section's blocks, block by block."""
    found = re.findall(r"^```console\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)
    return [[line.removeprefix("$ ") for line in block.splitlines()] for block in found]


def shell(lines: list[str], folder: Path) -> str:
    """Runs lines as one would type them into one shell, in a folder, with this Python's programs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-euc", "\n".join(lines)],
        cwd=folder,
        env={"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def snapshot(home: Home) -> object:
    ledger = Ledger(home.ledger_url)
    try:
        (row,) = views.sweeps(ledger)
        return row, views.trials(ledger, row.id, role=None), views.events(ledger, row.id)
    finally:
        ledger.close()


def filled_home(folder: Path) -> Home:
    """A home with a sweep, a checkpoint and the two other databases."""
    home = Home(folder / ".velodrome")
    write_sweep(home)
    CheckpointStore(home.storage / "digits" / "checkpoints").save({}, {"epoch": 3})
    (home.artifacts / "1").mkdir(parents=True)
    (home.artifacts / "1" / "file").write_text("artifact")
    for name in ("mlflow", "outbox"):
        with sqlite3.connect(home.path / f"{name}.db") as database:
            database.execute("CREATE TABLE t AS SELECT 1 AS x")
        database.close()
    return home


def test_backup_and_restore_as_typed_bring_all_of_a_home_back(tmp_path: Path) -> None:
    home = filled_home(tmp_path)
    before = snapshot(home)
    open_connection = sqlite3.connect(home.path / "ledger.db")  # as a driver has it, with a write-ahead log
    open_connection.execute("PRAGMA journal_mode=WAL")
    (backup, _), (restore,) = console("Backup"), console("Restore")
    shell([*backup, "echo $to > to"], tmp_path)
    open_connection.close()
    ledger = Ledger(home.ledger_url)
    ledger.add_events(views.sweeps(ledger)[0].id, WriteBatch(sweep={"state": "failed"}))
    ledger.close()
    (home.storage / "digits" / "checkpoints").rename(home.path / "gone")
    assert snapshot(home) != before
    told = shell([f"to={(tmp_path / 'to').read_text().strip()}", *restore], tmp_path)
    assert "digits" in told
    assert snapshot(home) == before
    assert (home.artifacts / "1" / "file").read_text() == "artifact"
    loaded = CheckpointStore(home.storage / "digits" / "checkpoints").load()
    assert loaded is not None
    assert loaded.document == {"epoch": 3}
    assert {path.name for path in home.path.glob("*.db")} == {"ledger.db", "mlflow.db", "outbox.db"}


def test_home_that_was_moved_as_typed_is_found_where_it_was(tmp_path: Path) -> None:
    home = filled_home(tmp_path)
    before = snapshot(home)
    ((move,),) = console("Room")
    shell([move.replace("/srv/velodrome", "disk")], tmp_path)
    assert home.path.is_symlink()
    assert snapshot(home) == before


def test_cron_runs_what_velodrome_takes_and_writes_figures_whole(tmp_path: Path) -> None:
    commands = []
    for block in blocks(PAGE, "crontab"):
        (line,) = block.splitlines()
        found = SCHEDULE.fullmatch(line)
        assert found is not None, line
        commands.append(found["command"])
    figures, clean = commands
    home = filled_home(tmp_path)
    places = {"/srv/velodrome": str(home.path), "/var/lib/node_exporter": str(tmp_path)}
    for place, there in places.items():
        figures, clean = figures.replace(place, there), clean.replace(place, there)
    shell([figures], tmp_path)
    assert (tmp_path / "velodrome.prom").read_text() == write_metrics(home)
    assert not (tmp_path / "velodrome.new").exists()
    words = shlex.split(clean)
    assert words[0].startswith("VELODROME_HOME=")
    parse_command(get_command(app), words[1:])


def test_table_of_figures_has_every_one_with_the_labels_that_it_says(tmp_path: Path) -> None:
    named = set(re.findall(r"`(velodrome_\w+)`", section("What to watch")))
    text = write_metrics(filled_home(tmp_path))
    assert named == set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert set(re.findall(r"(\w+)=\"", text)) == {"sweep", "family", "state"}
    assert set(re.findall(r'velodrome_sweep\{state="(\w+)"', text)) == set(SWEEP_STATES)


def test_configuration_of_prometheus_names_files_that_are_there() -> None:
    (block,) = blocks(PAGE, "yml")  # `yaml` is what sweep files are
    made = yaml.safe_load(block)
    folder = ROOT / "infra" / "deploy" / "monitoring"
    assert all((folder / name).exists() for name in made["rule_files"])
    assert {job["job_name"] for job in made["scrape_configs"]} == {"nodes", "models"}


def test_schema_that_the_page_names_is_that_of_new_ledgers() -> None:
    assert f"schema {SCHEMA_VERSION}:" in section("New versions")


@pytest.mark.filterwarnings("ignore")  # MLflow's, as it is imported
def test_commands_of_the_page_are_ones_that_velodrome_ray_and_mlflow_take() -> None:
    from mlflow.cli import cli as mlflow
    from ray.scripts.scripts import cli as ray

    programs: dict[str, Any] = {"velodrome": get_command(app), "mlflow": mlflow, "ray": ray}
    spoken = re.findall(r"`((?:mlflow|ray) [^`\n]+)`", PAGE.read_text())
    typed = [line for title in ("Restore", "New versions") for block in console(title) for line in block]
    seen = set()
    for line in [*spoken, *typed]:
        words = shlex.split(line, comments=True)
        if words[0] in programs:
            parse_command(programs[words[0]], words)
            seen.add(words[0])
    assert seen == set(programs)


def test_options_of_the_copies_of_postgresql_are_ones_that_it_has() -> None:
    folder = binaries()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    dumps = [shlex.split(line) for line in console("Backup")[1]]
    (restore,) = re.findall(r"`(pg_restore [^`]+)`", section("Restore"))
    for program, *words in [*dumps, shlex.split(restore)]:
        told = subprocess.run([folder / program, "--help"], capture_output=True, text=True, check=True).stdout
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options
        assert all(option in told for option in options)
