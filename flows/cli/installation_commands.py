"""Commands about this installation: families, schema, doctor, ui."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flows.cli.output import Json, example, print_json, print_note, stdout_console


@example("velodrome families image_cnn")
def families(
    name: Annotated[str | None, typer.Argument(metavar="[FAMILY]", help="One family, in detail.")] = None,
    json: Json = False,
) -> None:
    """What can be swept: families, their hyper-parameters, defaults and spaces."""
    from flows.installation.families import families as verb

    result = verb(name)
    if json:
        print_json(result)
        return
    from flows.installation.screens import print_families

    print_families(stdout_console(), result, detailed=name is not None)


@example("velodrome schema > velodrome.schema.json")
def schema(
    json: Annotated[bool, typer.Option("--json", help="The same: the schema is JSON.")] = False,
) -> None:
    """The sweep file's JSON schema, for editors."""
    import json as encoding

    from flows.config.schema import schema as verb

    sys.stdout.write(encoding.dumps(verb(), indent=2, ensure_ascii=False) + "\n")


@example("velodrome doctor")
def doctor(
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="A", help="A Ray cluster: asks each of its nodes as well."),
    ] = None,
    json: Json = False,
) -> None:
    """What is wrong with this installation, or a cluster, and what to do about it."""
    from flows.installation.doctor import doctor as verb

    result = verb(address=address)
    if json:
        print_json(result)
    else:
        from flows.installation.screens import print_checkup

        print_checkup(stdout_console(), result)
    if result.has_failure:
        raise typer.Exit(1)


@example("velodrome ui digits --port 5001")
def ui(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A sweep's name or its file.")] = None,
    port: Annotated[int, typer.Option("--port", metavar="P", min=1, max=65535, help="The port.")] = 5000,
    host: Annotated[str, typer.Option("--host", metavar="H", help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """The MLflow UI on the right store, until Ctrl-C."""
    from flows.installation.ui import ui as verb

    verb(name, port=port, host=host, say=print_note)
