"""Commands that use a model: predict, serve, drift, explain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.output import Json, example, print_json, print_note, stdout_console
from flows.cli.run_commands import Address
from trainers.wording import count_of

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A registered model (its champion), NAME@ALIAS, NAME/3, runs:/… or models:/…, or a sweep.",
    ),
]


@example("velodrome predict churn customers.csv --out scored.csv")
def predict(
    model: Model,
    input: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="CSV, JSONL, Parquet, Excel, text; images, clips, a folder of them."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="By default INPUT.predictions.…")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also where it is there already.")] = False,
    address: Address = None,
    actors: Annotated[
        int, typer.Option("--actors", metavar="N", min=1, help="With --address: how many score.")
    ] = 1,
    gpus: Annotated[
        float, typer.Option("--gpus", metavar="G", help="With --address: GPUs of each, or a part of one.")
    ] = 0.0,
    json: Json = False,
) -> None:
    """Writes an input again with a model's predictions; carries on where it was ended."""
    from flows.inference.predict import predict as verb
    from flows.terminal.progress_line import ProgressLine
    from infra.predicting.on_ray import ActorPool

    with ProgressLine(sys.stderr) as line:
        result = verb(
            model,
            input,
            out=out,
            overwrite=overwrite,
            address=address,
            pool=ActorPool(actors=actors, gpus=gpus),
            say=print_note,
            advanced=line.advance,
        )
    if json:
        print_json(result)
        return
    carried = f", {result.carried_on} parts of them from before" if result.carried_on else ""
    shown = Path(result.output)
    shown = shown.relative_to(Path.cwd()) if shown.is_relative_to(Path.cwd()) else shown
    print_note(
        f"{shown}: {count_of(result.rows, 'row')}{carried}, by {result.model} in {result.seconds:.1f} s"
    )


@example("velodrome serve digits --port 8000")
def serve(
    model: Model,
    host: Annotated[
        str, typer.Option("--host", metavar="H", help="Where to listen; beyond loopback with a token only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="P", min=0, max=65535, help="0: any free.")] = 8000,
    replicas: Annotated[
        int, typer.Option("--replicas", metavar="N", min=1, help="Processes that compute.")
    ] = 1,
    cpus: Annotated[float, typer.Option("--cpus", metavar="C", help="CPUs of each replica.")] = 1.0,
    gpus: Annotated[
        float, typer.Option("--gpus", metavar="G", help="GPUs of each replica, or a part of one.")
    ] = 0.0,
    shadow: Annotated[
        str | None,
        typer.Option("--shadow", metavar="ALIAS", help="Ask that version too; count, never return."),
    ] = None,
    canary: Annotated[
        float,
        typer.Option("--canary", metavar="P", help="Percent that the challenger answers until it fails."),
    ] = 0.0,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name in Host. Repeatable."),
    ] = None,
    limits: Annotated[
        Path | None, typer.Option("--limits", metavar="FILE", help="The requests' limits, in YAML.")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", metavar="NAME=VALUE", help="One of them. Repeatable.")
    ] = None,
    only_promoted: Annotated[
        bool, typer.Option("--only-promoted", help="Follow the history, not an alias moved by hand.")
    ] = False,
    drain: Annotated[
        float, typer.Option("--drain", metavar="S", help="Seconds of answering on after SIGTERM.")
    ] = 5.0,
    log_predictions: Annotated[
        Path | None,
        typer.Option("--log-predictions", metavar="DIR", help="Keep answered rows there, in Parquet."),
    ] = None,
    log_share: Annotated[
        float, typer.Option("--log-share", metavar="P", help="The share of requests for that, 0 to 1.")
    ] = 1.0,
    access_log: Annotated[
        str | None,
        typer.Option("--access-log", metavar="FILE", help="A line of JSON a request; - for stdout."),
    ] = None,
    address: Address = None,
) -> None:
    """Serves a model over HTTP, and follows its champion."""
    from flows.inference.serve import serve as verb
    from flows.inference.server_limits import read_limits

    verb(
        model, host=host, port=port, replicas=replicas, cpus=cpus, gpus=gpus, shadow=shadow, canary=canary,
        allow_hosts=allow_host or (), limits=read_limits(limits, limit or ()), drain_s=drain,
        only_promoted=only_promoted,
        log_predictions=log_predictions, log_share=log_share, access_log=access_log, address=address,
        say=print_note,
    )  # fmt: skip


@example("velodrome drift digits predictions/")
def drift(
    model: Model,
    log: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder that serve --log-predictions fills.")
    ],
    json: Json = False,
) -> None:
    """Compares what a server was asked with what its model was trained on."""
    from flows.inference.drift import drift as verb
    from flows.inference.screens import drift_table

    report = verb(model, log)
    if json:
        print_json(report)
        return
    console = stdout_console()
    console.print(
        f"{report.version}: {count_of(report.rows, 'row')}, {report.since[:19]} to {report.until[:19]}"
    )
    console.print(drift_table(report, console.width))


@example("velodrome explain churn customers.csv --out why")
def explain(
    model: Model,
    input: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="CSV, JSONL, Parquet, Excel, text; images, clips, a folder of them."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder.")],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="M",
            help="integrated-gradients (default) or occlusion; of boosted trees shap.",
        ),
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", metavar="A", help="A class or target to explain in every row.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=1, help="The first so many.")] = 200,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an explanation of before.")] = False,
    json: Json = False,
) -> None:
    """Shows which pixels, words or columns a model's answers came from."""
    from flows.explanation.explain import explain as verb
    from flows.explanation.screens import explanation_table
    from flows.terminal.progress_line import ProgressLine

    with ProgressLine(sys.stderr) as line:
        result = verb(
            model, input, out=out, method=method, answer=answer, rows=rows, overwrite=overwrite,
            say=print_note, advanced=line.advance,
        )  # fmt: skip
    if json:
        print_json(result)
        return
    console = stdout_console()
    if result.features:
        console.print(explanation_table(result, console.width))
    console.print(
        f"{result.out}/index.html: {count_of(result.rows, 'row')}, by {result.model} and {result.method} "
        f"in {result.seconds:.1f} s"
    )
