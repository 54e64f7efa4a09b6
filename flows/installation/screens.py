"""Families and checks as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flows.installation.families import format_definition
from flows.terminal.console import print_line
from flows.terminal.formatting import param_text, params_line
from flows.terminal.tables import TableColumn, fit_table, grid

if TYPE_CHECKING:
    from flows.installation.families import Families, FamilyInfo
    from flows.installation.result import Checkup, ClusterNode


PLACES = ("storage", "ledger", "tracking")
SOFTWARE = ("python", "ray", "torch", "velodrome")
VERDICTS = {"ok": "green", "warn": "yellow", "fail": "red"}


def print_families(console: Console, result: Families, *, detailed: bool | None = None) -> None:
    """One line a family, or all of one; by default all where there is one."""
    if len(result.families) == 1 if detailed is None else detailed:
        for family in result.families:
            _print_family(console, family)
        return
    columns = [
        TableColumn("family", [family.name for family in result.families]),
        TableColumn("reads", [", ".join(family.kinds) for family in result.families]),
        TableColumn("learns", [", ".join(family.tasks) for family in result.families], gives_way=1),
        TableColumn("", [family.summary for family in result.families], shrinks=True),
    ]
    console.print(fit_table(columns, console.width))
    console.print(Text("  velodrome families NAME: what can be tuned in it", style="dim"))


def _print_family(console: Console, family: FamilyInfo) -> None:
    console.print(Text.assemble((family.name, "bold"), f": {family.summary}"))
    table = grid()
    table.add_row("reads", ", ".join(family.kinds))
    table.add_row("learns", ", ".join(family.tasks))
    for name, values in family.presets.items():
        table.add_row(f"preset {name}", Text(params_line(values)))
    if family.options:
        table.add_row("options", Text(params_line(family.options)))
    console.print(table)
    console.print(Text(""))
    tunable = family.hyperparameters
    columns = [
        TableColumn("hyper-parameter", [entry.name for entry in tunable]),
        TableColumn("default", [param_text(entry.default) for entry in tunable], right=True),
        TableColumn(
            "its own space",
            [Text(format_definition(entry.swept) if entry.swept else "", style="cyan") for entry in tunable],
            shrinks=True,
        ),
        TableColumn("takes", [entry.takes for entry in tunable], gives_way=1),
        TableColumn("", [Text(entry.doc, style="dim") for entry in tunable], gives_way=2),
    ]
    console.print(fit_table(columns, console.width))


def print_checkup(console: Console, checkup: Checkup) -> None:
    """One line a check, and what to do below those that are not ok; then a cluster's nodes."""
    width = max(len(finding.name) for finding in checkup.findings)
    for finding in checkup.findings:
        line = Text.assemble(
            (f"{finding.verdict:<5}", VERDICTS[finding.verdict]), f"{finding.name:<{width + 2}}"
        )
        console.print(line.append(finding.found), soft_wrap=True)
        if finding.do:
            print_line(console, f"{'':{width + 7}}{finding.do}", "yellow")
    if checkup.nodes:
        console.print(Text(""))
        _print_nodes(console, checkup.nodes)


def _print_nodes(console: Console, nodes: Sequence[ClusterNode]) -> None:
    def column(heading: str, cells: Sequence[str], gives_way: int = 0) -> TableColumn:
        return TableColumn(heading, cells, gives_way=gives_way)

    columns = [
        column("node", [node.name for node in nodes]),
        column("CPU free", [_share(node.free_cpus, node.cpus) for node in nodes]),
        column("GPU free", [_share(node.free_gpus, node.gpus) for node in nodes]),
        column("clock", [_offset(node.clock_offset_s) for node in nodes]),
        *(column(name, [str(getattr(node, name)) for node in nodes]) for name in PLACES),
        *(column(name, [str(getattr(node, name)) for node in nodes], 1) for name in SOFTWARE),
    ]
    console.print(fit_table(columns, console.width))


def _share(free: float | None, total: float) -> str:
    return f"{'?' if free is None else f'{free:g}'} of {total:g}"


def _offset(offset_s: float | None) -> str:
    return "?" if offset_s is None else f"{offset_s:+.3f} s"
