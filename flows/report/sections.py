"""The page's sections, each with its tables, figures and words; those with nothing to say are left out."""

from __future__ import annotations

import json
from collections.abc import Sequence

from flows.comparison.groups import HEADINGS, table_cells
from flows.comparison.leaderboard import display_columns, remarks
from flows.comparison.records import Group
from flows.report import figures, space_figures
from flows.report.drawing import PlotlyFigure
from flows.report.parts import HeaderCell, PageTable, Picture, Section, TextBlock
from flows.report.report_data import ReportData
from flows.report.savings import compute_savings, group_failures
from flows.terminal.formatting import (
    clock,
    format_times,
    number,
    params_line,
    printable_text,
    seconds,
    trials,
)
from infra.secrets import redact

MOST_NAMED = 20


def build_sections(material: ReportData) -> list[Section]:
    """All sections that have something to show, in the order of the page."""
    made = [
        _leaderboard_section(material),
        _groups_section(material),
        _confirmed_section(material),
        _front_section(material),
        _history_section(material),
        _expected_section(material),
        _curves_section(material),
        _parallel_section(material),
        _importances_section(material),
        _explained_section(material),
        _slices_section(material),
        _pruning_section(material),
        _failures_section(material),
        _reproduce_section(material),
    ]
    return [section for section in made if not section.is_empty]


def _drop_missing(*found: PlotlyFigure | None) -> tuple[PlotlyFigure, ...]:
    return tuple(figure for figure in found if figure is not None)


def _leaderboard_section(material: ReportData) -> Section:
    groups = [group for group in material.comparison.groups if group.rows]
    missing = material.comparison.without
    return Section(
        id="leaderboard",
        short="Leaderboard",
        title="Leaderboard",
        about="The best trials of each family by validation, what they cost, and what guessing scores.",
        tables=tuple(_leaderboard_table(group) for group in groups),
        remarks=tuple(line for group in groups for line in [*remarks(group), group.note] if line),
        warnings=(f"no complete trial: {', '.join(missing)}",) if missing else (),
        blocks=tuple(_params_block(group) for group in groups),
    )


def _leaderboard_table(group: Group) -> PageTable:
    columns = display_columns(group)
    return PageTable(
        headings=tuple(HeaderCell(text=c.heading, kind="number" if c.right else "") for c in columns),
        rows=tuple(
            zip(*(tuple(printable_text(str(cell)) for cell in c.cells) for c in columns), strict=True)
        ),
        first_wins=True,
    )


def _groups_section(material: ReportData) -> Section:
    rows = [row for row in material.comparison.rows if row.groups]
    numbers = ("examples", "value", "95 %")
    heads = tuple(HeaderCell(text=name, kind="number" if name in numbers else "") for name in HEADINGS)
    return Section(
        id="groups",
        short="Groups",
        title="By group, on validation",
        about="What the best models score in each group of the sensitive columns, which no model sees.",
        tables=tuple(
            PageTable(
                title=f"{printable_text(row.family)} #{row.number}",
                headings=heads,
                rows=tuple(tuple(map(printable_text, cells)) for cells in table_cells(row.groups)),
            )
            for row in rows
        ),
        remarks=tuple(
            f"{printable_text(row.family)} #{row.number}, {printable_text(table.describe_gap())}"
            for row in rows
            for table in row.groups
        ),
    )


def _params_block(group: Group) -> TextBlock:
    lines = [f"{printable_text(row.family)} #{row.number}: {params_line(row.params)}" for row in group.rows]
    return TextBlock(title="their parameters", text="\n".join(lines), folded=True)


def _explained_section(material: ReportData) -> Section:
    found = material.explained
    named = {(one.family, one.number): f"{printable_text(one.family)} #{one.number}" for one in found}
    tables = tuple(
        PageTable(
            title=named[one.family, one.number],
            headings=(
                HeaderCell(text="word" if one.kind == "text" else "column"),
                HeaderCell(text="mean size", kind="number"),
            ),
            rows=tuple((printable_text(name), number(size)) for name, size in one.features),
        )
        for one in found
        if one.features
    )
    pictures = (Picture(title=named[one.family, one.number], png=one.picture) for one in found if one.picture)
    return Section(
        id="explained",
        short="Explained",
        title="What the best models answer from",
        about="Columns, pixels or words that count most; `velodrome explain` shows single rows.",
        tables=tables,
        pictures=tuple(pictures),
        remarks=tuple(f"{named[one.family, one.number]}: {one.how}." for one in found),
    )


def _confirmed_section(material: ReportData) -> Section:
    return Section(
        id="confirmed", short="Confirmed", title="Confirmed on fresh seeds",
        about="Configurations trained again on seeds that none of them was chosen on: what to believe. "
        "They are ranked by validation; the test score is only reported.",
        figures=_drop_missing(space_figures.confirmed_figure(material)),
    )  # fmt: skip


def _front_section(material: ReportData) -> Section:
    return Section(
        id="front", short="Front", title="Pareto front",
        about="Trials that no other one beats in every objective.",
        figures=_drop_missing(figures.front_figure(material)),
    )  # fmt: skip


def _history_section(material: ReportData) -> Section:
    goals = material.sweep.spec.objectives
    return Section(
        id="history",
        short="History",
        title="Optimisation history",
        about="Every trial in the order in which they ended; crosses are pruned ones with what they had "
        "reached. Far-off values may lie outside the view: double-click shows all.",
        figures=_drop_missing(
            *(figures.history_figure(material, place) for place in range(min(3, len(goals))))
        ),
    )


def _expected_section(material: ReportData) -> Section:
    return Section(
        id="expected-best", short="Budget", title="Expected best against budget",
        about="How good the best of n trials is to be expected, ± one deviation (Dodge et al. 2019, Show "
        "Your Work): where a curve is flat, more trials bring little; where two cross, the order depends on "
        "the budget. It takes trials as drawn independently, as random search draws them; pruned ones "
        "count with what they had reached, failed ones as the worst.",
        figures=_drop_missing(figures.expected_figure(material)),
    )  # fmt: skip


def _curves_section(material: ReportData) -> Section:
    shown, whole = len(material.curves), sum(1 for trial in material.trials if trial.epochs)
    about = "Validation by epoch; trials that the pruner stopped are grey."
    if shown < whole:
        about += f" {shown} of {whole:,} trials are drawn: the best, and others evenly over the sweep."
    return Section(
        id="learning-curves", short="Curves", title="Learning curves", about=about,
        figures=_drop_missing(figures.curves_figure(material)),
    )  # fmt: skip


def _parallel_section(material: ReportData) -> Section:
    families = range(len(material.sweep.spec.families))
    return Section(
        id="parallel", short="Parameters", title="Parallel coordinates",
        about="One line a trial, orange for the best. Drag along an axis to keep some lines, drag a name to "
        "move its axis; “not used” is where another parameter left it out.",
        figures=_drop_missing(*(space_figures.parallel_figure(material, index) for index in families)),
    )  # fmt: skip


def _importances_section(material: ReportData) -> Section:
    several = len(material.sweep.spec.objectives) > 1
    drawn = [
        space_figures.importance_figure(found, index, several=several)
        for index, found in enumerate(material.importances)
    ]
    missing = [f"{found.family}: no importances, {found.why}" for found in material.importances if found.why]
    return Section(
        id="importances", short="Importances", title="Importances", pair=True,
        about="What decides whether a trial is among the best tenth (PED-ANOVA, over complete trials).",
        figures=_drop_missing(*drawn), remarks=tuple(missing),
    )  # fmt: skip


def _slices_section(material: ReportData) -> Section:
    families = range(len(material.sweep.spec.families))
    return Section(
        id="slices", short="Learning rates", title="Learning rate by optimizer", pair=True,
        about="Small, faint points are pruned trials.",
        figures=_drop_missing(*(space_figures.slice_figure(material, index) for index in families)),
    )  # fmt: skip


def _pruning_section(material: ReportData) -> Section:
    saved = compute_savings(material.sweep.spec, material.trials)
    return Section(
        id="pruning", short="Pruning", title="What pruning saved",
        about=f"{trials(saved.trials)} stopped early: {saved.epochs_saved:,} epochs not trained beside "
        f"{saved.epochs_trained:,} that were, by each trial's own pace about {seconds(saved.seconds_saved)} "
        f"beside {seconds(saved.seconds_trained)}.",
        figures=_drop_missing(figures.ends_figure(material)),
    )  # fmt: skip


def _failures_section(material: ReportData) -> Section:
    groups = group_failures(material.trials)
    rows = tuple(
        (
            group.kind,
            str(len(group.trials)),
            _list_trials(group.trials),
            printable_text(redact(group.example)),
        )
        for group in groups
    )
    heads = (
        HeaderCell(text="reason"),
        HeaderCell(text="trials", kind="number"),
        HeaderCell(text="which", kind="long"),
        HeaderCell(text="what the first of them said", kind="long"),
    )
    return Section(
        id="failures", short="Failures", title="Failures",
        about=f"`velodrome logs {material.sweep.label} --trial N` shows what a trial printed, "
        f"`velodrome retry {material.sweep.label}` tries them again.",
        tables=(PageTable(headings=heads, rows=rows),) if rows else (),
    )  # fmt: skip


def _list_trials(failed: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{family} #{number}" for family, number in failed[:MOST_NAMED])
    return shown + (f" and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else "")


def _reproduce_section(material: ReportData) -> Section:
    sweep = material.sweep
    command = redact(str(sweep.facts.get("command") or "velodrome sweep FILE"))
    heads = (HeaderCell(text="what"), HeaderCell(text="value", kind="long"))
    rows = tuple((name, printable_text(redact(value))) for name, value in _sweep_facts(material) if value)
    spec = json.dumps(sweep.spec.to_json(), indent=2, ensure_ascii=False)
    return Section(
        id="reproduce", short="Reproduce", title="How to reproduce",
        about="The same file, seed, data and versions on one lane of a CPU give the same trials and values.",
        tables=(PageTable(headings=heads, rows=rows),),
        blocks=(
            TextBlock(title="command", text=printable_text(command)),
            TextBlock(title="the sweep, every key resolved", text=redact(spec), folded=True),
        ),
    )  # fmt: skip


def _sweep_facts(material: ReportData) -> list[tuple[str, str]]:
    sweep, facts = material.sweep, material.sweep.facts
    git: dict[str, str | bool] = facts.get("git") or {}
    versions: dict[str, str] = facts.get("versions") or {}
    counts: dict[str, int] = (facts.get("data") or {}).get("parts") or {}
    parts = ", ".join(f"{rows:,} {part}" for part, rows in counts.items())
    dirty = ", with changes that were not committed" if git.get("dirty") else ""
    samplers = sorted({f"{f.sampler.get('name')} and {f.pruner.get('name')}" for f in sweep.spec.families})
    reads = [f"{entry.get('why')} ({entry.get('count')} trainings)" for entry in material.test_reads]
    return [
        ("seed", str(sweep.spec.seed)),
        ("data", str(sweep.spec.data.get("source", ""))),
        ("rows", parts),
        ("data fingerprint", sweep.fingerprint),
        ("git commit", f"{git['commit']}{dirty}" if git.get("commit") else "not in a repository"),
        ("sampler and pruner", "; ".join(samplers)),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))),
        ("test split", f"read {format_times(len(reads))}: {'; '.join(reads)}" if reads else "never read"),
        ("changed since the start", ", ".join(facts.get("code_changed", ()))),
        ("begun, last changed", f"{clock(sweep.created_at)}, {clock(sweep.updated_at)}"),
    ]  # fmt: skip
