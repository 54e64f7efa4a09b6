"""Promotions, histories and policies as people see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flows.terminal.console import print_line
from flows.terminal.formatting import MISSING, clock, format_times, number, printable_text
from flows.terminal.tables import TableColumn, fit_table

if TYPE_CHECKING:
    from rich.table import Table

    from flows.promotion.gates.findings import GateFinding
    from flows.promotion.history import History
    from flows.promotion.judging.outcome import Promotion
    from flows.promotion.policy import ModelPolicy
    from flows.promotion.recompute import Recomputation
    from infra.registry.chain import ChainEntry
    from trainers.types import Json

GROUPED = {"class": "classes", "slice": "slices"}
STYLES = {"passed": "green", "refused": "red", "not applicable": "dim", "not tried": "dim"}
POLICIES = {
    "chain": "the model's policy",
    "sweep file": "the gates of the sweep's file, which become the model's policy once it moves",
    "defaults": "the defaults, for the model has no policy",
}


def print_promotion(console: Console, result: Promotion) -> None:
    """The table of gates, and what became of it."""
    if result.outcome == "already":
        console.print(
            Text(f"{result.candidate} is the champion of {result.model} already: version {result.version}")
        )
        return
    console.print(
        Text.assemble((result.candidate, "bold"), f", by {POLICIES[result.policy]}"), soft_wrap=True
    )
    if result.data:
        print_line(console, f"  {_data_line(result)}", "dim")
    console.print(Text(""))
    console.print(_gate_table(result.findings, console.width))
    for line in _refusal_lines(result.findings):
        print_line(console, printable_text(line))
    console.print(_outcome_line(result), soft_wrap=True)


def _data_line(result: Promotion) -> str:
    left = f", {result.left_out:,} left out that one model was trained on" if result.left_out else ""
    left += f", {result.copies:,} copies of others counted once" if result.copies else ""
    which = "the test split of " if result.data["part"] == "test" else ""
    reads = f"; read {format_times(result.test_reads)}" if result.test_reads else ""
    return f"judged on {result.examples:,} examples of {which}{result.data['source']}{left}{reads}"


def _merge_passed(findings: tuple[GateFinding, ...]) -> list[GateFinding]:
    """The findings, those of classes and slices that simply passed in one line each."""
    shown: list[GateFinding] = []
    for kind in (*dict.fromkeys(finding.gate.partition(" ")[0] for finding in findings),):
        mine = [finding for finding in findings if finding.gate.partition(" ")[0] == kind]
        plain = [f for f in mine if kind in GROUPED and f.verdict == "passed" and f.needed is None]
        if len(plain) > 1:
            closest = max(plain, key=lambda finding: finding.value or 0.0)
            found = f"{len(plain)} {GROUPED[kind]}; the closest is {closest.gate}: {closest.found}"
            shown.append(replace(closest, gate=GROUPED[kind], found=found))
            mine = [finding for finding in mine if finding not in plain]
        shown += mine
    return shown


def _gate_table(given: tuple[GateFinding, ...], width: int) -> Table:
    findings = _merge_passed(given)
    columns = [
        TableColumn("gate", [f.gate for f in findings]),
        TableColumn("", [Text(f.verdict, style=STYLES[f.verdict]) for f in findings]),
        TableColumn("limit", [f.limit for f in findings], wraps=True, gives_way=3),
        TableColumn("found", [f.found for f in findings], wraps=True),
        TableColumn("by how much", [f.by for f in findings], wraps=True, gives_way=1),
        TableColumn(
            "examples needed",
            [MISSING if f.needed is None else f"{f.needed:,}" for f in findings],
            right=True,
            gives_way=2,
        ),
    ]
    return fit_table(columns, width)


def _refusal_lines(findings: tuple[GateFinding, ...]) -> list[str]:
    """Each refusal whole, however narrow the table is, and what would help."""
    return [
        f"  {f.gate}: must hold {f.limit}; found {f.found}{f'; {f.by}' if f.by else ''}"
        + (f"; what would help: {f.do}" if f.do else "")
        for f in findings
        if f.is_refused
    ]


def _outcome_line(result: Promotion) -> Text:
    version = MISSING if result.version is None else f"{result.model}/{result.version}"
    before = "the first champion" if result.former is None else f"instead of version {result.former}"
    if result.outcome == "moved":
        text = f"  {version} is the champion of {result.model} now, {before}"
    elif result.outcome == "would move":
        text = f"  it would become the champion of {result.model}, {before}; nothing was registered or moved"
    else:
        stands = f"; it is {version}, the challenger" if result.version else ""
        text = f"  refused: {result.what_stays}{stands}"
    record = f"   (entry {result.entry}, {result.hash[:16]})" if result.entry and result.hash else ""
    return Text(text + record, style=STYLES["refused" if result.is_refused else "passed"])


def print_history(console: Console, result: History) -> None:
    """One line an entry, oldest first."""
    entries = result.entries
    columns = [
        TableColumn("entry", [str(entry.number) for entry in entries], right=True),
        TableColumn("when", [clock(entry.at) for entry in entries]),
        TableColumn("who", [entry.who for entry in entries], shrinks=True, gives_way=1),
        TableColumn("what", [_describe_entry(entry, result) for entry in entries]),
        TableColumn("by", [_deciding_gates(entry, result) for entry in entries], shrinks=True, gives_way=2),
        TableColumn("reason", [entry.reason for entry in entries], shrinks=True),
        TableColumn("hash", [entry.hash[:16] for entry in entries], gives_way=3),
    ]
    if entries:
        console.print(fit_table(columns, console.width))
    at = "no champion" if result.champion is None else f"the champion is version {result.champion}"
    print_line(console, f"  {result.model}: {at}")
    if result.state != "settled":
        print_line(console, f"  {_state_warning(result)}", "red")
    if result.verified:
        holds = "1 entry holds" if len(entries) == 1 else f"{len(entries)} entries hold together"
        print_line(console, f"  {holds}; anchor {result.last_hash}", "green")


def _describe_entry(entry: ChainEntry, result: History) -> str:
    before, after = (MISSING if at is None else str(at) for at in (entry.source, entry.target))
    unfinished = " (cut off)" if entry.is_move and entry.number not in result.applied else ""
    if entry.is_move or entry.kind == "foreign":
        return f"{entry.kind} {before} → {after}{unfinished}"
    return entry.kind if entry.target is None else f"{entry.kind} of {after}"


def _deciding_gates(entry: ChainEntry, result: History) -> str:
    """What decided: the comparison, or the gates that refused."""
    document = result.contents.get(entry.content or "")
    if not isinstance(document, dict) or "findings" not in document:
        return ""
    refused = [f["gate"] for f in document["findings"] if f["verdict"] == "refused"]
    if refused:
        return printable_text(", ".join(refused))
    found = {f["gate"]: f["found"] for f in document["findings"] if f["verdict"] == "passed"}
    return printable_text(f"{found.get('better') or found.get('guess', '')}")


def _state_warning(result: History) -> str:
    return {
        "cut-off": "the last move was cut off; the next command about this model finishes it",
        "foreign": "somebody moved the champion by hand: `velodrome adopt` accepts it, `rollback` undoes it",
        "unknown": "the champion was set by hand before there was a history: `velodrome adopt` accepts it",
    }[result.state]


def print_recomputation(console: Console, result: Recomputation) -> None:
    """Each number and verdict, as it was recorded and as it comes out now."""
    lines = result.lines
    columns = [
        TableColumn("what", [line.what for line in lines]),
        TableColumn("", [Text("same", "green") if line.agrees else Text("another", "red") for line in lines]),
        TableColumn("recorded", [line.recorded for line in lines], wraps=True),
        TableColumn("now", ["" if line.agrees else line.now for line in lines], wraps=True),
    ]
    console.print(fit_table(columns, console.width))
    software = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    print_line(console, f"  recorded with {software}", "dim")


def print_policy(console: Console, result: ModelPolicy) -> None:
    """Every key, as a policy's file has it."""
    if result.source == "defaults":
        print_line(console, f"{result.model} has no policy; these defaults hold")
    else:
        assert result.at is not None
        print_line(console, f"the policy of {result.model}, set by {result.who} on {clock(result.at)}")
    for line in _policy_lines(result.policy):
        print_line(console, f"  {line}")


def _policy_lines(document: Mapping[str, Json]) -> list[str]:
    return [f"{key}: {number(value)}" for key, value in document.items() if value not in ({}, [], None)]
