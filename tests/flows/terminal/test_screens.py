"""Progress, tables, wording, doctor and the UI's refusals."""

from __future__ import annotations

import io
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from flows.installation.doctor import doctor
from flows.installation.listening_ports import program_of
from flows.installation.requirements import is_within_bounds, version_bounds
from flows.installation.ui import ui
from flows.sweeps.views.show import CurvePoint
from flows.sweeps.views.trial_screens import thin_curve
from flows.terminal.formatting import age, number, seconds, short_count, size
from flows.terminal.live_progress import LiveProgress, snapshot_line, snapshot_table
from flows.terminal.tables import TableColumn, fit_columns, fit_table
from infra.errors import WrongInput
from infra.ledger.snapshot import BestSoFar, FamilySnapshot, make_snapshot
from infra.spec import Objective
from tests.flows.ledger_sweeps import TRIALS, spec_of, trial_of


def snapshot(**more):
    rows = [
        trial_of(f, n, s, v, ended_at=120.0 if s not in {"running"} else None, **m)
        for f, n, s, v, m in TRIALS
    ]
    return replace(
        make_snapshot(
            spec_of(), rows, state="running", now=130.0, started_at=100.0, lanes_up=2, lanes_starting=1
        ),
        **more,
    )


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_progress_without_terminal_prints_changes_at_most_every_few_s():
    out, clock = io.StringIO(), Clock()
    with LiveProgress(spec_of(), out, clock=clock, every_s=5) as progress:
        progress.update(snapshot())
        progress.update(snapshot())  # nothing new
        clock.now = 1.0
        progress.update(snapshot(lanes_up=1))  # too soon
        assert out.getvalue().count("\n") == 1
        clock.now = 6.0
        progress.update(snapshot(lanes_up=1))
        progress.update(snapshot(state="finished"))  # the end is never held back
    assert out.getvalue().count("\n") == 3
    assert "\x1b" not in out.getvalue()


def test_first_value_is_told_at_once_and_others_wait_their_turn():
    out, clock = io.StringIO(), Clock()
    with LiveProgress(spec_of(), out, clock=clock, every_s=5) as progress:
        progress.update(snapshot())
        clock.now = 0.5
        progress.update(snapshot(first_value="mlp #0: accuracy 0.5 after epoch 1"))
        assert "mlp #0: accuracy 0.5 after epoch 1" in out.getvalue()
        progress.update(snapshot())
        progress.update(snapshot(first_value="mlp #1: accuracy 0.6 after epoch 1"))
    assert out.getvalue().count("\n") == 2


def test_progress_line_has_counts_best_lanes_time_and_unsent():
    line = snapshot_line(spec_of(), snapshot(unsent=3, message="waiting for a lane"))
    for part in (
        "digits: 5/8 done", "1 running", "1 pruned", "1 failed", "image_cnn 0.985 (#1)",
        "2 lanes (+1 starting)", "7.1 s left", "3 not yet sent", "waiting for a lane",
    ):  # fmt: skip
        assert part in line


@pytest.mark.parametrize(("direction", "first"), [("maximize", "f9, f8, f7"), ("minimize", "f0, f1, f2")])
def test_progress_line_of_many_families_has_the_best_of_them(direction, first):
    families = tuple(
        FamilySnapshot(family=f"f{n}", total=1, complete=1, best=BestSoFar(number=0, values=(n / 10,)))
        for n in range(10)
    )
    spec = spec_of(objectives=(Objective(metric="val/loss", direction=direction),))
    line = snapshot_line(spec, snapshot(families=families))
    told = line.partition("best ")[2].partition(" · ")[0]
    assert told.endswith(" and 7 families more")
    assert " and 1 family more" in snapshot_line(spec, snapshot(families=families[:4]))
    assert [word for word in told.split()[:9] if word.startswith("f")] == first.split(", ")


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_table_fits_the_terminal(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(snapshot_table(spec_of(), snapshot(), width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in console.file.getvalue()
    assert any("image_cnn" in line and "3/4" in line and "0.985" in line for line in lines)


def test_closed_screen_does_not_stop_a_sweep():
    refused = []

    class Gone(io.StringIO):
        def write(self, text):
            refused.append(text)
            raise BrokenPipeError

    with LiveProgress(spec_of(), Gone()) as progress:
        progress.update(snapshot())
        progress.print_line("still here")
    assert refused  # and yet nothing was raised


def test_narrow_table_drops_columns_before_cutting_text():
    columns = [
        TableColumn(heading="name", cells=["x" * 10]),
        TableColumn(heading="first", cells=["y" * 10], gives_way=2),
        TableColumn(heading="last", cells=["z" * 10], gives_way=1),
    ]
    assert [column.heading for column in fit_columns(columns, 40)] == ["name", "first", "last"]
    assert [column.heading for column in fit_columns(columns, 30)] == ["name", "last"]
    assert [column.heading for column in fit_columns(columns, 5)] == ["name"]


def test_shrunk_table_column_ends_with_an_ellipsis():
    console = Console(file=io.StringIO(), width=40)
    columns = [
        TableColumn(heading="a", cells=["long " * 20], shrinks=True),
        TableColumn(heading="b", cells=["kept"], right=True),
    ]
    console.print(fit_table(columns, 40))
    text = console.file.getvalue()
    assert "…" in text
    assert "kept" in text
    assert max(map(len, text.splitlines())) <= 40


def test_long_curve_is_thinned_but_keeps_ends_and_best():
    curve = [CurvePoint(epoch=n, metrics={}) for n in range(1, 501)]
    shown = [point.epoch for point in thin_curve(curve, kept=77)]
    assert len(shown) <= 20
    assert {1, 77, 500} <= set(shown)
    assert thin_curve(curve[:20], kept=3) == curve[:20]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.98765432, "0.9877"), (1e-5, "1e-5"), (3.2e-4, "3.2e-4"), (123456789.0, "1.235e8"),
     (87180.0, "87180"), (0.0, "0"),
     (True, "true"),
     (None, "-"), ([3, 4], "[3, 4]"), ("adam", "adam"), (float("inf"), "inf"), (-0.00012345, "-1.234e-4"),
     (40_394.0, "40394"), ({"shift": 0.07}, "{shift: 0.07}"), (["a", None], "[a, -]")],
)  # fmt: skip
def test_number_is_formatted_with_four_digits(value, text):
    assert number(value) == text


def test_sizes_counts_and_times_are_formatted_with_units():
    assert [seconds(s) for s in (0.42, 12, 200, 7_500, 90_000)] == [
        "0.42 s", "12 s", "3 min 20 s", "2 h 5 min", "1 d 1 h"
    ]  # fmt: skip
    assert seconds(59.9) == "1 min"
    assert [size(n) for n in (10, 2048, 3 << 20, None)] == ["10 B", "2 KiB", "3 MiB", "-"]
    assert [short_count(n) for n in (999, 52_138, 5_400_000)] == ["999", "52.1 k", "5.4 M"]


def test_doctor_finds_a_token_that_others_can_read_and_a_folder_named_as_ours(home):
    token = home.path / "ray_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    Path("trainers").mkdir()
    checkup = doctor()
    found = {finding.found: finding for finding in checkup.findings}
    bad = next(finding for text, finding in found.items() if str(token) in text)
    assert (bad.verdict, bad.do) == ("fail", f"chmod 600 {token}")
    assert stat.S_IMODE(token.stat().st_mode) == 0o644  # it looks, and changes nothing
    shadow = next(finding for finding in checkup.findings if finding.name == "folders")
    assert shadow.verdict == "fail"
    assert "trainers" in shadow.found
    assert checkup.has_failure
    assert not (home.path / "ledger.db").exists()


def test_doctor_survives_a_damaged_ledger(home):
    home.path.mkdir()
    (home.path / "ledger.db").write_bytes(b"x" * 5000)
    finding = next(finding for finding in doctor().findings if finding.name == "ledger")
    assert finding.verdict == "fail"


def test_package_bounds_accept_only_versions_within_them():
    assert is_within_bounds("2.60.0", ">=2.60,<2.61")
    assert not is_within_bounds("2.61.0", ">=2.60,<2.61")
    assert is_within_bounds("2.13.0+cpu", ">=2.10")
    assert set(version_bounds()["ray"].split(",")) == {">=2.60", "<2.61"}


@pytest.mark.parametrize(
    ("name", "command", "program"),
    [("raylet", [], "raylet"), ("ray::Lane.run", [], "ray"),
     ("python", ["python", "-m", "mlflow", "server"], "mlflow"),
     ("python", ["python", "-m", "flows.cli", "ui"], "flows.cli"), ("sshd", ["sshd"], None),
     ("python", ["python", "/v/lib/site-packages/ray/dashboard/agent.py"], "ray agent"),
     ("bash", ["bash", "x"], None)],
)  # fmt: skip
def test_program_of_names_the_owner_of_a_port(name, command, program):
    assert program_of(name, command) == program


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "", "127.0.0.1.evil.org"])
def test_the_ui_listens_on_loopback_alone(home, host):
    with pytest.raises(WrongInput, match="loopback"):
        ui(host=host)
    assert not home.path.exists()


def test_ui_names_a_server_store_without_its_password(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hunter2@mlflow.example:5000")
    said = []
    ui(say=said.append)
    assert "mlflow.example" in said[0]
    assert "hunter2" not in said[0]


def test_ago_gives_elapsed_time_in_one_unit():
    assert [age(0.0, now) for now in (5.0, 98.0, 7_500.0)] == ["5 s ago", "1 min ago", "2 h ago"]
