"""The page: sections in their order, filled into one template; everything from people is escaped."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from flows.report.drawing import PlotlyFigure
from flows.report.report_data import ReportData
from flows.report.sections import build_sections
from flows.report.summary import page_heading, summary_tiles
from flows.terminal.json_results import to_plain

HERE = "flows.report"


def render_page(material: ReportData, *, made_at: float | None = None) -> str:
    """The whole page as text; it refers to nothing outside itself."""
    from jinja2 import Environment, StrictUndefined

    sections = build_sections(material)
    figures = _script_json([figure for section in sections for figure in section.figures])
    plotly, script = _plotly_script(), _read_resource("page.js")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_read_resource("page.html.j2"))
    return template.render(
        head=page_heading(material),
        tiles=summary_tiles(material),
        sections=sections,
        figures=figures,
        css=_read_resource("page.css"),
        plotly=plotly,
        script=script,
        policy=_content_security_policy([plotly, script]),
        version=_velodrome_version(),
        made=time.strftime("%Y-%m-%d %H:%M", time.localtime(made_at or time.time())),
    )


def _script_json(figures: Sequence[PlotlyFigure]) -> str:
    """JSON that can stand within a script element: nothing in it can end the element or begin another."""
    text = json.dumps(
        to_plain([figure.to_json() for figure in figures]), allow_nan=False, separators=(",", ":")
    )
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _content_security_policy(scripts: Sequence[str]) -> str:
    """Only our two scripts run, whatever else the page may hold, and nothing is loaded from anywhere.

    Plotly compiles the shaders' bindings of its parallel coordinates at run time, hence `unsafe-eval`.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _plotly_script() -> str:
    """Plotly's bundle, as its Python package carries it."""
    return files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8").strip()


def _read_resource(name: str) -> str:
    return files(HERE).joinpath(name).read_text(encoding="utf-8").strip()


def _velodrome_version() -> str:
    from trainers.code.versions import installed_versions

    return installed_versions(("velodrome",)).get("velodrome", "(a checkout)")
