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
    example,
    print_json,
    print_note,
    print_output,
    print_output_aside,
    print_result,
    show_busy,
    stdout_console,
)

MOST_AHEAD = 10

File = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep file.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Overrides a key of the file: search.pruner=none. Repeatable."
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="A", help="An existing Ray cluster; without it a local one."),
]

New = Annotated[
    bool, typer.Option("--new", help="Start the next version beside the old instead of carrying on.")
]
Trials = Annotated[
    int | None, typer.Option("--trials", metavar="N", min=1, help="The same as --set budget.trials=N.")
]


def _overrides(set_: list[str] | None, trials: int | None) -> list[str]:
    return [*(set_ or ()), *([f"budget.trials={trials}"] if trials is not None else [])]


@example("velodrome new csv:churn.csv --target churned")
def new(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="builtin:digits, csv:churn.csv, mod:objective, …")
    ],
    target: Annotated[str | None, typer.Option("--target", metavar="C", help="The column to learn.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write; by default NAME.yaml here."),
    ] = None,
    json: Json = False,
) -> None:
    """Looks at the data and writes a commented sweep file with the families that fit."""
    from flows.sweeps.new import new as verb

    with show_busy(f"reading {source} and looking at its columns …"):
        result = verb(source, target=target, output=output)
    if json:
        print_json(result)
        return
    from flows.sweeps.screens import print_new_file

    print_new_file(stdout_console(), result)


@example("velodrome plan digits.yaml --set budget.trials=50")
def plan(file: File, set_: Set = None, address: Address = None, json: Json = False) -> None:
    """Checks all that can fail before anything is spent, and says what the sweep will need."""
    from flows.sweeps.plan import plan as verb

    print_result(verb(file, overrides=set_ or (), address=address), json=json)


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
    from flows.sweeps.new import find_sweep_file
    from flows.sweeps.sweep import sweep as verb

    set_ = _overrides(set_, trials)
    with error_document(json):
        file = find_sweep_file(file)
        result = verb(
            file, overrides=set_ or (), address=address, new=new_, accept_code_change=accept_code_change
        )
    if json:
        print_json(result)
        return
    from flows.comparison.compare import compare
    from flows.comparison.leaderboard import print_leaderboard
    from infra.ray_job import job_address

    if result.state == "stopped":
        words = ["velodrome", "sweep", str(file), *(w for key in set_ or () for w in ("--set", key))]
        again = shlex.join([*words, *(["--address", address] if address else [])])
        print_note(f"{result.sweep} is stopped: `{again}` carries it on")
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
        str | None,
        typer.Option(
            "--address", metavar="A", help="The cluster's job server, http://HEAD:8265; else RAY_ADDRESS."
        ),
    ] = None,
    new_: New = False,
    accept_code_change: AcceptCodeChange = False,
    trials: Trials = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Show what the job prints until it ends.")
    ] = True,
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
    top: Annotated[int | None, typer.Option("--top", metavar="K", min=1, help="The best K trials.")] = None,
    each_family: Annotated[bool, typer.Option("--each-family", help="Each family's best trial.")] = False,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", metavar="S", min=1, help="Fresh seeds, the same for all; by default 5."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", metavar="K", help="Instead: K models, each without a share of the rows, for inspect."
        ),
    ] = None,
    trial: Annotated[
        int | None, typer.Option("--trial", metavar="N", min=0, help="With --folds: whose configuration.")
    ] = None,
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
    print_result(result, json=json)


@example("velodrome reproduce digits --family image_cnn --trial 7")
def reproduce(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id in MLflow; or a sweep's name, with --trial.")
    ],
    trial: Annotated[
        int | None, typer.Option("--trial", metavar="N", min=0, help="The trial's number within its family.")
    ] = None,
    family: Family = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="T",
            min=0.0,
            max=0.99,
            help="Relative difference that still counts as same.",
        ),
    ] = 0.01,
    json: Json = False,
) -> None:
    """Trains a recorded run again and says whether it came out the same."""
    from flows.reproduction.reproduce import reproduce as verb

    result = verb(run, trial=trial, family=family, tolerance=tolerance, say=print_note)
    if json:
        print_json(result)
    else:
        from flows.reproduction.screens import print_reproduction

        print_reproduction(stdout_console(), result)
    if result.verdict == "different":
        raise typer.Exit(3)
