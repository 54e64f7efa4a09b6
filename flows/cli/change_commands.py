"""Commands that change a sweep, or clear up: extend, compress, retry, stop, remove, gc."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import (
    AcceptCodeChange,
    Family,
    Json,
    Name,
    example,
    option,
    print_json,
    print_note,
    print_result,
    stdout_console,
)
from infra.errors import WrongInput

if TYPE_CHECKING:
    from flows.sweeps.remove import Removal


@example("velodrome extend digits --trials +10")
def extend(
    name: Name,
    trials: Annotated[str, option("--trials +N", "So many more for each family.")],
    family: Family = None,
    accept_code_change: AcceptCodeChange = False,
    json: Json = False,
) -> None:
    """More trials for a sweep, running or finished."""
    from flows.sweeps.extend import extend as verb

    result = verb(
        name, trials=parse_trial_count(trials), family=family, accept_code_change=accept_code_change
    )
    if json:
        print_json(result)
        return
    planned = ", ".join(f"{family}: {count}" for family, count in result.planned.items())
    how = "its running driver goes on to" if result.asked_driver else "it went on to"
    print_note(f"{result.sweep}: {how} {planned} trials")
    if not result.asked_driver:
        _print_leaderboard(name)


@example("velodrome compress digits --trial 5 --how int8")
def compress(
    name: Name,
    trial: Annotated[int, option("--trial N", "The trial whose model is meant.")],
    how: Annotated[str, option("--how H", "int8, bf16 or prune:SHARE (prune:0.7).")],
    family: Family = None,
    epochs: Annotated[int, option("--epochs E", "Of fine-tuning after pruning.", min=0)] = 0,
    json: Json = False,
) -> None:
    """A smaller version of a kept model, as a trial of its own."""
    from flows.compression.compress import compress as verb
    from flows.terminal.formatting import number, size

    made = verb(name, trial=trial, how=how, family=family, epochs=epochs, say=print_note)
    if made.unsent:
        print_note(f"warning: {made.unsent} things are not yet in tracking; the next command sends them")
    if json:
        print_json(made)
        return
    before, after = made.before, made.after
    print(
        f"{made.sweep}: {made.family} #{made.number} is #{made.made_of} as {made.how}: "
        f"{size(before.size_bytes)} → {size(after.size_bytes)}, "
        f"{made.metric} {number(before.value, 6)} → {number(after.value, 6)}"
    )


@example("velodrome retry digits --memory 8GiB")
def retry(
    name: Name,
    gpus: Annotated[float | None, option("--gpus G", "GPUs a worker gets instead.")] = None,
    cpus: Annotated[float | None, option("--cpus C", "CPUs a worker gets instead.")] = None,
    memory: Annotated[str | None, option("--memory M", "Memory a worker gets instead: 8GiB.")] = None,
    accept_code_change: AcceptCodeChange = False,
    json: Json = False,
) -> None:
    """Failed trials again, with other resources if asked."""
    from flows.sweeps.retry import retry as verb

    size = None if memory is None else parse_size(memory, "--memory")
    result = verb(name, gpus=gpus, cpus=cpus, memory_bytes=size, accept_code_change=accept_code_change)
    if json:
        print_json(result)
    elif not result.trials:
        print_note(f"{result.sweep}: no trial failed, so there is nothing to retry")
    else:
        listed = ", ".join(f"{count} of {family}" for family, count in result.trials.items())
        how = "its running driver takes up" if result.asked_driver else "tried again:"
        print_note(f"{result.sweep}: {how} {listed}")
        if not result.asked_driver:
            _print_leaderboard(name)


def _print_leaderboard(name: str) -> None:
    """How a sweep stands that this command has carried on."""
    from flows.comparison.compare import compare
    from flows.comparison.leaderboard import print_leaderboard
    from infra.ray_job import job_address

    print_leaderboard(stdout_console(), compare(name, latency=False), address=job_address())


@example("velodrome stop digits")
def stop(
    name: Name,
    timeout: Annotated[float, option("--timeout S", "Seconds to wait for its end.", min=1)] = 60.0,
    json: Json = False,
) -> None:
    """A clean stop of a sweep that runs in another terminal."""
    from flows.sweeps.stop import stop as verb

    result = verb(name, limit_s=timeout)
    if json:
        print_json(result)
    elif result.was_running:
        print_note(
            f"{result.sweep}: {result.state} after {result.seconds:g} s; `velodrome sweep` carries it on"
        )
    else:
        print_note(f"{result.sweep}: nobody runs it (it is {result.state}), so there is nothing to stop")


@example("velodrome remove digits --yes")
def remove(
    name: Name,
    yes: Annotated[bool, option("--yes -y", "Ask nothing.")] = False,
    tracking: Annotated[bool, option("--tracking", "Delete its runs in MLflow too.")] = False,
    json: Json = False,
) -> None:
    """A sweep and what only it holds, after a question."""
    from flows.sweeps.remove import remove as verb

    result = verb(name, agree=(lambda removal: True) if yes else _confirm_removal, tracking=tracking)
    if json:
        print_json(result)
    else:
        print_note(f"{result.sweep} is removed")
        for line in _version_lines(result) if yes else ():  # who was asked has read them
            print_note(line)


@example("velodrome gc --older-than 7d --apply")
def gc(
    apply: Annotated[bool, option("--apply", "Remove it; else it is only listed.")] = False,
    older_than: Annotated[
        str, option("--older-than AGE", "Only what was not touched for so long: 12h, 7d.")
    ] = "30d",
    larger_than: Annotated[
        str | None, option("--larger-than SIZE", "Only what takes at least so much: 100MiB.")
    ] = None,
    json: Json = False,
) -> None:
    """What was left behind: failed trials' checkpoints, orphaned and temporary files, caches of data."""
    from flows.upkeep.gc import gc as verb

    size_bytes = 0 if larger_than is None else parse_size(larger_than, "--larger-than")
    result = verb(apply=apply, older_than=older_than, larger_than_bytes=size_bytes)
    from flows.upkeep.screens import print_gc

    print_result(result, print_gc, json=json)
    if result.failed:
        raise typer.Exit(4)


def parse_trial_count(text: str) -> int:
    """How many more `+N` asks for; the sign may be left out."""
    if not re.fullmatch(r"\+?[1-9][0-9]{0,6}", text):
        raise WrongInput(
            "--trials must be how many more", ascii(text[:40]), "write --trials +10 for ten more"
        )
    return int(text)


def parse_size(text: str, option: str) -> int:
    """A size such as 8GiB, 500MB or 1000000 in bytes.

    Args:
        option: whose value it is.
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGT]?)(i?)B?", text, re.IGNORECASE)
    if not found or (found[3] and not found[2]):
        raise WrongInput(f"{option} must be a size", ascii(text[:40]), f"write {option} 8GiB")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** " KMGT".index(found[2].upper() or " "))


def _version_lines(removal: Removal) -> list[str]:
    """What a person should know of models that came from a sweep."""
    if removal.versions is None:
        return ["the registry does not answer: which of its versions came from here is not known"]
    if not removal.versions:
        return []
    return [
        f"registered versions that came from it stay: {'; '.join(removal.versions)}",
        "they load and roll back as before; to judge them again a policy must name the data (evaluation:)",
    ]


def _confirm_removal(removal: Removal) -> bool:
    from flows.terminal.formatting import size, trials

    print_note(f"{removal.sweep}: {trials(removal.trials)} in the ledger")
    for folder in removal.folders:
        print_note(f"  {folder}")
    if removal.folders:
        print_note(f"  {size(removal.size_bytes)} in these folders")
    print_note(
        "  its runs in MLflow go too"
        if removal.tracking
        else "  its runs in MLflow stay (--tracking deletes them)"
    )
    for line in _version_lines(removal):
        print_note(f"  {line}")
    sys.stderr.write("Remove it? [y/N] ")
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline()
    except OSError:  # a stdin that cannot be read: nobody is there to ask
        answer = ""
    return answer.strip().lower() in {"y", "yes"}
