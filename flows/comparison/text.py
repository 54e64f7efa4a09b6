"""A comparison for other programs: CSV, and LaTeX for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from flows.comparison.records import Group, Row
from flows.terminal.formatting import number, seconds, short_count, size
from trainers.metric_names import group_metric
from trainers.types import Json, JsonObject

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "\n": " ", "\r": " ",
}  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def format_csv(groups: Sequence[Group]) -> str:
    """One line a row, with a header. A text that a spreadsheet would take for a formula gets a `'`."""
    rows = [_flatten_row(group, row) for group in groups for row in group.rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: _cell(value) for name, value in row.items()} for row in rows])
    return text.getvalue()


def _cell(value: Json) -> Json:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _flatten_row(group: Group, row: Row) -> JsonObject:
    flat: JsonObject = {"sweep": row.sweep, "family": row.family, "number": row.number}
    flat.update(zip((goal.metric for goal in group.objectives), row.values, strict=True))
    if row.error is not None:
        flat.update({"error": row.error.std, "error_over": row.error.over})
    for prefix, spread in (("trials", row.trials), ("confirmed", row.confirmed), ("tested", row.tested)):
        for name, value in spread.to_json().items() if spread else ():
            flat[f"{prefix}.{name}"] = value
    objectives = {goal.metric for goal in group.objectives}
    costs = {name: value for name, value in row.costs.items() if name not in objectives}
    flat.update({"trivial": row.trivial, **costs, "latency_from": row.latency_from})
    flat.update({"data_fingerprint": row.data_fingerprint, "on_front": row.on_front})
    for table in row.groups:
        flat[f"gap_{table.column}"] = table.gap
        for score in table.scores:
            flat[group_metric(table.metric, table.column, score.group)] = score.value
    flat.update({f"param.{name}": value for name, value in row.params.items()})
    return flat


def format_latex(groups: Sequence[Group]) -> str:
    """One `tabular` a group, to be set with the package `booktabs`."""
    return "\n".join(_tabular(group) for group in groups)


def _tabular(group: Group) -> str:
    columns = _columns(group)
    several = len({row.sweep for row in group.rows}) > 1
    kinds = "ll" if several else "l"
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{kinds}{'r' * (len(columns) - len(kinds))}}}",
        "\\toprule",
        " & ".join(escape_latex(heading) for heading, _ in columns) + r" \\",
        "\\midrule",
        *(" & ".join(cells[place] for _, cells in columns) + r" \\" for place in range(len(group.rows))),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _columns(group: Group) -> list[tuple[str, list[str]]]:
    rows = group.rows
    columns = (
        [("sweep", [escape_latex(row.sweep) for row in rows])] if len({r.sweep for r in rows}) > 1 else []
    )
    columns.append(("family", [escape_latex(row.family) for row in rows]))
    for place, goal in enumerate(group.objectives):
        name = goal.metric.removeprefix("val/")
        columns.append((name, [_value_cell(row, place) for row in rows]))
    said = {
        "parameters": short_count,
        "size_bytes": size,
        "peak_memory_bytes": size,
        "train_seconds": seconds,
    }
    single = [
        ("test", [_tested_cell(row) for row in rows]),
        ("trivial", [_number(row.trivial) for row in rows]),
        *(
            (heading, [escape_latex(said[name](row.costs[name])) for row in rows])
            for name, heading in (
                ("parameters", "weights"), ("size_bytes", "size"), ("peak_memory_bytes", "memory"),
            )
        ),
        ("latency (ms)", [_number(row.costs["latency_ms"], 3) for row in rows]),
        ("training", [escape_latex(seconds(row.costs["train_seconds"])) for row in rows]),
    ]  # fmt: skip
    return columns + [(heading, cells) for heading, cells in single if any(cell != "--" for cell in cells)]


def _number(value: float | None, digits: int = 4) -> str:
    return "--" if value is None else escape_latex(number(value, digits))


def _value_cell(row: Row, place: int) -> str:
    value = row.confirmed.mean if place == 0 and row.confirmed else row.values[place]
    shown = _number(value)
    return shown if place or row.error is None else f"${shown} \\pm {_number(row.error.std, 2)}$"


def _tested_cell(row: Row) -> str:
    if row.tested is None:
        return "--"
    shown = _number(row.tested.mean)
    return shown if row.tested.std is None else f"${shown} \\pm {_number(row.tested.std, 2)}$"


def escape_latex(text: str) -> str:
    """The text with everything that LaTeX would take for a command; `-` alone is a dash."""
    return "--" if text == "-" else "".join(_LATEX.get(char, char) for char in text)
