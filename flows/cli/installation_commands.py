"""Commands about this installation: families, schema, doctor, ui."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.output import (
    Json,
    argument,
    document_stream,
    example,
    option,
    print_json,
    print_note,
    print_result,
    stdout_console,
)


@example("velodrome families image_cnn")
def families(
    name: Annotated[str | None, argument("[FAMILY]", "One family, in detail.")] = None, json: Json = False
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
def schema(json: Annotated[bool, option("--json", "The same: the schema is JSON.")] = False) -> None:
    """The sweep file's JSON schema, for editors."""
    import json as encoding

    from flows.config.schema import schema as verb

    document_stream().write(encoding.dumps(verb(), indent=2, ensure_ascii=False) + "\n")


@example("velodrome doctor")
def doctor(
    address: Annotated[
        str | None, option("--address A", "A Ray cluster: asks each of its nodes as well.")
    ] = None,
    json: Json = False,
) -> None:
    """What is wrong with this installation, or a cluster, and what to do about it."""
    from flows.installation.doctor import doctor as verb

    result = verb(address=address)
    from flows.installation.screens import print_checkup

    print_result(result, print_checkup, json=json)
    if result.has_failure:
        raise typer.Exit(1)


@example("velodrome ui digits --port 5001")
def ui(
    name: Annotated[str | None, argument("[NAME]", "A sweep's name or its file.")] = None,
    port: Annotated[int, option("--port P", "The port.", min=1, max=65535)] = 5000,
    host: Annotated[str, option("--host H", "The address to listen on.")] = "127.0.0.1",
) -> None:
    """The MLflow UI on the right store, until Ctrl-C."""
    from flows.installation.ui import ui as verb

    verb(name, port=port, host=host, say=print_note)
