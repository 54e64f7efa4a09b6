"""Commands to go on with find the sweep from the shell of who reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from flows.comparison.compare import compare
from flows.comparison.leaderboard import print_leaderboard
from flows.terminal.next_command import next_command
from infra.home import Home
from infra.ray_job import JOB_CONFIG
from tests.flows.conftest import CommandResult
from tests.flows.ledger_sweeps import spec_of, write_sweep

WRITTEN = "postgresql+psycopg://me:${PW}@db/v"
JOB = {JOB_CONFIG: "{}", "HOME": "/nobody"}


@pytest.mark.parametrize(
    ("ledger", "environ", "settings"),
    [
        (None, {}, ""),
        (None, {"VELODROME_LEDGER": WRITTEN}, ""),
        (WRITTEN, {}, f"VELODROME_LEDGER='{WRITTEN}'"),
        (WRITTEN, {"VELODROME_LEDGER": WRITTEN}, ""),
        (WRITTEN, {"VELODROME_LEDGER": "sqlite:////x.db"}, f"VELODROME_LEDGER='{WRITTEN}'"),
        ("postgresql://me:pw1@db/v", {}, "VELODROME_LEDGER='postgresql://***@db/v'"),
        (None, {**JOB, "VELODROME_LEDGER": "postgresql://me:pw1@db/v"},
         "VELODROME_LEDGER='postgresql://***@db/v'"),
        (None, {**JOB, "VELODROME_HOME": "/data/v"}, "VELODROME_HOME=/data/v"),
        (WRITTEN, JOB, f"VELODROME_LEDGER='{WRITTEN}'"),
    ],
)  # fmt: skip
def test_command_names_the_ledger_that_it_would_not_find(
    ledger: str | None, environ: dict[str, str], settings: str
) -> None:
    command = next_command("show digits --trial 8", ledger, environ=environ)
    assert command == f"{settings} velodrome show digits --trial 8".strip()


def test_command_that_needs_ray_names_the_cluster() -> None:
    assert next_command("confirm d", None, address="head:6379", environ={}) == (
        "velodrome confirm d --address head:6379"
    )


def test_screens_of_a_sweep_with_a_ledger_of_its_own_say_how_to_find_it(
    home: Home, velodrome: Callable[..., CommandResult], tmp_path: Path
) -> None:
    other = Home(tmp_path / "other")
    write_sweep(other, replace(spec_of(), ledger=other.ledger_url))
    setting = f"VELODROME_LEDGER={other.ledger_url}"
    Path("any.yaml").write_text(
        "name: digits\ndata: {source: builtin:digits}\nfamilies: {image_cnn: {}}\n"
        f"ledger: {other.ledger_url}\n"
    )
    assert f"{setting} velodrome show digits --family" in velodrome("status", "any.yaml").out
    shown = StringIO()
    table = compare("any.yaml", latency=False)
    print_leaderboard(Console(file=shown, width=60), table, address="head:6379")
    assert f"  export {setting}\n  velodrome show digits --family image_cnn --trial 1 " in shown.getvalue()
    assert "velodrome confirm digits --address head:6379" in shown.getvalue()
    assert "VELODROME_LEDGER" not in velodrome("status", "any.yaml", "--json").out
