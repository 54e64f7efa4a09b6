"""Commands that look: status, show, logs, compare, report, inspect, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import (
    Family,
    Json,
    Name,
    argument,
    document_stream,
    example,
    option,
    print_json,
    print_note,
    print_output,
    print_result,
    print_shown,
    stdout_console,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flows.sweeps.views.logs import LogFile

Latency = Annotated[bool, option("--latency/--no-latency", "Measure models that were not measured here yet.")]
Trial = Annotated[int, option("--trial N", "The trial's number within its family.", min=0)]


@example("velodrome status digits --json")
def status(
    name: Annotated[str | None, argument("[NAME]", "A sweep's name or its file.")] = None,
    json: Json = False,
    openmetrics: Annotated[
        bool, option("--openmetrics", "All sweeps' figures as Prometheus reads them.")
    ] = False,
) -> None:
    """All sweeps, or one sweep's trials."""
    if openmetrics:
        if json or name is not None:
            raise typer.BadParameter("--openmetrics prints all sweeps: leave --json and the name out")
        from flows.upkeep.metrics import write_metrics

        print_output(write_metrics())
        return
    from flows.sweeps.views.status import status as verb

    print_shown(verb(name), json=json)


@example("velodrome show digits --family image_cnn --trial 7")
def show(name: Name, trial: Trial, family: Family = None, json: Json = False) -> None:
    """One trial whole: parameters, curve, attempts, reason, checkpoint, model."""
    from flows.sweeps.views.show import show as verb

    print_shown(verb(name, trial=trial, family=family), json=json)


@example("velodrome logs digits --trial 7 -f")
def logs(
    name: Name,
    trial: Annotated[
        int | None, option("--trial N", "A trial's number; without it the driver.", min=0)
    ] = None,
    family: Family = None,
    follow: Annotated[
        bool, option("-f --follow", "Go on as it grows, until the sweep ends or Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """What a sweep's driver, or one trial, printed."""
    from flows.sweeps.views import logs as verb

    if json and follow:
        raise typer.BadParameter("one JSON document has an end: leave --json or --follow out")
    if follow:
        _print_pieces(verb.follow_logs(name, trial=trial, family=family))
        return
    result = verb.logs(name, trial=trial, family=family)
    if json:
        print_json(result)
        return
    if not result.files:
        print_note(f"{result.sweep}: its driver had nothing to say; --trial N shows what a trial printed")
    _print_pieces((file, piece) for file in result.files for piece in file.pieces())


@example("velodrome compare digits digits@2 --where 'accuracy>=0.9' --pareto accuracy,latency_ms")
def compare(
    names: Annotated[list[str], argument("NAME...", "Sweeps' names or files.")],
    top: Annotated[int, option("--top K", "The best K trials of each family.", min=1, max=1000)] = 1,
    sort: Annotated[str | None, option("--sort COLUMN", "Order by this column, best first.")] = None,
    where: Annotated[
        list[str] | None, option("--where FILTER", "family=image_cnn, 'accuracy>=0.9'. Repeatable.")
    ] = None,
    pareto: Annotated[str | None, option("--pareto A,B", "Mark the Pareto front of these columns.")] = None,
    latency: Latency = True,
    json: Json = False,
    csv: Annotated[bool, option("--csv", "One line a row, with a header.")] = False,
    latex: Annotated[bool, option("--latex", "A booktabs table.")] = False,
) -> None:
    """A leaderboard over families and sweeps, beside the trivial guess."""
    from flows.comparison.compare import compare as verb

    if json + csv + latex > 1:
        raise typer.BadParameter("--json, --csv and --latex exclude each other")
    result = verb(
        *names, top=top, sort=sort, where=where or (), pareto=pareto, latency=latency, say=print_note
    )
    if json:
        print_json(result)
    elif csv or latex:
        for warning in result.warnings:
            print_note(warning)
        document_stream().write(result.to_csv() if csv else result.to_latex())
    else:
        from flows.comparison.leaderboard import print_leaderboard

        print_leaderboard(stdout_console(), result, next_steps=False)


@example("velodrome export digits --out digits.tar.gz")
def export(
    name: Name,
    out: Annotated[Path | None, option("--out -o FILE", "By default NAME.tar.gz here.")] = None,
    json: Json = False,
) -> None:
    """One archive: the sweep's files, versions, ledger, tables, and the command to run it again."""
    from flows.export.export import export as verb

    result = verb(name, out=out)
    for warning in result.warnings:
        print_note(f"warning: {warning}")
    from flows.export.screens import print_export

    print_result(result, print_export, json=json)


@example("velodrome report digits --out digits.html")
def report(
    name: Name,
    out: Annotated[
        Path | None, option("--out -o FILE", "Where to write; by default NAME-report.html here.")
    ] = None,
    latency: Latency = True,
    json: Json = False,
) -> None:
    """One self-contained HTML page with plots, also kept in MLflow."""
    from flows.report import report as verb

    result = verb(name, out=out, latency=latency, say=print_note)
    if result.note:
        print_note(f"warning: {result.note}")
    if json:
        print_json(result)
        return
    sys.stdout.write(f"{result.path}\n")
    if result.run_id:
        print_note(f"kept as report.html with MLflow's run {result.run_id}")


@example("velodrome inspect digits --out suspects")
def inspect(
    name: Name,
    trial: Annotated[
        int | None, option("--trial N", "Whose configuration; by default the best one's.", min=0)
    ] = None,
    family: Family = None,
    folds: Annotated[
        int | None, option("--folds K", "Models without a share of the rows; by default confirm's, or 5.")
    ] = None,
    out: Annotated[Path | None, option("--out -o DIR", "By default NAME-suspects here.")] = None,
    overwrite: Annotated[bool, option("--overwrite", "Replace an inspection of before.")] = False,
    json: Json = False,
) -> None:
    """Lists rows whose labels are likely wrong, for data.drop_rows."""
    from flows.inspection.inspect import inspect as verb
    from flows.inspection.screens import print_inspection

    result = verb(name, trial=trial, family=family, folds=folds, out=out, overwrite=overwrite, say=print_note)
    print_result(result, print_inspection, json=json)


def _print_pieces(pieces: Iterable[tuple[LogFile, str]]) -> None:
    """Text as it is, with a title on stderr where it changes from one file to another."""
    before: LogFile | None = None
    for file, piece in pieces:
        if file != before:
            sys.stdout.flush()
            print_note(f"== {file.title()} ({file.path})")
            before = file
        sys.stdout.write(piece)
        sys.stdout.flush()
