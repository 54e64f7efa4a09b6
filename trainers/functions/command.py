"""A command as a training function: called with the configuration, followed, and ended with its trial."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.commands.arguments import command_words, resume_words
from trainers.commands.config_file import write_config
from trainers.commands.metrics import LineSplitter, PrintedMetrics, plain_text
from trainers.commands.mlflow_metrics import LoggedMetrics, logging_environment
from trainers.commands.options import MLFLOW, CommandOptions, parameters_json, read_command
from trainers.commands.process import GuardedProcess
from trainers.commands.written_metrics import WrittenMetrics
from trainers.errors import CommandKilled, TrialError
from trainers.kept.torch_weights import load_module
from trainers.metric_names import full_name

if TYPE_CHECKING:
    from trainers.functions.trial import Trial
    from trainers.types import Goal, Json, Params

_TICK_S = 0.1
_ASK_S = 0.5
_JUDGE_AFTER_S = 2.0  # a command that ends so soon after a report made its last one
AFTER_LAST_S = 60.0  # for saving and ending, once the budget's reports are there
_RANK_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_KILLED_IN_A_SHELL = 128 + signal.SIGKILL  # how a shell that called it says so
_SHOWN = 200  # characters of an error's last lines, of which a reason has room for 300
_GO, _ASK, _ENDED = range(3)  # what rank 0 wants of all ranks at a tick


def run_command(
    trial: Trial,
    *,
    options: Params,
    root: str,
    goals: tuple[str, ...] = (),
    after_last_s: float = AFTER_LAST_S,
    ranked: bool = False,
) -> None:
    """Calls the command of a family for one trial and reports what it says.

    A line, or some lines, that hold every goal are one report. A command that begins again, after another
    attempt, repeats the reports that the trial has; with its `resume` words it numbers on from them.

    Args:
        options: of the family, as `read_command` takes them.
        root: the folder to call it in.
        goals: the metrics that the trial is judged by; without any, each line with a metric is a report.
        after_last_s: how long it may go on after its last report.
        ranked: it is told of its rank where it is the only one, too: it expects several.

    Raises:
        TrialError: it ended with another status than 0, or never said what it is judged by.
    """
    ranked = ranked or trial.world_size > 1
    _Following(trial, read_command(options), Path(root), goals, after_last_s, ranked).follow()


def bind_command(
    options: Params,
    root: Path,
    goals: Iterable[Goal],
    after_last_s: float = AFTER_LAST_S,
    ranked: bool = False,
) -> Callable[[Trial], None]:
    """The training function that a command is: `run_command` with all but the trial."""
    names = tuple(goal.metric for goal in goals)
    return partial(
        run_command, options=options, root=str(root), goals=names, after_last_s=after_last_s, ranked=ranked
    )


class _Following:
    """One call of the command."""

    def __init__(
        self,
        trial: Trial,
        options: CommandOptions,
        root: Path,
        goals: tuple[str, ...],
        after_last_s: float,
        ranked: bool,
    ) -> None:
        self._trial, self._options, self._root = trial, options, root
        self._goals = {full_name(goal) for goal in goals}
        self._after_last_s, self._ranked = after_last_s, ranked
        values: dict[str, Json] = {
            "directory": str(trial.directory), "seed": trial.seed, "trial": trial.number,
            "attempt": trial.attempt, "epochs": trial.reports + trial.reports_left,
        }  # fmt: skip
        if options.config is not None:
            made = trial.directory / Path(options.config).name
            write_config(root / options.config, made, trial.params)
            values["config"] = str(made)
        again = resume_words(options, trial.params, values)
        self._words = [*command_words(options, trial.params, values), *again]
        if not again:
            trial.begin_after(0)
        self._file = self._printed = None
        self._logged: LoggedMetrics | None = None  # made when the command is called
        if options.file is not None:
            self._file = WrittenMetrics(trial.directory / options.file, resumed=bool(again))
        elif options.metrics != MLFLOW:
            self._printed = PrintedMetrics(options.patterns)
        self._lines, self._last_lines = LineSplitter(), deque[str](maxlen=5)
        self._pending: dict[str, float] = {}
        self._drawn: dict[str, float] = {}  # what a progress bar shows just now
        self._reported_at = self._asked_at = 0.0
        self._matched = self._beyond = False

    def follow(self) -> None:
        """Runs the command to its end; what it prints or logs is reported as it comes."""
        port = self._trial.agree(_free_port()) if self._ranked else 0
        environment = self._environment(port)
        if self._options.metrics == MLFLOW and self._trial.rank == 0:
            environment |= logging_environment(self._trial.directory)
            self._logged = LoggedMetrics(
                environment, self._goals, self._trial.earlier_reports, attempt=self._trial.attempt
            )
        with GuardedProcess(self._words, folder=self._root, environment=environment) as process:
            status = self._watch(process)
        if status is not None and status != 0:
            raise self._status_error(status)
        if not self._matched and self._trial.rank == 0 and status is not None:
            raise self._no_report_error()
        self._keep()

    def _status_error(self, status: int) -> TrialError:
        """What a status is; a process that a signal ended may do better next time."""
        must, do = "the command must end with status 0", "its output is in the trial's log"
        number = -status if status < 0 else status - 128 if status == _KILLED_IN_A_SHELL else 0
        how = f"signal {number} ({signal.strsignal(number)})" if number else f"status {status}"
        kind = CommandKilled if number else TrialError
        return kind(must, f"{how}: {self._quote_output()}", do)

    def _no_report_error(self) -> TrialError:
        if self._options.metrics == MLFLOW:
            wanted = ", ".join(sorted(name.removeprefix("val/") for name in self._goals)) or "a metric"
            do = (
                f"call mlflow.log_metric({wanted.split(',')[0]!r}, …, step=epoch) in the run that it is given"
            )
            must = f"the command must log {wanted} by MLflow"
            return TrialError(must, f"no step that has it: {self._quote_output()}", do, key=("metrics",))
        do = "correct metrics: run the command by hand and compare"
        found = f"no match: {self._quote_output()}"
        if self._file is not None:
            found, do = self._file.explain_missing(sorted(self._goals))
        return TrialError("metrics must match what the command says", found, do, key=("metrics",))

    def _keep(self) -> None:
        """Names what is kept where it is there; the model's functions are imported for that."""
        options, trial = self._options, self._trial
        path = trial.directory / options.keep
        if not options.keep or not path.exists():
            return
        if options.build is None:
            trial.keep(options.keep, predict=options.predict, load=options.load)
            return
        trial.keep(options.keep)
        module = load_module(options.build, trial.params, path)
        trial.model(module, build=options.build, predict=options.predict)

    def _watch(self, process: GuardedProcess) -> int | None:
        """Its status; None where the trial ended it."""
        finished = False
        while True:
            tick = time.monotonic() + _TICK_S
            while not finished and time.monotonic() < tick:
                finished = self._read(process)
            if process.status and finished:
                return process.status
            wish = self._trial.agree(self._wish(finished))
            if wish == _ENDED:
                return process.status  # None: rank 0's has ended, and this one's is ended now
            if wish == _ASK and self._trial.over():
                return None

    def _read(self, process: GuardedProcess) -> bool:
        """Takes what it said next. True: it has ended and said all."""
        output = process.read_output(_TICK_S)
        ended = output is None
        if output:
            self._trial.alive()
            sys.stdout.write(output.decode(errors="replace"))
            sys.stdout.flush()
        for line in self._lines.flush() if output is None else self._lines.feed(output):
            self._take_line(line)
        if self._file is not None:
            self._take(self._file.read_new(ended=ended))
        if self._logged is not None:
            for values in self._logged.read_new(ended=ended):  # each step is a report by itself
                self._pending = values
                self._report()
        return ended

    def _take_line(self, line: str) -> None:
        is_drawn_over, line = line.endswith("\r"), plain_text(line.removesuffix("\r"))
        if line.strip(" ^~\t\r\n"):  # a traceback's marks say nothing alone
            self._last_lines.append(line.strip()[:200])
        if self._printed is not None:
            values = self._printed.read(line)
            is_news = not values or values != self._drawn  # else a bar is drawn again as it was
            self._drawn = (values or self._drawn) if is_drawn_over else {}
            self._take([values] if is_news else [])

    def _take(self, found: Iterable[dict[str, float]]) -> None:
        for values in found:
            self._pending |= values
            if values and self._goals <= {full_name(name) for name in self._pending}:
                self._report()

    def _report(self) -> None:
        metrics, self._pending, self._matched = self._pending, {}, True
        if self._trial.skip_repeated():
            return
        if self._trial.reports_left == 0:
            self._beyond = True
        else:
            self._trial.report(metrics)
            if self._logged is not None:
                self._logged.note_report(self._trial.reports, self._trial.last_report)
            self._reported_at = time.monotonic()

    def _wish(self, finished: bool) -> int:
        """What rank 0 wants. The last report is judged only where the command goes on after it."""
        if self._trial.rank != 0:
            return _GO
        if finished:
            return _ENDED
        if self._trial.is_told_to_end() or self._beyond:
            return _ASK
        now = time.monotonic()
        quiet_s = now - self._reported_at
        wait_s = self._after_last_s if self._trial.reports_left == 0 else _JUDGE_AFTER_S
        if (self._reported_at and quiet_s < wait_s) or now - self._asked_at < _ASK_S:
            return _GO
        self._asked_at = now
        return _ASK

    def _quote_output(self) -> str:
        shown: list[str] = []
        for line in reversed(self._last_lines):  # of a traceback the last one says what it was
            if shown and sum(map(len, shown)) + len(line) > _SHOWN:
                break
            shown.insert(0, line)
        return f"its last lines are {' | '.join(shown)}" if shown else "it said nothing"

    def _environment(self, port: int) -> dict[str, str]:
        trial = self._trial
        environment = {name: value for name, value in os.environ.items() if name not in _RANK_NAMES}
        environment |= {
            "PATH": _search_path(environment.get("PATH", os.defpath)),
            "PYTHONUNBUFFERED": "1",
            "VELODROME_PARAMS": parameters_json(trial.params),
            "VELODROME_DIRECTORY": str(trial.directory),
            "VELODROME_SEED": str(trial.seed),
            "VELODROME_TRIAL": str(trial.number),
        }
        if self._ranked:  # as torchrun has them; the lane's own group keeps its port
            given = {name: os.environ[name] for name in _RANK_NAMES if name in os.environ}
            ranks = {"RANK": str(trial.rank), "WORLD_SIZE": str(trial.world_size), "MASTER_PORT": str(port)}
            here = {"LOCAL_RANK": ranks["RANK"], "LOCAL_WORLD_SIZE": ranks["WORLD_SIZE"]}
            environment |= {**here, "MASTER_ADDR": "127.0.0.1", **given, **ranks}
        return environment


def _search_path(path: str) -> str:
    """With the folder of our interpreter in front where its environment is not active: there lie torchrun and
    its like, and the `python` that a shell calls is then ours."""
    own = os.path.dirname(sys.executable)
    return path if own in path.split(os.pathsep) else os.pathsep.join([own, path])


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])
