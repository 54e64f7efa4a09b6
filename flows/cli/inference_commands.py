"""Commands that use a model: predict, serve, drift, explain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from flows.cli.output import Json, argument, example, option, print_json, print_note, stdout_console
from flows.cli.run_commands import Address
from trainers.wording import count_of

Model = Annotated[
    str,
    argument(
        "MODEL", "A registered model (its champion), NAME@ALIAS, NAME/3, runs:/… or models:/…, or a sweep."
    ),
]
Input = Annotated[
    Path, argument("INPUT", "CSV, JSONL, Parquet, Excel, text; images, clips, a folder of them.")
]


@example("velodrome predict churn customers.csv --out scored.csv")
def predict(
    model: Model,
    input: Input,
    out: Annotated[Path | None, option("--out -o FILE", "By default INPUT.predictions.…")] = None,
    overwrite: Annotated[bool, option("--overwrite", "Also where it is there already.")] = False,
    address: Address = None,
    actors: Annotated[int, option("--actors N", "With --address: how many score.", min=1)] = 1,
    gpus: Annotated[float, option("--gpus G", "With --address: GPUs of each, or a part of one.")] = 0.0,
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
        str, option("--host H", "Where to listen; beyond loopback with a token only.")
    ] = "127.0.0.1",
    port: Annotated[int, option("--port P", "0: any free.", min=0, max=65535)] = 8000,
    replicas: Annotated[int, option("--replicas N", "Processes that compute.", min=1)] = 1,
    cpus: Annotated[float, option("--cpus C", "CPUs of each replica.")] = 1.0,
    gpus: Annotated[float, option("--gpus G", "GPUs of each replica, or a part of one.")] = 0.0,
    shadow: Annotated[
        str | None, option("--shadow ALIAS", "Ask that version too; count, never return.")
    ] = None,
    canary: Annotated[
        float, option("--canary P", "Percent that the challenger answers until it fails.")
    ] = 0.0,
    allow_host: Annotated[
        list[str] | None, option("--allow-host NAME", "Another name in Host. Repeatable.")
    ] = None,
    limits: Annotated[Path | None, option("--limits FILE", "The requests' limits, in YAML.")] = None,
    limit: Annotated[list[str] | None, option("--limit NAME=VALUE", "One of them. Repeatable.")] = None,
    only_promoted: Annotated[
        bool, option("--only-promoted", "Follow the history, not an alias moved by hand.")
    ] = False,
    drain: Annotated[float, option("--drain S", "Seconds of answering on after SIGTERM.")] = 5.0,
    log_predictions: Annotated[
        Path | None, option("--log-predictions DIR", "Keep answered rows there, in Parquet.")
    ] = None,
    log_share: Annotated[float, option("--log-share P", "The share of requests for that, 0 to 1.")] = 1.0,
    access_log: Annotated[
        str | None, option("--access-log FILE", "A line of JSON a request; - for stdout.")
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
    log: Annotated[Path, argument("DIR", "The folder that serve --log-predictions fills.")],
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
    input: Input,
    out: Annotated[Path, option("--out -o DIR", "A new folder.")],
    method: Annotated[
        str | None,
        option("--method M", "integrated-gradients (default) or occlusion; of boosted trees shap."),
    ] = None,
    answer: Annotated[str | None, option("--answer A", "A class or target to explain in every row.")] = None,
    rows: Annotated[int, option("--rows N", "The first so many.", min=1)] = 200,
    overwrite: Annotated[bool, option("--overwrite", "Replace an explanation of before.")] = False,
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
