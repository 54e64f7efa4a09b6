"""Commands that prepare and run: new, plan, sweep, confirm, reproduce."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.error_boundary import error_document
from flows.cli.output import (
    AcceptCodeChange,
    Family,
    Json,
    Name,
    argument,
    example,
    option,
    print_json,
    print_note,
    print_output,
    print_output_aside,
    print_result,
    print_shown,
    show_busy,
    stdout_console,
)

MOST_AHEAD = 10

File = Annotated[Path, argument("FILE", "The sweep file.")]
Set = Annotated[
    list[str] | None,
    option("--set KEY=VALUE", "Overrides a key of the file: search.pruner=none. Repeatable."),
]
Address = Annotated[str | None, option("--address A", "An existing Ray cluster; without it a local one.")]

New = Annotated[bool, option("--new", "Start the next version beside the old instead of carrying on.")]
Trials = Annotated[int | None, option("--trials N", "The same as --set budget.trials=N.", min=1)]


def _overrides(set_: list[str] | None, trials: int | None) -> list[str]:
    return [*(set_ or ()), *([f"budget.trials={trials}"] if trials is not None else [])]


@example("velodrome new csv:churn.csv --target churned")
def new(
    source: Annotated[str, argument("SOURCE", "builtin:digits, csv:churn.csv, mod:objective, …")],
    target: Annotated[str | None, option("--target C", "The column to learn.")] = None,
    output: Annotated[
        Path | None, option("--output -o FILE", "Where to write; by default NAME.yaml here.")
    ] = None,
    json: Json = False,
) -> None:
    """Looks at the data and writes a commented sweep file with the families that fit."""
    from flows.sweeps.new import new as verb

    with show_busy(f"reading {source} and looking at its columns …"):
        result = verb(source, target=target, output=output)
    from flows.sweeps.screens import print_new_file

    print_result(result, print_new_file, json=json)


@example("velodrome plan digits.yaml --set budget.trials=50")
def plan(file: File, set_: Set = None, address: Address = None, json: Json = False) -> None:
    """Checks all that can fail before anything is spent, and says what the sweep will need."""
    from flows.sweeps.plan import plan as verb

    print_shown(verb(file, overrides=set_ or (), address=address), json=json)


@example("velodrome sweep digits.yaml")
def sweep(
    file: File,
    set_: Set = None,
    address: Address = None,
    new_: New = False,
    accept_code_change: AcceptCodeChange = False,
    trials: Trials = None,
    json: Json = False,
) -> None:
    """Runs a sweep, or carries on where it stopped."""
    set_ = _overrides(set_, trials)
    with error_document(json):  # what is imported takes a second, in which a signal may come
        from flows.sweeps.new import find_sweep_file
        from flows.sweeps.sweep import sweep as verb

        file = find_sweep_file(file)
        result = verb(
            file, overrides=set_ or (), address=address, new=new_, accept_code_change=accept_code_change
        )
    if json:
        print_json(result)
        return
    from flows.comparison.compare import compare
    from flows.comparison.leaderboard import print_leaderboard
    from flows.sweeps.views.status_screens import describe_failures
    from infra.ray_job import job_address

    if result.state == "stopped":
        words = ["velodrome", "sweep", str(file), *(w for key in set_ or () for w in ("--set", key))]
        again = shlex.join([*words, *(["--address", address] if address else [])])
        print_note(f"{result.sweep} is stopped: `{again}` carries it on")
    if failures := describe_failures(result):
        print_note(failures)
    # By its file, which may name another ledger than the usual one, as the overrides may another sweep.
    ahead = Counter(trial.family for trial in result.front).values()  # of several objectives there is no best
    top = min(MOST_AHEAD, max(ahead, default=1))
    table = compare(str(file.absolute()), top=top, overrides=set_ or (), latency=False)
    print_leaderboard(stdout_console(), table, address=address or job_address())


@example("velodrome submit digits.yaml --address http://HEAD:8265")
def submit(
    file: File,
    set_: Set = None,
    address: Annotated[
        str | None, option("--address A", "The cluster's job server, http://HEAD:8265; else RAY_ADDRESS.")
    ] = None,
    new_: New = False,
    accept_code_change: AcceptCodeChange = False,
    trials: Trials = None,
    follow: Annotated[bool, option("--follow/--no-follow", "Show what the job prints until it ends.")] = True,
    json: Json = False,
) -> None:
    """Runs a sweep as a job of a cluster, independent of this machine."""
    from flows.jobs.submit import submit as verb

    result = verb(
        file, overrides=_overrides(set_, trials), address=address, new=new_,
        accept_code_change=accept_code_change, follow=follow, say=print_note,
        show=print_output_aside if json else print_output,
    )  # fmt: skip
    if json:
        print_json(result)
    if result.state != "submitted":
        again = f"; `{result.follow}` carries the sweep on" if result.state == "stopped" else ""
        print_note(f"job {result.job} {result.state}{again}")
    if result.exit_code:
        raise typer.Exit(result.exit_code)


@example("velodrome confirm digits --top 3 --seeds 5")
def confirm(
    name: Name,
    top: Annotated[int | None, option("--top K", "The best K trials.", min=1)] = None,
    each_family: Annotated[bool, option("--each-family", "Each family's best trial.")] = False,
    seeds: Annotated[
        int | None, option("--seeds S", "Fresh seeds, the same for all; by default 5.", min=1)
    ] = None,
    folds: Annotated[
        int | None, option("--folds K", "Instead: K models, each without a share of the rows, for inspect.")
    ] = None,
    trial: Annotated[int | None, option("--trial N", "With --folds: whose configuration.", min=0)] = None,
    family: Family = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Trains the best again on fresh seeds, ranks them by validation, and tests them."""
    from flows.confirmation.confirm import confirm as verb

    if top is not None and each_family:
        raise typer.BadParameter("--top and --each-family exclude each other")
    result = verb(
        name, top=top, each_family=each_family, seeds=seeds, folds=folds, trial=trial, family=family,
        address=address, say=print_note,
    )  # fmt: skip
    if result.note:
        print_note(f"warning: {result.note}")
    print_shown(result, json=json)


@example("velodrome reproduce digits --family image_cnn --trial 7")
def reproduce(
    run: Annotated[str, argument("RUN", "A run's id in MLflow; or a sweep's name, with --trial.")],
    trial: Annotated[int | None, option("--trial N", "The trial's number within its family.", min=0)] = None,
    family: Family = None,
    tolerance: Annotated[
        float, option("--tolerance T", "Relative difference that still counts as same.", min=0.0, max=0.99)
    ] = 0.01,
    json: Json = False,
) -> None:
    """Trains a recorded run again and says whether it came out the same."""
    from flows.reproduction.reproduce import reproduce as verb

    result = verb(run, trial=trial, family=family, tolerance=tolerance, say=print_note)
    from flows.reproduction.screens import print_reproduction

    print_result(result, print_reproduction, json=json)
    if result.verdict == "different":
        raise typer.Exit(3)
