"""The command line as a whole: help, start-up, errors, exit statuses, signals, pipes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.cli import run_commands
from flows.cli.error_boundary import Terminated, raise_on_sigterm
from flows.commands import PLACES
from flows.sweeps.views.status import status
from infra.errors import InterruptedCommand, LedgerUnavailable, RefusedError
from infra.ledger.store import Ledger
from search_spaces.errors import SpaceError
from tests.flows.ledger_sweeps import living_owner, set_owner, spec_of, write_logs, write_sweep
from trainers.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "ray", "mlflow", "optuna", "pandas", "numpy", "sqlalchemy", "pydantic", "sklearn")
HOSTILE = [
    "..", "../x", "/etc/passwd", "%2e%2e%2f", "a\\b", "a\nb", "a\x1b[2Jb", "x" * 300, "‮evil", "аdmin",
    "'; drop table sweeps; --", "$(touch x)", "models:/a/1", "🚲", "", " ", "Digits", "a@0", "a@1@2", "a@-1",
]  # fmt: skip


def run(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        env=environment, capture_output=True, text=True, timeout=600, **options,
    )  # fmt: skip


def test_help_of_every_command_has_an_example(velodrome):
    listed = velodrome("--help")
    assert listed.status == 0
    for command in PLACES:
        assert re.search(rf"^  {command} ", listed.out, re.MULTILINE)
        text = velodrome(command, "--help").out
        assert f"Example: velodrome {command}" in text


@pytest.mark.parametrize(
    "command", ["status", "show", "logs", "compare", "families", "doctor", "plan", "schema"]
)
def test_reading_commands_print_json_when_asked(velodrome, command):
    assert "--json" in velodrome(command, "--help").out


def test_cli_start_imports_no_heavy_library():
    program = (
        "import sys\nfrom flows.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=600, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def cpu_seconds(*arguments):
    """Processor time of one command and its status: on a busy machine the clock on the wall says little."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(os.devnull, "w") as nothing:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments], env=environment, stdout=nothing, stderr=nothing
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime, process.returncode


def test_help_prints_within_its_time_limit(home):
    took, statuses = zip(*(cpu_seconds("--help") for _ in range(3)), strict=True)
    assert statuses == (0, 0, 0)
    assert min(took) < 0.3


def test_status_of_unknown_sweep_names_ledger_and_nearest(home, velodrome):
    write_sweep(home)
    ended = velodrome("status", "digist")
    assert ended.status == 2
    assert str(home.path / "ledger.db") in ended.err
    assert "did you mean digits?" in ended.err


def test_home_in_a_parent_folder_is_named(home, velodrome, monkeypatch):
    write_sweep(home)
    here = Path.cwd()
    home.path.rename(here / ".velodrome")
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    monkeypatch.delenv("VELODROME_HOME")
    ended = velodrome("status", "digits")
    assert ended.status == 2
    assert f"VELODROME_HOME={here / '.velodrome'}" in ended.err


def test_status_of_sweep_file_finds_its_sweep(home, velodrome):
    write_sweep(home)
    Path("any.yaml").write_text("name: digits\ndata: {source: builtin:digits}\nfamilies: {image_cnn: {}}\n")
    assert json.loads(velodrome("status", "any.yaml", "--json").out)["sweep"] == "digits"
    assert velodrome("status", "none.yaml").status == 2


def test_a_sweep_ends_with_its_own_table_where_overrides_name_another(home, velodrome, monkeypatch):
    write_sweep(home)
    write_sweep(home, spec_of("other"), state="stopped")
    Path("any.yaml").write_text("name: digits\ndata: {source: builtin:digits}\nfamilies: {image_cnn: {}}\n")
    ran = []

    def run(file, *, overrides, **_):
        ran.append(overrides)
        return status("other")

    monkeypatch.setattr("flows.sweeps.sweep.sweep", run)
    ended = velodrome("sweep", "any.yaml", "--set", "name=other", "--set", "budget.trials=4")
    assert ended.status == 0, ended.err
    assert ran == [["name=other", "budget.trials=4"]]
    assert "velodrome show other" in ended.out
    assert "`velodrome sweep any.yaml --set name=other --set budget.trials=4` carries it on" in ended.err


def test_ledger_named_by_environment_is_read(home, velodrome, monkeypatch, tmp_path):
    url = f"sqlite:///{tmp_path / 'other.db'}"
    Ledger(url, create=True).close()
    monkeypatch.setenv("VELODROME_LEDGER", url)
    ended = velodrome("status", "digits")
    assert str(tmp_path / "other.db") in ended.err
    monkeypatch.setenv("VELODROME_LEDGER", "postgresql+psycopg://me:hunter2@127.0.0.1:1/none")
    ended = velodrome("status", "digits")
    assert ended.status == 4
    assert "hunter2" not in ended.err


def make_status_raise(monkeypatch, error):
    import flows.sweeps.views.status

    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(flows.sweeps.views.status, "status", fail)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("a must be b", "c", "d", key=("data", "source")), 2),
        (SpaceError("low must be below high", "3", key=("learning_rate",)), 2),
        (RefusedError("a gate must agree", "no"), 3),
        (LedgerUnavailable("a must be there"), 4),
        (InterruptedCommand("asked to stop", signal=15), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_print_one_block_and_exit_with_their_status(velodrome, monkeypatch, error, status):
    make_status_raise(monkeypatch, error)
    monkeypatch.setattr(os, "_exit", sys.exit)  # how an interrupted command ends: this process is the tests'
    ended = velodrome("status")
    assert ended.status == status
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert len(re.findall(r"^velodrome: ", ended.err, re.MULTILINE)) == 1


def test_error_block_says_must_found_and_remedy(velodrome, monkeypatch):
    make_status_raise(monkeypatch, InputError("a must be b", "'c'", "write b", key=("data", "source")))
    assert velodrome("status").err == (
        "velodrome: wrong input\n"
        "  must hold  a must be b\n"
        "  found      data.source: 'c'\n"
        "  do         write b\n"
    )


@pytest.mark.parametrize("command", [("status",), ("sweep", "digits.yaml", "--json")])
def test_current_folder_that_was_removed_is_no_defect(home, velodrome, monkeypatch, tmp_path, command):
    monkeypatch.delenv("VELODROME_HOME")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = velodrome(*command)
    assert result.status == 4
    assert "found      it was removed" in result.err
    assert "defect" not in result.err
    if "--json" in command:
        assert json.loads(result.out)["error"]["exit_status"] == 4


def test_defect_prints_traceback_and_writes_log(home, velodrome, monkeypatch):
    make_status_raise(monkeypatch, ZeroDivisionError("oops"))
    ended = velodrome("status")
    assert ended.status == 1
    assert "Traceback" in ended.err
    assert "ZeroDivisionError: oops" in ended.err
    (log,) = home.logs.glob("defect-*.log")
    assert str(log) in ended.err
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    "arguments",
    [("stauts",), ("status", "--jsn"), ("show", "digits"), ("show", "digits", "--trial", "x"), ("--nothing",),
     ("compare", "digits", "--json", "--csv"), ("logs", "digits", "--json", "-f")],
)  # fmt: skip
def test_wrong_arguments_exit_with_status_2(velodrome, arguments):
    ended = velodrome(*arguments)
    assert ended.status == 2
    assert "--help" in ended.err
    assert ended.out == ""


def test_closed_pipe_ends_command_quietly(home):
    write_sweep(home)
    folder = write_logs(home)
    (folder / "driver.log").write_text("a line\n" * 200_000)
    command = f"{sys.executable} -m flows.cli logs digits | head -1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=600
    )
    assert ended.stdout == "a line\n"
    assert "Broken" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_command_with_their_status(home, number, status):
    set_owner(home, write_sweep(home, state="running"), living_owner())
    write_logs(home)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "logs", "digits", "-f"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "lanes are up\n"  # it follows now
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == status
    assert "Traceback" not in err


class _Target:
    """What a weak reference points to."""


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_signal_that_arrives_in_a_weak_references_callback_is_not_lost(number, expected):
    """Python drops every exception there, a signal handler's among them."""
    target = _Target()
    reference = weakref.ref(target, lambda gone: signal.raise_signal(number))
    with pytest.raises(expected), raise_on_sigterm():
        del target
        for _ in range(200):
            time.sleep(0.01)
    assert reference() is None


def test_lost_signal_is_not_sent_again_while_the_thread_that_sends_it_is_being_started(monkeypatch):
    """On a busy machine the main thread may be kept waiting there: within the hook that Python drops too."""
    start = threading.Thread.start

    def late(thread):
        start(thread)
        time.sleep(0.5)

    monkeypatch.setattr(threading.Thread, "start", late)
    target = _Target()
    reference = weakref.ref(target, lambda gone: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Terminated), raise_on_sigterm():
        del target
        for _ in range(200):
            time.sleep(0.01)
    assert reference() is None


def test_families_and_schema_are_documents(velodrome):
    found = {family["name"]: family for family in json.loads(velodrome("families", "--json").out)["families"]}
    assert {"linear_regression", "image_cnn", "text_cnn"} <= set(found)
    rate = {entry["name"]: entry for entry in found["image_cnn"]["hyperparameters"]}["learning_rate"]
    assert rate["default"] > 0
    assert rate["swept"]["log"] is True
    assert velodrome("families", "image_cn").status == 2
    schema = json.loads(velodrome("schema").out)
    assert "families" in schema["properties"]


def test_versions_of_a_sweep_stand_side_by_side(home, velodrome):
    write_sweep(home)
    write_sweep(home, spec_of(version=2))
    names = [line["sweep"] for line in json.loads(velodrome("status", "--json").out)["sweeps"]]
    assert names == ["digits", "digits@2"]


@pytest.mark.parametrize(("front", "top"), [(0, 1), (3, 3), (40, 10)])
def test_end_of_a_sweep_with_several_objectives_shows_its_front(monkeypatch, tmp_path, front, top):
    class Ended(Exception):
        pass

    def compare(name, **options):
        raise Ended(options["top"])

    ahead = [SimpleNamespace(family="mlp", number=number) for number in range(front)]
    file = tmp_path / "two.yaml"
    file.touch()
    found = SimpleNamespace(state="finished", front=ahead, trials=())
    monkeypatch.setattr("flows.sweeps.sweep.sweep", lambda *given, **options: found)
    monkeypatch.setattr("flows.comparison.compare.compare", compare)
    with pytest.raises(Ended) as kept:
        run_commands.sweep(file)
    assert kept.value.args == (top,)
