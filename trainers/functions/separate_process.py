"""A dry run of people's own function in a process of its own, which it may end as it likes.

python -m trainers.functions.separate_process REQUEST ANSWER
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from trainers.errors import (
    CommandKilled,
    InputError,
    NotFinite,
    OutOfMemory,
    TrainerError,
    TrialError,
    describe_error,
)
from trainers.functions.job import FunctionJob
from trainers.metric_names import names_of_groups
from trainers.registry import COMMAND, is_function, load_reference
from trainers.types import Document, Goal, JsonObject, Length, Params

_ERRORS: Mapping[str, type[TrainerError]] = {
    kind.__name__: kind for kind in (InputError, TrialError, NotFinite, CommandKilled, OutOfMemory)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRequest:
    """What is to be run. `data`: the sweep's, None for own code that reads its own; `recorded`: its
    fingerprint. `options` and `root` are a command's, and the folder to call it in; `workers` are a trial's,
    of which this is one."""

    reference: str
    options: Params
    root: str
    params: Params
    seed: int
    goals: Sequence[Goal]
    device: str
    workers: int
    threads: int
    per_second: Mapping[str, float]
    data: Mapping[str, object] | None
    recorded: str
    base: str
    cache: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionAnswer:
    """What it told: seconds of its two epochs, whether a metric of a group was reported, and of its model,
    where it has one, what the file holds, and whether it is a module without a `predict`."""

    seconds: float
    by_group: bool
    answers_raw: bool
    parameters: int | None
    size_bytes: int | None


def run_apart(request: FunctionRequest) -> FunctionAnswer:
    """Runs it; what it prints is shown on stderr.

    Raises:
        InputError, TrialError: as `dry_run_function`, and where the process ended under it.
    """
    with TemporaryDirectory(prefix="velodrome-plan-") as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "answer.json"
        asked.write_text(json.dumps(asdict(request)))
        command = [sys.executable, "-m", "trainers.functions.separate_process", str(asked), str(answered)]
        paths = dict.fromkeys([*filter(None, sys.path), str(Path(__file__).parents[2])])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                sys.stderr.write(line)
        answer = json.loads(answered.read_text()) if answered.exists() else _ended_answer(process.returncode)
    if "error" in answer:
        raise _ERRORS[answer["error"]](
            answer["must"], answer["found"], answer["do"], key=tuple(answer["key"])
        )
    return FunctionAnswer(**answer)


def run_here(request: FunctionRequest) -> FunctionAnswer:
    """Runs it in this process: a function that no other one can import.

    Raises:
        InputError, TrialError: as `dry_run_function`.
    """
    return _run_request(asdict(request))


def _ended_answer(status: int) -> Document:
    how = f"os._exit({status})" if status >= 0 else f"the signal {signal.Signals(-status).name}"
    return _error_answer(TrialError("a training function must return", f"its process was ended by {how}"))


def _error_answer(error: TrainerError) -> JsonObject:
    parts = {"must": error.must, "found": error.found, "do": error.do, "key": list(error.key)}
    return {"error": type(error).__name__, **parts}


def _run_request(request: Document) -> FunctionAnswer:
    from trainers.data.sources.opening import open_dataset
    from trainers.functions.run import dry_run_function

    goals = tuple(Goal(**goal) for goal in request["goals"])
    data = request["data"]
    base, cache = Path(request["base"]), Path(request["cache"])
    with TemporaryDirectory() as folder:
        job = FunctionJob(
            function=_load_function(request, goals), params=request["params"],
            seed=request["seed"], length=Length(epochs=2),
            goals=goals, directory=Path(folder),
            data=None if data is None
            else open_dataset(data, base=base, cache=cache, recorded=request["recorded"]),
            device=request["device"], threads=request["threads"],
            per_second=request["per_second"],
        )  # fmt: skip
        began = time.monotonic()
        found = dry_run_function(job)
    return FunctionAnswer(
        seconds=time.monotonic() - began, by_group=bool(names_of_groups(found.reported)),
        answers_raw=found.answers_raw, parameters=found.parameters, size_bytes=found.size_bytes,
    )  # fmt: skip


def _load_function(request: Document, goals: tuple[Goal, ...]) -> Callable[..., object]:
    if request["reference"] == COMMAND:
        from trainers.functions.command import bind_command

        ranked = request["workers"] > 1
        return bind_command(request["options"], Path(request["root"]), goals, after_last_s=0.0, ranked=ranked)
    function = load_reference(request["reference"])
    assert is_function(function)
    return function


def main(asked: str, answered: str) -> None:
    """Runs what is asked for and writes how it went."""
    try:
        request = json.loads(Path(asked).read_text())
        # As in a lane, where it is no main thread's: code that sets a signal's handler fails there.
        answer: JsonObject = asdict(ThreadPoolExecutor(1).submit(_run_request, request).result())
    except TrainerError as error:
        answer = _error_answer(error)
    except KeyboardInterrupt:  # its own: whoever waits for this process hears of a person's
        answer = _error_answer(TrialError("a training function must return", "it raised KeyboardInterrupt"))
    except Exception as error:  # people's code may raise anything
        answer = _error_answer(TrialError(describe_error(error)))
    sys.stdout.flush()
    Path(answered).write_text(json.dumps(answer))
    os._exit(0)  # threads that the function left do not keep `plan` waiting


if __name__ == "__main__":
    main(*sys.argv[1:])
