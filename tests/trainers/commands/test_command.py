"""Commands as training functions: what they are called with, what is read of them, and how they end."""

from __future__ import annotations

import argparse
import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainers.functions.test_functions import Recorder
from trainers.commands.arguments import argument_words, command_words
from trainers.commands.metrics import PrintedMetrics, plain_text
from trainers.commands.options import check_command, command_digest, command_files, read_command
from trainers.commands.process import GuardedProcess
from trainers.errors import InputError, NotFinite, TrainerError, TrialError
from trainers.functions.command import bind_command
from trainers.functions.job import FunctionJob
from trainers.functions.run import dry_run_function, run_function
from trainers.functions.separate_process import FunctionRequest, run_here
from trainers.job import Outcome
from trainers.registry import COMMAND
from trainers.try_out import try_out
from trainers.types import Goal, Length

GOAL = Goal(metric="val/accuracy", maximize=True)
PRINTED = {"accuracy": r"acc=([\d.]+)"}
LOOP = """
import json, os, sys, time
directory = os.environ["VELODROME_DIRECTORY"]
begin = int(open(sys.argv[2]).read()) if "--resume" in sys.argv else 0
for epoch in range(begin, 4):
    print(f"Train Epoch: {epoch}")
    print(f"acc=0.{epoch + 1}")
    open(f"{directory}/last.txt", "w").write(str(epoch + 1))
    if os.environ.get("DIE_AT") == str(epoch):
        os.kill(os.getpid(), 9)
"""

Run = Callable[..., tuple[Outcome, Recorder]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command in one folder, which attempts share."""

    def call(command: str, hooks: Recorder | None = None, **options: Any) -> tuple[Outcome, Recorder]:
        hooks = hooks or Recorder()
        job = {"length": Length(epochs=4), **options.pop("job", {})}
        after_last_s = options.pop("after_last_s", 60.0)
        given = {"command": command, "metrics": PRINTED, **options}
        function = bind_command(given, tmp_path, [GOAL], after_last_s=after_last_s)
        (tmp_path / "own").mkdir(exist_ok=True)
        made = FunctionJob(
            function=function, params={"lr": 0.1}, seed=7, goals=(GOAL,), directory=tmp_path / "own", **job
        )  # fmt: skip
        return run_function(made, hooks), hooks

    return call


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def test_line_that_matches_is_one_report(run: Run) -> None:
    outcome, hooks = run("sh -c 'echo acc=0.3; echo between; echo acc=0.7.; printf acc=0.5'")
    assert [metrics["val/accuracy"] for _, metrics in hooks.reports] == [0.3, 0.7, 0.5]
    assert (outcome.status, outcome.values, outcome.epoch) == ("complete", (0.7,), 2)


def test_metrics_on_lines_before_the_objective_belong_to_its_report(run: Run) -> None:
    """As pytorch's mnist example prints: batches, then the epoch's test set."""
    script = "for i in 1 2; do echo loss: 9; echo loss: $i; echo acc=0.$i; done"
    _, hooks = run(f"sh -c '{script}'", metrics={**PRINTED, "train/loss": r"loss: ([\d.]+)"})
    assert hooks.reports[1] == (2, {"val/accuracy": 0.2, "train/loss": 2.0})


def test_a_progress_bar_without_line_ends_is_read(run: Run) -> None:
    _, hooks = run(r"""sh -c 'printf "10%%\racc=0.1 50%%\racc=0.2\r\n"'""")
    assert [metrics["val/accuracy"] for _, metrics in hooks.reports] == [0.1, 0.2]


def test_bar_that_is_drawn_again_without_news_is_no_report(run: Run) -> None:
    """As tqdm draws its postfix: when it is set, when the bar moves on, and when it is closed."""
    drawn = [f" {step}/3 acc=0.{value}" for step, value in ((0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3))]
    script = r"".join(rf"\r{text}" for text in drawn) + r"\nacc=0.3\nacc=0.3\n"
    _, hooks = run(f"printf '{script}'", job={"length": Length(epochs=9)})
    assert [metrics["val/accuracy"] for _, metrics in hooks.reports] == [0.1, 0.2, 0.3, 0.3, 0.3]


@pytest.mark.parametrize(
    ("line", "pattern", "value"),
    [
        ("\x1b[32mINFO\x1b[0m acc=\x1b[1m0.85\x1b[0m", "acc=([0-9.]+)", 0.85),
        ("\x1b]0;title\x07acc=\x1b[38;5;4m0.85", r"acc=\S*?([\d.]+)", 0.85),
        ("3/3 [===]\x08\x08\x08 - acc: 0.85", r"\] - acc: ([\d.]+)", 0.85),
        ("acc=1.25e-05", r"acc=([\d.]+)", 1.25e-05),
        ("{'acc': np.float64(0.5), 'loss': 1}", r"'acc': ([^,}]+)", 0.5),
        ("acc tensor(0.5000)", r"acc (\S+)", 0.5),
        ("acc tensor(0.5, device='cuda:0')", r"acc (.+)", 0.5),
        ("acc \u22122.5", r"acc (\S+)", -2.5),
        ("acc=5E-4, ", r"acc=(\d+)", 5e-4),
        ("acc=1,034.5", r"acc=([\d.]+)", 1034.5),
        ("acc=1,034,567", r"acc=([\d.,]+)", 1034567.0),
        ("1,034,0.5", r"^(\d+),", 1.0),
        ("acc 85 epochs", r"acc (\d+)", 85.0),
        ("acc 5e3f7", r"acc (\d)", 5.0),
    ],
)
def test_number_is_read_as_a_person_reads_it(line: str, pattern: str, value: float) -> None:
    assert PrintedMetrics({"acc": pattern}).read(plain_text(line)) == {"acc": value}


@pytest.mark.parametrize("pattern", [r"acc=([\d.]+)", r"acc=(\d+\.\d+)", r"acc=(\d+)", r"acc=(\S+)"])
def test_nan_in_place_of_the_number_is_read_as_one(pattern: str) -> None:
    metrics = PrintedMetrics({"acc": pattern})
    assert str(metrics.read("epoch 3: acc=nan best_acc=0.5")) == "{'acc': nan}"
    assert metrics.read("loss=nan acc=-Inf") == {"acc": float("-inf")}
    assert not metrics.read("info: the nan rate is 0.5")


@pytest.mark.parametrize("line", ["loss=inf acc=0.5", "nan acc=0.5", "acc=0.5 nan"])
def test_nan_elsewhere_in_a_line_leaves_the_number(line: str) -> None:
    assert PrintedMetrics({"acc": r"acc=([\d.]+)"}).read(line) == {"acc": 0.5}


def test_a_command_that_diverges_is_not_finite_and_not_complete(run: Run) -> None:
    with pytest.raises(NotFinite, match="val/accuracy must be a finite number"):
        run("sh -c 'echo acc=0.3; echo acc=nan; echo acc=nan'")


def test_coloured_output_is_matched_and_shown_without_its_colours(run: Run) -> None:
    _, hooks = run(r"printf '\033[1macc=\033[32m0.5\033[0m\n'")
    assert hooks.reports[0][1] == {"val/accuracy": 0.5}
    with pytest.raises(TrialError, match="its last lines are red words;"):
        run(r"printf '\033[31mred words\033[0m\n'")


def test_parameters_stand_in_words_and_in_the_environment(run: Run, tmp_path: Path) -> None:
    script = 'printenv > "$0"; echo acc=0.1; echo "$@" >> "$0"'
    run(f"sh -c '{script}' ${{directory}}/seen ${{args}} --seed=${{seed}} ${{epochs}}")
    seen = (tmp_path / "own/seen").read_text()
    assert seen.endswith("--lr 0.1 --seed=7 4\n")
    assert f"VELODROME_PARAMS={json.dumps({'lr': 0.1})}\n" in seen
    assert f"VELODROME_DIRECTORY={tmp_path}/own\n" in seen
    assert "VELODROME_SEED=7\n" in seen


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("dashes", ["--a", "1", "--b", "--w", "3", "4", "--t", "x y; $(id)"]),
        ("switches", ["--a", "1", "--b", "--no-c", "--w", "3", "4", "--t", "x y; $(id)"]),
        ("equals", ["--a=1", "--b=True", "--c=False", "--w=[3, 4]", "--t=x y; $(id)", "--n=None"]),
        ("hydra", ["a=1", "b=true", "c=false", "w=[3,4]", "t='x y; $(id)'", "n=null"]),
    ],
)
def test_arguments_have_the_form_that_is_asked_for(form: str, words: list[str]) -> None:
    params = {"a": 1, "b": True, "c": False, "w": [3, 4], "t": "x y; $(id)", "n": None}
    assert argument_words(form, params) == words


@pytest.mark.parametrize("form", ["dashes", "switches", "equals"])
def test_negative_values_are_no_options_to_argparse(form: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float)
    parser.add_argument("--shift", type=float, nargs="+")
    parser.add_argument("--name")
    params: dict[str, Any] = {"rate": -1e-05, "name": "-x"}
    if form != "equals":
        params["shift"] = [-2.5e-7, 3.0]
    assert vars(parser.parse_args(argument_words(form, params))) == {"shift": None, **params}


def test_values_after_an_equals_sign_are_pythons_own_to_literal_eval() -> None:
    """As nanoGPT's configurator and Fire read them."""
    params = {"bias": False, "block": None, "sizes": [1, True], "rate": 1e-05, "names": ["a", "b c"]}
    words = (word.removeprefix("--").split("=") for word in argument_words("equals", params))
    assert {name: ast.literal_eval(value) for name, value in words} == params


def test_python_is_the_interpreter_that_runs_velodrome() -> None:
    options = read_command({"command": "python train.py", "metrics": PRINTED})
    assert command_words(options, {}, {}) == [sys.executable, "train.py"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.jsonl", '{"accuracy": 0.2, "note": "x"}\\n\\n{"loss": 1}\\n{"accuracy": 0.4}\\n'),
        ("m.csv", "epoch,accuracy,loss\\n1,0.2,\\n1,,1\\n2,0.4,1\\n"),
    ],
)
def test_a_file_that_grows_is_read_line_by_line(run: Run, name: str, text: str) -> None:
    command = f"""sh -c 'printf "%b" "$1" > "$0"' ${{directory}}/{name}"""
    _, hooks = run(f"{command} '{text}'", metrics={"file": name})
    assert [metrics["val/accuracy"] for _, metrics in hooks.reports] == [0.2, 0.4]
    assert hooks.reports[1][1]["val/loss"] == 1.0


def test_file_without_the_objective_is_a_failure_that_says_what_it_has(run: Run) -> None:
    command = "sh -c 'echo accuracies > $0; echo 0.5 >> $0' ${directory}/metrics.csv"
    with pytest.raises(TrialError, match=r"metrics\.csv without accuracy; did you mean 'accuracies'"):
        run(command, metrics={"file": "metrics.csv"})


def test_a_status_that_is_not_zero_is_a_failure_with_the_last_lines(run: Run) -> None:
    with pytest.raises(TrialError, match=r"status 3: its last lines are acc=0.1 \| out of luck"):
        run("sh -c 'echo acc=0.1; echo out of luck >&2; exit 3'")


def test_a_traceback_ends_with_its_error_in_what_is_said(run: Run, tmp_path: Path) -> None:
    """A reason has room for 300 characters."""
    deep = "def f(n):\n    return f(n - 1) if n else open('/no/' + 'long' * 20)\nf(3)\n"
    (tmp_path / "train.py").write_text(deep)
    with pytest.raises(TrialError) as raised:
        run("python train.py")
    assert "No such file or directory" in f"error: {raised.value}"[:300]
    assert "^" not in str(raised.value)


@pytest.mark.parametrize(
    ("end", "said", "reason"),
    [
        ("kill -9 $$", r"signal 9 \(Killed\)", "worker-died"),
        ("kill -11 $$", r"signal 11", "worker-died"),
        ("exit 137", r"signal 9 \(Killed\)", "worker-died"),
        ("exit 3", "status 3", "error"),
    ],
)
def test_a_command_that_a_signal_ended_may_be_tried_again(run: Run, end: str, said: str, reason: str) -> None:
    with pytest.raises(TrialError, match=said) as raised:
        run(f"sh -c 'echo acc=0.1; {end}'")
    assert raised.value.reason == reason


def test_metrics_that_never_match_are_a_failure_with_the_last_lines(run: Run) -> None:
    with pytest.raises(TrialError, match=r"no match: its last lines are accuracy 0\.5"):
        run("sh -c 'echo accuracy 0.5'")


def test_a_match_that_is_no_number_is_a_failure_that_shows_the_line(run: Run) -> None:
    with pytest.raises(TrialError, match=r"must be a number; but got 'high' in 'acc=high'"):
        run("sh -c 'echo acc=high'", metrics={"accuracy": "acc=(.*)"})


@pytest.mark.parametrize(
    ("program", "do"),
    [
        ("no-such-program", "correct the name"),
        ("wrap.sh", r"write \./wrap\.sh"),
        ("./wrap.sh", r"call chmod \+x \./wrap\.sh, or write bash \./wrap\.sh"),
    ],
)
def test_a_program_that_is_not_there_is_named(run: Run, tmp_path: Path, program: str, do: str) -> None:
    (tmp_path / "wrap.sh").write_text("echo acc=0.1\n")
    with pytest.raises(InputError, match=f"a program that is there; but got {program}; {do}"):
        run(f"{program} --lr ${{lr}}")


@pytest.mark.parametrize(
    "child",
    ["sleep 60", "setsid sleep 60", 'setsid -w sh -c "trap : TERM; while :; do sleep 0.1; done"'],
    ids=["of its group", "of a session of its own", "that catches SIGTERM"],
)
def test_a_pruned_command_is_ended_with_its_children(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: str
) -> None:
    monkeypatch.setattr("trainers.commands.process._GRACE_S", 0.3)
    script = f'{child} & echo $! > "$0"; for i in 1 2 3 4; do echo acc=0.$i; sleep 0.1; done; wait'
    outcome, hooks = run(f"sh -c '{script}' ${{directory}}/child", Recorder(prune_at=2))
    assert (outcome.status, len(hooks.reports)) == ("pruned", 2)
    assert wait_until(lambda: not is_alive(int((tmp_path / "own/child").read_text())))


def test_a_daemon_that_a_command_leaves_is_ended_with_it(run: Run, tmp_path: Path) -> None:
    outcome, _ = run("""sh -c 'setsid sleep 60 & echo $! > "$0"; echo acc=0.1' ${directory}/child""")
    assert outcome.status == "complete"
    assert not is_alive(int((tmp_path / "own/child").read_text()))


def test_files_of_a_command_are_looked_for_once_where_it_ended_by_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look reads the environment of every process of the machine."""
    looks: list[list[int]] = []
    look = GuardedProcess._elsewhere
    monkeypatch.setattr(
        GuardedProcess, "_elsewhere", lambda process: looks.append(look(process)) or looks[-1]
    )
    run("sh -c 'echo acc=0.5'")
    assert looks == [[]]


def test_a_command_that_ignores_sigterm_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.commands.process._GRACE_S", 0.2)
    outcome, _ = run(
        """sh -c 'trap "" TERM; echo acc=0.1; while :; do sleep 0.1; done'""", Recorder(stop_after=1)
    )
    assert outcome.status == "stopped"


def test_a_command_is_ended_where_it_reports_beyond_the_budget(run: Run) -> None:
    outcome, hooks = run("sh -c 'i=0; while :; do i=$((i+1)); echo acc=0.$i; sleep 0.02; done'")
    assert (outcome.status, len(hooks.reports)) == ("complete", 4)


def test_the_last_report_is_not_pruned_where_the_command_ends_after_it(run: Run) -> None:
    outcome, _ = run("sh -c 'echo acc=0.1; sleep 0.3'", Recorder(prune_at=1))
    assert outcome.status == "complete"


def test_a_killed_command_resumes_from_its_own_file_and_numbers_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text(LOOP)
    hooks = Recorder()
    resume = "--resume ${directory}/last.txt"
    monkeypatch.setenv("DIE_AT", "1")
    with pytest.raises(TrialError, match="signal 9"):
        run("python train.py", hooks, resume=resume)
    monkeypatch.setenv("DIE_AT", "")
    outcome, hooks = run(
        "python train.py", hooks, resume=resume, job={"attempt": 2, "earlier": dict(hooks.reports)}
    )
    assert [epoch for epoch, _ in hooks.reports] == [1, 2, 3, 4]
    assert (outcome.values, outcome.epochs) == ((0.4,), 4)


@pytest.mark.parametrize("resume", ["--resume ${directory}/last.txt", ""])
def test_reports_of_a_command_are_told_at_once(run: Run, resume: str) -> None:
    """It may skip an epoch that nobody else knows of yet."""

    class Holding(Recorder):
        told = 0

        def send_heartbeat(self) -> None:
            self.told += 1

    hooks = Holding()
    run("sh -c 'echo acc=0.5'", hooks, resume=resume)
    assert hooks.told == 1


def test_flag_alone_resumes_where_the_file_that_it_goes_on_from_is_there(run: Run, tmp_path: Path) -> None:
    """As nanoGPT's `--init_from=resume` and detectron2's `--resume` have it."""
    script = 'echo "$@" > seen; echo acc=0.1'
    for there, words in ((False, ""), (True, "--resume")):
        if there:
            (tmp_path / "own/last.pt").touch()
        run(f"sh -c '{script}' -", resume="--resume", resume_from="last.pt")
        assert (tmp_path / "seen").read_text().strip() == words


def test_a_killed_command_without_resume_repeats_what_it_had_reported(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text(LOOP)
    earlier = {1: {"val/accuracy": 0.1}, 2: {"val/accuracy": 0.2}}
    outcome, hooks = run("python train.py", job={"attempt": 2, "earlier": earlier})
    assert [metrics["val/accuracy"] for _, metrics in hooks.reports] == [0.3, 0.4]
    assert outcome.epochs == 4


def test_a_group_is_ended_when_the_process_that_follows_it_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves a process no last word: the end of a pipe is what tells its guard."""
    script = "sleep 60 & echo $! > child; setsid sleep 60 & echo $! > daemon; echo $$ > leader; echo acc=0.1"
    command = f"sh -c 'trap \"\" HUP; {script}; wait'"
    code = (
        "from trainers.try_out import try_out\n"
        f"try_out({{'command': {command!r}, 'metrics': {PRINTED!r}}}, epochs=9, objective='accuracy')"
    )
    root = str(Path(__file__).parents[3])
    lane = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}
    )
    assert wait_until(lambda: (tmp_path / "leader").exists() and bool((tmp_path / "leader").read_text()), 60)
    pids = [int((tmp_path / name).read_text()) for name in ("leader", "child", "daemon")]
    assert all(map(is_alive, pids))
    lane.send_signal(signal.SIGKILL)
    lane.wait()
    assert wait_until(lambda: not any(map(is_alive, pids)))


def test_file_that_a_command_keeps_is_its_model_where_predict_is_named(tmp_path: Path) -> None:
    command = "sh -c 'echo 3 > $1/factor.txt; echo acc=0.5' - ${directory}"
    options = {"command": command, "metrics": PRINTED, "keep": "factor.txt", "predict": f"{__name__}:answer"}
    outcome = try_out(options, {}, objective="accuracy", directory=tmp_path)
    assert outcome.kept_model is not None
    assert (outcome.kept_model.path, outcome.kept_model.predict) == ("factor.txt", f"{__name__}:answer")


def answer(path: Path, rows: Any) -> Any:
    """What such a model says."""
    return rows["x"] * float(path.read_text())


def command_that_saves(saved: object, folder: Path) -> str:
    """A command that keeps it, made here: a process that imports torch for it takes more than a second."""
    torch.save(saved, folder / "made.pt")
    return f"sh -c 'cp {folder}/made.pt $1/net.pt; echo acc=0.5' - ${{directory}}"


WEIGHTS = torch.nn.Linear(2, 1).state_dict()
WRAPPED = {"step": 3, "model": {f"_orig_mod.{name}": part for name, part in WEIGHTS.items()}}


@pytest.mark.parametrize("saved", [WEIGHTS, WRAPPED], ids=["weights", "wrapped"])
def test_checkpoint_of_a_command_is_a_module_where_build_is_named(tmp_path: Path, saved: object) -> None:
    options = {
        "command": command_that_saves(saved, tmp_path), "metrics": PRINTED, "keep": "net.pt",
        "build": f"{__name__}:build_linear", "predict": f"{__name__}:ask_linear",
    }  # fmt: skip
    outcome = try_out(options, {}, objective="accuracy", directory=tmp_path / "own")
    assert (outcome.code["build"], outcome.keep) == (options["build"], "net.pt")
    found = torch.load(tmp_path / "own/net.pt", weights_only=True)
    assert [part.tolist() for part in outcome.weights.values()] == [
        part.tolist() for part in found.get("model", found).values()
    ]


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (torch.nn.Linear(2, 1), r"plain values; but got .*; save model\.state_dict\(\), not the module"),
        ({"weights": WEIGHTS}, "must hold weights; but got .*; save .* dict that has it as state_dict"),
        (torch.nn.Linear(3, 1).state_dict(), "build_linear must make the module of net.pt; but got .*size"),
    ],
    ids=["module", "other-name", "other-size"],
)
def test_checkpoint_that_no_module_comes_of_is_refused(tmp_path: Path, saved: object, said: str) -> None:
    command = command_that_saves(saved, tmp_path)
    options = {"command": command, "metrics": PRINTED, "keep": "net.pt", "build": f"{__name__}:build_linear"}
    with pytest.raises(TrialError, match=said):
        try_out(options, {}, objective="accuracy", directory=tmp_path / "own")


def build_linear() -> torch.nn.Module:
    """The module that such a command trains."""
    return torch.nn.Linear(2, 1)


def ask_linear(module: torch.nn.Module, rows: Any) -> Any:
    """What it says."""
    return module(torch.tensor(rows.to_numpy("float32")))


def test_a_dry_run_ends_after_two_reports(tmp_path: Path) -> None:
    command = "sh -c 'for i in 1 2 3 4; do echo acc=0.$i; sleep 0.2; done; sleep 60'"
    function = bind_command({"command": command, "metrics": PRINTED}, tmp_path, [GOAL], after_last_s=0.0)
    job = FunctionJob(
        function=function, params={}, seed=0, length=Length(epochs=100), goals=(GOAL,), directory=tmp_path
    )
    began = time.monotonic()
    assert dry_run_function(job).reported["val/accuracy"] == 0.2
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(("workers", "seen"), [(1, " of "), (2, "0 of 1")])
def test_a_dry_run_of_one_of_several_workers_is_told_its_rank(
    tmp_path: Path, workers: int, seen: str
) -> None:
    """torch.distributed.init_process_group asks for it; a script for one process must not find it."""
    script = 'echo "rank: $RANK of $WORLD_SIZE" > seen; echo acc=0.1'
    request = FunctionRequest(
        reference=COMMAND, options={"command": f"sh -c '{script}'", "metrics": PRINTED}, root=str(tmp_path),
        params={}, seed=1, goals=(GOAL,), device="cpu", workers=workers, threads=1, data=None, recorded="",
        base=str(tmp_path), cache=str(tmp_path), per_second={},
    )  # fmt: skip
    run_here(request)
    assert (tmp_path / "seen").read_text() == f"rank: {seen}\n"


def test_try_out_takes_a_command(capfd: pytest.CaptureFixture[str]) -> None:
    options = {"command": "sh -c 'echo acc=0.$1' - ${width}", "metrics": PRINTED}
    outcome = try_out(options, {"width": 5}, objective="accuracy")
    assert outcome.values == (0.5,)


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        ({"command": "python train.py"}, "command", "be given every parameter"),
        (
            {"command": "python train.py ${args} | tee log"},
            "command",
            r"no shell reads them; but got \|; write sh",
        ),
        ({"command": "python train.py ${args} 2>&1"}, "command", "but got 2>&1; write sh -c 'python"),
        ({"command": "python train.py ${args} >log"}, "command", "but got >log"),
        ({"command": "cd src && python train.py ${args}"}, "command", "but got cd; write sh -c 'cd src"),
        ({"command": "./a.sh; python train.py ${args}"}, "command", "but got ./a.sh;"),
        ({"command": "LR=1 python train.py ${args}"}, "command", "write env LR=1"),
        ({"command": "python train.py ${args} --data $HOME/d"}, "command", r"but got \$HOME/d"),
        ({"command": "python train.py ${args} $(date)"}, "command", r"but got \$\(date\)"),
        ({"command": "python ~/train.py ${args}"}, "command", "but got ~/train.py"),
        ({"command": "python train.py ${rate}"}, "command", r"\$\{rate\}; did you mean"),
        (
            {"command": "sh -c 'a ${HOME:-/}'"},
            "command",
            r"\$\{HOME:-/\}; .*; a shell's own is \$HOME",
        ),
        ({"command": "python 'train.py"}, "command", "as in a shell"),
        ({"command": "python ${rates} ${momentum}"}, "command", "with `when` must not stand alone"),
        ({"metrics": {"accuracy": "acc=[0-9]+"}}, "metrics", "must have a group"),
        ({"metrics": {"accuracy": "acc=(["}}, "metrics", "must be a regular expression"),
        ({"metrics": {}}, "metrics", "must name"),
        ({"metrics": {"file": "/etc/m.jsonl"}}, "metrics", "below the trial's directory"),
        ({"resume": "--resume last.ckpt"}, "resume", "must name a file below"),
        ({"keep": "../.."}, "keep", "must lie below"),
        ({"predict": "mod:predict"}, "predict", "what is the model"),
        ({"build": "mod:build"}, "build", "what is the model"),
        ({"resume": "--resume"}, "resume", "must name a file below"),
        ({"resume": "--resume ${directory}/a.pt > log"}, "resume", "no shell reads them"),
        ({"resume_from": "last.pt"}, "resume_from", "that resume goes on from"),
        ({"resume": "--resume", "resume_from": "../last.pt"}, "resume_from", "that resume goes on from"),
        ({"keep": "m", "predict": "m:p", "load": "m:l", "build": "m:b"}, "load", "not come with build"),
        ({"keep": "model/", "load": "mod:load"}, "load", "who asks what it gives"),
        ({"keep": "model/", "predict": "no_such:predict"}, "predict", "must be importable"),
    ],
)
def test_command_that_cannot_be_called_is_refused_by_its_key(
    change: dict[str, Any], key: str, said: str
) -> None:
    options = read_command({"command": "python train.py ${args}", "metrics": PRINTED, **change})
    with pytest.raises(TrainerError, match=said) as caught:
        check_command(options, ["rates", "momentum"], ["momentum"])
    assert caught.value.key[0] == key


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'cd src && python train.py $0 > log' ${args}", "env LR=1 python train.py ${args}",
        "python train.py ${args} '|' 'a;b' '$HOME' --where a=b;c --url http://x/?a=1&b=2 'x>y' \"<pad>\"",
    ],
)  # fmt: skip
def test_braces_for_the_program_itself_are_quoted(command: str) -> None:
    check_command(read_command({"command": command, "metrics": PRINTED}), ["rates"], [])


def test_programs_beside_the_interpreter_are_found_first_without_its_environment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchrun, and as the python that a shell calls, where velodrome was called by its path."""
    name = Path(sys.executable).name
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path}/other:/usr/bin:/bin")
    _, hooks = run(f"sh -c 'test $(command -v {name}) = {sys.executable} && echo acc=0.5'")
    assert hooks.reports == [(1, {"val/accuracy": 0.5})]


def test_a_command_that_reads_the_environment_need_name_no_parameter() -> None:
    options = {"command": "python train.py", "metrics": PRINTED, "args": "environment"}
    check_command(read_command(options), ["rates"], [])


def test_the_digest_of_a_command_tells_of_its_script_and_not_of_a_comment(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("x = 1\n")
    options = {"command": "python train.py ${args}", "metrics": PRINTED}
    before = command_digest(options, tmp_path)
    script.write_text("x = 1  # why\n")
    assert command_digest(options, tmp_path) == before
    script.write_text("x = 2\n")
    assert command_digest(options, tmp_path) != before


@pytest.mark.parametrize("changed", ["train.py", "near.py", "settings.yaml"])
@pytest.mark.parametrize("there", ["../elsewhere", "{elsewhere}"])
def test_the_digest_of_a_command_tells_of_scripts_that_lie_elsewhere(
    tmp_path: Path, there: str, changed: str
) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    elsewhere.mkdir()
    root.mkdir()
    for name, text in {"train.py": "import near\n", "near.py": "x = 1\n", "settings.yaml": "a: 1\n"}.items():
        (elsewhere / name).write_text(text)
    place = there.format(elsewhere=elsewhere)
    command = f"{sys.executable} {place}/train.py --config {place}/settings.yaml ${{args}}"
    options = {"command": command, "metrics": PRINTED}
    before = command_digest(options, root)
    (elsewhere / changed).write_text("import near as n\n")
    assert command_digest(options, root) != before
    assert command_files(options, root) == {}


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        ("python train.py ${args}", "nets/deep.py"),
        ("python train.py ${args}", "nets/__init__.py"),
        ("python jobs/run.py ${args}", "jobs/near.py"),
        ("python -m nets.main ${args}", "nets/main.py"),
        ("python -m nets.main ${args}", "nets/deep.py"),
        ("python -m nets ${args}", "nets/__main__.py"),
    ],
)
def test_the_digest_of_a_command_tells_of_the_modules_that_its_script_imports(
    tmp_path: Path, command: str, changed: str
) -> None:
    texts = {
        "train.py": "def main():\n    from nets import deep\n",
        "nets/__init__.py": "",
        "nets/deep.py": "WIDTH = 1\n",
        "nets/main.py": "from . import deep\n",
        "nets/__main__.py": "import nets.main\n",
        "jobs/run.py": "import near, numpy\n",
        "jobs/near.py": "x = 1\n",
        "other.py": "x = 1\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    options = {"command": command, "metrics": PRINTED}
    before = command_digest(options, tmp_path)
    (tmp_path / "other.py").write_text("x = 2\n")
    assert command_digest(options, tmp_path) == before
    (tmp_path / changed).write_text("WIDTH = 2\n")
    assert command_digest(options, tmp_path) != before
    assert changed in command_files(options, tmp_path)
