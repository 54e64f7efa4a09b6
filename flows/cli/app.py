"""The application: its commands in the order of `--help`, and `main`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from flows import commands
from flows.cli import (
    change_commands,
    inference_commands,
    installation_commands,
    promotion_commands,
    run_commands,
    view_commands,
)
from flows.cli.error_boundary import exit_now, leave, raise_on_sigterm, report_error
from flows.cli.output import document_stream, keep_stdout_for_documents, open_closed_streams
from infra.errors import HeadGone, InterruptedCommand, WrongInput

# click's own tree of errors, wherever this version of typer keeps it
_CLICK_ERROR: type[Exception] = typer.BadParameter.__mro__[2]

_SKINS = (
    run_commands,
    view_commands,
    promotion_commands,
    inference_commands,
    change_commands,
    installation_commands,
)
SECTIONS: dict[str, tuple[Callable[..., None], ...]] = {
    section.title: tuple(getattr(skin, name) for name in section.places)
    for section in commands.SECTIONS
    for skin in _SKINS
    if skin.__name__ == section.skin
}


class CommandGroup(TyperGroup):
    """The group of all commands; its exceptions end as blocks on stderr and an exit status."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands by what they are for."""
        for section, functions in SECTIONS.items():
            commands = [
                (function.__name__, self.get_command(ctx, function.__name__)) for function in functions
            ]
            with formatter.section(section):
                formatter.write_dl([(name, command.help or "") for name, command in commands if command])

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was typed."""
        try:
            with raise_on_sigterm():
                result = super().invoke(ctx)
                document_stream().flush()
                return result
        except typer.Exit:
            raise
        except typer.Abort:
            raise typer.Exit(report_error(KeyboardInterrupt())) from None
        except _CLICK_ERROR as error:
            raise typer.Exit(report_error(_usage_error(error))) from None
        except (HeadGone, InterruptedCommand) as error:  # who interrupts waits: all is closed by now
            exit_now(report_error(error))
        except BaseException as error:  # the boundary: every exception becomes a block and a status here
            raise typer.Exit(report_error(error)) from None


app = typer.Typer(
    name="velodrome",
    cls=CommandGroup,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # typer's rich help imports a Markdown parser: 0.15 s before the first letter
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Hyper-parameter sweeps on warm Ray Train lanes, searched by Optuna, tracked in MLflow.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"velodrome {version('velodrome')}")
        except PackageNotFoundError:
            typer.echo("velodrome (a checkout, not installed)")
        raise typer.Exit


@app.callback(epilog="A first sweep: `velodrome new builtin:digits`, then `velodrome sweep digits.yaml`.")
def _print_help(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version and end."),
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


for _functions in SECTIONS.values():
    for _function in _functions:
        app.command(_function.__name__, epilog=getattr(_function, "example", None))(_function)


@cache
def _root_command() -> Any:
    """What `app` parses with, once a process: 34 signatures are read for it, which takes 70 ms."""
    return get_command(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits with its status.

    Args:
        arguments: by default the process's.
    """
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        open_closed_streams()
        keep_stdout_for_documents(words)
        status = _root_command()(words, "velodrome", standalone_mode=False)
    except _CLICK_ERROR as error:
        status = report_error(_usage_error(error))
    except SystemExit:
        raise
    except BaseException as error:  # an interrupt before a command began
        status = report_error(error)
    leave(status if isinstance(status, int) else 0, is_program=arguments is None)


def _usage_error(error: Any) -> WrongInput:
    """What typer says of the arguments, in our words."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "velodrome"
    return WrongInput(
        "the arguments must be ones that the command takes", error.format_message(), f"see `{path} --help`"
    )
